"""Makes a model of random weights, so that speed and memory can be measured where no model can be brought, and rows for it.

usage: model.py SHAPE DIR [--seed 0] [--rows N --length 2048 --data DATA.parquet]
SHAPE is 135m (SmolLM2-135M), 1b (Llama-3.2-1B), 8b (Llama-3.1-8B) or tiny (for trying scripts). DIR gets config.json,
model.safetensors in bfloat16, normals of 0.02 made on the GPU if there is one, and the tokenizer of data/tiny-chat, which
lora-train wants to find and doesn't use. DATA gets N rows of LENGTH random ids, all supervised.
"""
import argparse
import json
import shutil
import struct
import time
from pathlib import Path

import torch

TOKENIZER = Path(__file__).resolve().parents[2] / "data/tiny-chat"
SHAPES = {
    # hidden, intermediate, layers, heads, KV heads, vocabulary, positions, tied, rope's base, rope's factor
    "tiny": (64, 160, 2, 4, 2, 512, 4096, True, 1e4, None),
    "135m": (576, 1536, 30, 9, 3, 49152, 8192, True, 1e5, None),
    "1b": (2048, 8192, 16, 32, 8, 128256, 131072, True, 5e5, 32.0),
    "8b": (4096, 14336, 32, 32, 8, 128256, 131072, False, 5e5, 8.0),
}


def config(shape):
    hidden, intermediate, layers, heads, kv, vocabulary, positions, tied, base, factor = SHAPES[shape]
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "max_position_embeddings": positions,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv,
        "rms_norm_eps": 1e-5,
        "rope_scaling": scaling if factor else None,
        "rope_theta": base,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": vocabulary,
    }


def weights(shape):
    """Name -> size of every weight."""
    hidden, intermediate, layers, heads, kv, vocabulary, _, tied, _, _ = SHAPES[shape]
    kv_width = hidden // heads * kv
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "self_attn.q_proj.weight", (hidden, hidden)
        yield prefix + "self_attn.k_proj.weight", (kv_width, hidden)
        yield prefix + "self_attn.v_proj.weight", (kv_width, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, hidden)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "mlp.gate_proj.weight", (intermediate, hidden)
        yield prefix + "mlp.up_proj.weight", (intermediate, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (vocabulary, hidden)


def write_weights(path, shape, seed):
    """One safetensors file: the length of a header of JSON, the header, and the values end to end."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    sizes = list(weights(shape))
    for name, size in sizes:
        begin, end = end, end + 2 * torch.Size(size).numel()
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, size in sizes:
            if len(size) == 1:
                values = torch.ones(size, dtype=torch.bfloat16)
            else:
                values = torch.empty(size, dtype=torch.bfloat16, device=device)
                values.normal_(0.0, 0.02, generator=generator)
            values.cpu().view(torch.int16).numpy().tofile(file)
    return end


def write_rows(path, rows, length, vocabulary, seed):
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (rows, length), generator=generator, dtype=torch.int32).tolist()
    column = pa.array(ids, pa.list_(pa.int32()))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"input_ids": column, "labels": column}), path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    began = time.time()
    args.folder.mkdir(parents=True, exist_ok=True)
    settings = config(args.shape)
    (args.folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TOKENIZER / file, args.folder / file)
    size = write_weights(args.folder / "model.safetensors", args.shape, args.seed)
    if args.data:
        write_rows(args.data, args.rows, args.length, settings["vocab_size"], args.seed)
    print(f"{args.shape}: {size / 1e9:.2f} GB in {time.time() - began:.1f} s")


main()

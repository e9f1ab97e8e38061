"""A random model of a published shape, and rows of random ids for it: what tests/gpu.sh measures speed with.

usage: model.py SHAPE OUT [--rows 64] [--length 2048]     SHAPE: tiny, 135m, 1b, 8b

OUT/model is a Hugging Face folder (bfloat16, normal values of deviation 0.02, norms 1), OUT/rows.parquet holds input_ids and
labels (every token is learned). Weights are made where torch computes fastest, and nothing comes from a network.
"""
import argparse, json, os
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

SHAPES = {  # hidden, mlp, layers, heads, kv_heads, head_dim, vocabulary, tied, theta
    "tiny": (256, 512, 4, 4, 2, 64, 4096, True, 1e4),
    "135m": (576, 1536, 30, 9, 3, 64, 49152, True, 1e5),
    "1b": (2048, 8192, 16, 32, 8, 64, 128256, True, 5e5),
    "8b": (4096, 14336, 32, 32, 8, 128, 128256, False, 5e5),
}
a = argparse.ArgumentParser()
a.add_argument("shape", choices=SHAPES)
a.add_argument("out")
a.add_argument("--rows", type=int, default=64)
a.add_argument("--length", type=int, default=2048)
o = a.parse_args()
hidden, mlp, layers, heads, kv, d, vocabulary, tied, theta = SHAPES[o.shape]
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)


def normal(*shape):
    return (torch.randn(*shape, device=device) * 0.02).to(torch.bfloat16).cpu()


def layer(i):
    p = f"model.layers.{i}."
    shapes = {
        "self_attn.q_proj": (heads * d, hidden), "self_attn.k_proj": (kv * d, hidden), "self_attn.v_proj": (kv * d, hidden),
        "self_attn.o_proj": (hidden, heads * d), "mlp.gate_proj": (mlp, hidden), "mlp.up_proj": (mlp, hidden),
        "mlp.down_proj": (hidden, mlp),
    }
    tensors = {p + name + ".weight": normal(*shape) for name, shape in shapes.items()}
    for norm in ["input_layernorm", "post_attention_layernorm"]:
        tensors[p + norm + ".weight"] = torch.ones(hidden, dtype=torch.bfloat16)
    return tensors


folder = os.path.join(o.out, "model")
os.makedirs(folder, exist_ok=True)
config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": mlp,
    "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": d,
    "vocab_size": vocabulary, "tie_word_embeddings": tied, "rope_theta": theta, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "max_position_embeddings": 131072, "attention_bias": False, "mlp_bias": False, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "bfloat16",
}
with open(os.path.join(folder, "config.json"), "w") as f:
    json.dump(config, f, indent=1)
shards = [{"model.embed_tokens.weight": normal(vocabulary, hidden), "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16)}]
if not tied:
    shards[0]["lm_head.weight"] = normal(vocabulary, hidden)
per_shard = max(1, layers // 4)
for first in range(0, layers, per_shard):
    shards.append({k: v for i in range(first, min(layers, first + per_shard)) for k, v in layer(i).items()})
weights, total = {}, 0
for n, tensors in enumerate(shards):
    name = f"model-{n + 1:05}-of-{len(shards):05}.safetensors"
    save_file(tensors, os.path.join(folder, name), metadata={"format": "pt"})
    weights |= {k: name for k in tensors}
    total += sum(t.numel() * 2 for t in tensors.values())
with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
    json.dump({"metadata": {"total_size": total}, "weight_map": weights}, f)

ids = torch.randint(2, vocabulary, (o.rows, o.length), generator=torch.Generator().manual_seed(1)).tolist()
column = pa.array(ids, type=pa.list_(pa.field("item", pa.int32(), nullable=False)))
names = [str(i) for i in range(o.rows)]
schema = pa.schema([
    pa.field("input_ids", column.type, nullable=False), pa.field("labels", column.type, nullable=False),
    *[pa.field(name, pa.string(), nullable=False) for name in ["id", "group", "prompt", "completion"]],
])
blank = pa.array([""] * o.rows)
table = pa.Table.from_arrays([column, column, pa.array(names), pa.array(names), blank, blank], schema=schema)
pq.write_table(table, os.path.join(o.out, "rows.parquet"))

"""A GGUF file of Qwen3-30B-A3B's shape with random 4-bit weights: how much memory and time a mixture of experts takes that is
larger than the memory at hand.

usage: make_mixture.py SMALL.gguf OUT.gguf [LAYERS]
SMALL.gguf is any qwen3moe file (families.sh makes one): its tokenizer is taken. 48 layers are 17 GB.
"""
import sys

import gguf
import numpy as np

SMALL, OUT = sys.argv[1:3]
LAYERS = int(sys.argv[3]) if len(sys.argv) > 3 else 48
HIDDEN, HEADS, KEYS, HEAD, EXPERTS, WIDTH = 2048, 32, 4, 128, 128, 768
Q4_K = gguf.GGMLQuantizationType.Q4_K
BLOCK, BYTES = 256, 144

small = gguf.GGUFReader(SMALL)
tokens = len(small.fields["tokenizer.ggml.tokens"].data)
writer = gguf.GGUFWriter(OUT, "qwen3moe")
for name, field in small.fields.items():
    if name.startswith("tokenizer."):
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
writer.add_context_length(40960)
writer.add_embedding_length(HIDDEN)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(6144)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KEYS)
writer.add_key_length(HEAD)
writer.add_value_length(HEAD)
writer.add_rope_freq_base(1e6)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_vocab_size(tokens)
writer.add_expert_count(EXPERTS)
writer.add_expert_used_count(8)
writer.add_expert_feed_forward_length(WIDTH)

matrices = {"token_embd": (tokens, HIDDEN), "output": (tokens, HIDDEN)}
vectors = {"output_norm": (HIDDEN,)}
for layer in range(LAYERS):
    own = f"blk.{layer}."
    matrices |= {
        own + "attn_q": (HEADS * HEAD, HIDDEN),
        own + "attn_k": (KEYS * HEAD, HIDDEN),
        own + "attn_v": (KEYS * HEAD, HIDDEN),
        own + "attn_output": (HIDDEN, HEADS * HEAD),
        own + "ffn_gate_exps": (EXPERTS, WIDTH, HIDDEN),
        own + "ffn_up_exps": (EXPERTS, WIDTH, HIDDEN),
        own + "ffn_down_exps": (EXPERTS, HIDDEN, WIDTH),
    }
    vectors |= {own + "attn_norm": (HIDDEN,), own + "ffn_norm": (HIDDEN,), own + "attn_q_norm": (HEAD,)}
    vectors |= {own + "attn_k_norm": (HEAD,), own + "ffn_gate_inp": (EXPERTS, HIDDEN)}

random = np.random.default_rng(7)
blocks = random.integers(0, 256, (1 << 18, BYTES), dtype=np.uint8)
# Values d·s·q − m·t with s and t from 0 to 63, q from 0 to 15: a mean of 0 and a deviation of about 0.02.
blocks[:, :4] = np.array([1e-4, 7.5e-4], dtype=np.float16).view(np.uint8)
order = sorted([(name, True) for name in matrices] + [(name, False) for name in vectors])
for name, is_matrix in order:
    shape = matrices[name] if is_matrix else vectors[name]
    values = int(np.prod(shape))
    if is_matrix:
        stored = (*shape[:-1], shape[-1] // BLOCK * BYTES)
        writer.add_tensor_info(name + ".weight", stored, np.dtype(np.uint8), values // BLOCK * BYTES, Q4_K)
    else:
        writer.add_tensor_info(name + ".weight", shape, np.dtype(np.float32), values * 4)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_ti_data_to_file()
for name, is_matrix in order:
    if is_matrix:
        count = int(np.prod(matrices[name])) // BLOCK
        first = random.integers(0, len(blocks))
        data = np.take(blocks, np.arange(first, first + count), axis=0, mode="wrap")
    elif len(vectors[name]) == 1:
        data = np.ones(vectors[name], np.float32)
    else:
        data = random.standard_normal(vectors[name], np.float32) * np.float32(0.02)
    writer.write_tensor_data(data)
writer.close()
print(OUT, tokens, "tokens")

"""A random GGUF model of a published shape with K-quant blocks: what memory of a 4-bit base on a card is measured with.

usage: gguf.py SHAPE OUT.gguf [--blocks q4_k]     SHAPE: tiny, 8b; blocks: q4_k, q6_k, q8_0

The blocks are random bits under small scales; the file is written in numpy alone.
"""
import argparse, struct
import numpy as np

SHAPES = {"tiny": (256, 512, 4, 4, 2, 64, 4096), "8b": (4096, 14336, 32, 32, 8, 128, 128256)}
BLOCKS = {"q4_k": (12, 256, 144), "q6_k": (14, 256, 210), "q8_0": (8, 32, 34)}  # ggml type, values, bytes
a = argparse.ArgumentParser()
a.add_argument("shape", choices=SHAPES)
a.add_argument("out")
a.add_argument("--blocks", choices=BLOCKS, default="q4_k")
o = a.parse_args()
hidden, mlp, layers, heads, kv, d, vocabulary = SHAPES[o.shape]
kind, values, size = BLOCKS[o.blocks]
rng = np.random.default_rng(0)


def blocks(rows, columns):
    n = rows * columns // values
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    scale = np.frombuffer(np.float16(1e-4).tobytes(), np.uint8)
    if o.blocks == "q4_k":  # d and dmin, then twelve bytes of scales, then quants
        raw[:, 0:2], raw[:, 2:4] = scale, np.frombuffer(np.float16(7.5e-4).tobytes(), np.uint8)
        raw[:, 4:16] = 0x21
    elif o.blocks == "q6_k":  # quants, sixteen signed scales, d
        raw[:, 192:208], raw[:, 208:210] = 12, scale
    else:
        raw[:, 0:2] = scale
    return raw.tobytes()


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def key(name, value):
    if isinstance(value, str):
        return text(name) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(name) + struct.pack("<If", 6, value)
    return text(name) + struct.pack("<II", 4, value)


keys = {
    "general.architecture": "llama", "general.alignment": 32, "llama.context_length": 131072, "llama.embedding_length": hidden,
    "llama.feed_forward_length": mlp, "llama.block_count": layers, "llama.attention.head_count": heads,
    "llama.attention.head_count_kv": kv, "llama.attention.key_length": d, "llama.attention.value_length": d,
    "llama.rope.dimension_count": d, "llama.rope.freq_base": 5e5, "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": vocabulary,
}
tensors = [("token_embd.weight", vocabulary, hidden), ("output_norm.weight", 1, hidden), ("output.weight", vocabulary, hidden)]
for i in range(layers):
    p = f"blk.{i}."
    tensors += [
        (p + "attn_norm.weight", 1, hidden), (p + "attn_q.weight", heads * d, hidden), (p + "attn_k.weight", kv * d, hidden),
        (p + "attn_v.weight", kv * d, hidden), (p + "attn_output.weight", hidden, heads * d), (p + "ffn_norm.weight", 1, hidden),
        (p + "ffn_gate.weight", mlp, hidden), (p + "ffn_up.weight", mlp, hidden), (p + "ffn_down.weight", hidden, mlp),
    ]
header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(key(k, v) for k, v in keys.items())
offset, infos = 0, b""
for name, rows, columns in tensors:
    norm = rows == 1
    shape = [columns] if norm else [columns, rows]
    infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
    infos += struct.pack("<IQ", 0 if norm else kind, offset)
    bytes_ = columns * 4 if norm else rows * columns // values * size
    offset += (bytes_ + 31) // 32 * 32
with open(o.out, "wb") as f:
    f.write(header + infos)
    f.write(b"\0" * (-f.tell() % 32))
    for name, rows, columns in tensors:
        data = np.ones(columns, np.float32).tobytes() if rows == 1 else blocks(rows, columns)
        f.write(data + b"\0" * (-len(data) % 32))

"""Puts the experts of a saved gpt-oss folder into MXFP4 blocks, as published folders have them."""

import json

import numpy as np
import torch
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from safetensors.torch import load_file, save_file

OTHERS = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]


def blocks(weight):
    """(E, in, out) -> blocks (E, out, in / 32, 16) and exponents (E, out, in / 32), by ggml's quantiser."""
    rows = np.ascontiguousarray(weight.float().transpose(1, 2).numpy())
    packed = quantize(rows, GGMLQuantizationType.MXFP4).reshape(*rows.shape[:2], -1, 17)
    exponents, codes = packed[..., 0], packed[..., 1:]
    # ggml has values j and j + 16 in a byte, published files 2j and 2j + 1.
    values = np.concatenate([codes & 15, codes >> 4], axis=-1)
    return torch.from_numpy(values[..., 0::2] | values[..., 1::2] << 4), torch.from_numpy(exponents.copy())


def pack(folder):
    """Rewrites model.safetensors and config.json."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks(tensors.pop(name))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": OTHERS}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

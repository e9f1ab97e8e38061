"""Do experts in MXFP4 mean the same in our GGUF file as in the folder: gguf-py's dequantised values against transformers'?

usage: mxfp4_values.py --gguf FILE --folder HF_DIR

llama.cpp's greedy tokens are no check of such a file: it rounds what is multiplied with these blocks to 8 bits.
"""
import argparse
import logging

import gguf
import numpy as np
import torch
import transformers
from common import say

parser = argparse.ArgumentParser()
parser.add_argument("--gguf", required=True)
parser.add_argument("--folder", required=True)
args = parser.parse_args()
logging.getLogger("transformers").setLevel(logging.ERROR)
model = transformers.AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32)
tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(args.gguf).tensors}
different, values = 0, 0
for index, layer in enumerate(model.model.layers):
    experts = layer.mlp.experts
    parts = {"gate": experts.gate_up_proj[..., 0::2], "up": experts.gate_up_proj[..., 1::2], "down": experts.down_proj}
    biases = {"gate": experts.gate_up_proj_bias[..., 0::2], "up": experts.gate_up_proj_bias[..., 1::2], "down": experts.down_proj_bias}
    for part, matrix in parts.items():
        stored = tensors[f"blk.{index}.ffn_{part}_exps.weight"]
        assert stored.tensor_type == gguf.GGMLQuantizationType.MXFP4, stored.tensor_type
        own = gguf.quants.dequantize(stored.data, stored.tensor_type)
        bias = tensors[f"blk.{index}.ffn_{part}_exps.bias"].data
        for ours, peer in ((own, matrix.transpose(1, 2)), (bias, biases[part])):
            peer = peer.detach().numpy()
            different += int(np.count_nonzero(ours.reshape(peer.shape) != peer))
            values += peer.size
say("experts in MXFP4: gguf-py on our file, transformers on the folder", f"{values} values", f"{different} differ", different, different == 0)

"""Converts a GGUF to a Hugging Face folder in bf16 with transformers alone, so that the peers get their own copy.

usage: gguf_to_hf.py MODEL.gguf OUT_DIR
"""
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

gguf, out = Path(sys.argv[1]), sys.argv[2]
model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
# The weights are dequantised now; transformers would still write the GGUF's quantisation into config.json.
model.is_quantized, model.hf_quantizer = False, None
model.config.__dict__.pop("quantization_config", None)
model.to(torch.bfloat16).save_pretrained(out)
AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)

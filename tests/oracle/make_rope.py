"""Inverse frequencies and attention factors of every rotary scaling by transformers: tests/fixtures/rope.json.

usage: make_rope.py OUT.json
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SHAPE = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 32,
         "intermediate_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
LONG = {"short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5], "long_factor": [1.2, 2.0, 3.0, 5.0, 8.0, 9.0]}

# model type, max_position_embeddings, rope_parameters, lengths
CASES = [
    ("llama", 2048, {"rope_type": "linear", "factor": 4.0}, [8]),
    ("llama", 2048, {"rope_type": "dynamic", "factor": 2.0}, [2048, 2049, 5000]),
    ("llama", 131072, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 256, "rope_theta": 500000.0}, [8]),
    ("llama", 8192, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, [8]),
    ("qwen2", 8192, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "truncate": False,
                     "beta_fast": 16, "beta_slow": 2, "attention_factor": 1.25}, [8]),
    ("qwen3", 8192, {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 512, "mscale": 1.0,
                     "mscale_all_dim": 0.8, "rope_theta": 1000000.0}, [8]),
    ("phi3", 4096, {"rope_type": "longrope", "partial_rotary_factor": 0.75, "original_max_position_embeddings": 128,
                    **LONG}, [128, 129]),
    ("phi3", 128, {"rope_type": "longrope", "partial_rotary_factor": 0.75, "original_max_position_embeddings": 128,
                   "attention_factor": 1.5, **LONG}, [100]),
]  # fmt: skip


def main():
    rows = []
    for model_type, context, rope, lengths in CASES:
        rope = {"rope_theta": 10000.0, **rope}
        extra = {"head_dim": 16} if model_type == "qwen3" else {}
        if model_type == "phi3":
            extra["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
        written = {**SHAPE, **extra, "model_type": model_type, "max_position_embeddings": context, "rope_parameters": rope}
        config = transformers.AutoConfig.for_model(**json.loads(json.dumps(written)))
        for length in lengths:
            frequencies, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"), seq_len=length)
            rows.append({"config": written, "length": length, "frequencies": frequencies.tolist(), "factor": factor})
    made = {"transformers": transformers.__version__, "made_by": "tests/oracle/make_rope.py", "rows": rows}
    Path(sys.argv[1]).write_text(json.dumps(made, indent=0) + "\n")


if __name__ == "__main__":
    main()

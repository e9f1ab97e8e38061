"""Combines the golden adapters with PEFT's add_weighted_adapter: writes tests/fixtures/combinations/CASE.KIND.safetensors.

usage: make_combinations.py   (PEFT 0.21.2, transformers 5.23, torch 2.9.1)
The two adapters are `adapter` and `adapter_trained` of the case, with weights 0.7 and -0.4. Random dropping (dare) is
left out: another generator drops other values.
"""
import pathlib

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

root = pathlib.Path(__file__).parents[2]
folder = root / "tests/fixtures/combinations"
folder.mkdir(exist_ok=True)
for case in ("llama_gqa_tied", "llama_rope3_rslora"):
    golden = root / "tests/fixtures/golden" / case
    base = AutoModelForCausalLM.from_pretrained(golden / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, golden / "adapter", adapter_name="first")
    model.load_adapter(golden / "adapter_trained", adapter_name="second")
    for kind, options in {"linear": {}, "ties": {"density": 0.5}}.items():
        model.add_weighted_adapter(["first", "second"], [0.7, -0.4], kind, combination_type=kind, **options)
        tensors = {name: tensor.contiguous().clone() for name, tensor in get_peft_model_state_dict(model, adapter_name=kind).items()}
        save_file(tensors, folder / f"{case}.{kind}.safetensors", metadata={"format": "pt"})
        print(case, kind, len(tensors), "tensors")

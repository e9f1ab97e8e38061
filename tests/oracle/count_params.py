"""PEFT's own parameter counts of well-known shapes, for crates/lora-plan/tests/it/peft_counts.json.

    OMP_NUM_THREADS=1 python tests/oracle/count_params.py > crates/lora-plan/tests/it/peft_counts.json

Models are built without memory (torch's meta device); nothing is downloaded: the shapes are those of the published
config.json files.
"""
import json

import peft
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

SHAPES = {
    "llama-3-8b": ("llama", 128256, 4096, 14336, 32, 32, 8, 128, False),
    "smollm2-135m": ("llama", 49152, 576, 1536, 30, 9, 3, 64, True),
    "mistral-7b-v0.3": ("mistral", 32768, 4096, 14336, 32, 32, 8, 128, False),
    "qwen2.5-0.5b": ("qwen2", 151936, 896, 4864, 24, 14, 2, 64, True),
    "qwen3-4b": ("qwen3", 151936, 2560, 9728, 36, 32, 8, 128, True),
    "gemma-2-2b": ("gemma2", 256000, 2304, 9216, 26, 8, 4, 256, True),
    "gemma-3-1b": ("gemma3_text", 262144, 1152, 6912, 26, 4, 1, 256, True),
    "phi-3-mini": ("phi3", 32064, 3072, 8192, 32, 32, 32, 96, False),
    "smollm3-3b": ("smollm3", 128256, 2048, 11008, 36, 16, 4, 128, True),
    "olmo-3-7b": ("olmo3", 100278, 4096, 11008, 32, 32, 32, 128, False),
    "exaone-4.0-1.2b": ("exaone4", 102400, 2048, 4096, 30, 32, 8, 64, True),
    "ministral-3-3b": ("ministral3", 131072, 3072, 9216, 26, 32, 8, 128, True),
    "hunyuan-7b": ("hunyuan_v1_dense", 128167, 4096, 14336, 32, 32, 8, 128, True),
    "ministral-8b": ("ministral", 131072, 4096, 12288, 36, 32, 8, 128, False),
    "starcoder2-3b": ("starcoder2", 49152, 3072, 12288, 30, 24, 2, 128, True),
    "apertus-8b": ("apertus", 131072, 4096, 21504, 32, 32, 8, 128, False),
    "command-r7b": ("cohere2", 256000, 4096, 14336, 32, 32, 8, 128, True),
}
SETTINGS = [
    {"r": 8, "target_modules": None},
    {"r": 16, "target_modules": "all-linear"},
    {"r": 64, "target_modules": ["o_proj", "down_proj"]},
]


def model(family, vocabulary, hidden, intermediate, layers, heads, kv_heads, head, tied):
    config = AutoConfig.for_model(
        family, vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head, tie_word_embeddings=tied,
        pad_token_id=0, bos_token_id=1, eos_token_id=2)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def main():
    counts = []
    for name, shape in SHAPES.items():
        for setting in SETTINGS:
            config = peft.LoraConfig(task_type="CAUSAL_LM", **setting)
            names = setting["target_modules"]
            own = {module.rsplit(".", 1)[-1] for module, _ in model(*shape).named_modules()}
            if isinstance(names, list) and not own.issuperset(names):
                continue  # PEFT passes over a name that matches nothing, lora-plan refuses it
            try:
                adapted = peft.get_peft_model(model(*shape), config, low_cpu_mem_usage=True)
            except ValueError:  # PEFT has no default targets for this family
                continue
            trainable, total = adapted.get_nb_trainable_parameters()
            targets = sorted(adapted.peft_config["default"].target_modules)
            counts.append({"model": name, "rank": setting["r"], "target_modules": targets,
                           "trainable": trainable, "all": total})
    versions = {"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"made_by": "tests/oracle/count_params.py", "versions": versions, "counts": counts}, indent=1))


if __name__ == "__main__":
    main()

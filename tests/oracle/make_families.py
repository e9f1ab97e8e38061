"""Small random models of every family, with a real tokenizer, for the check against llama.cpp.

usage: make_families.py OUT TOKENIZER_FOLDER
Writes OUT/NAME, an f32 Hugging Face folder each, and prints the names. Shapes are such that llama.cpp, which knows some
facts of a family by heart (which layers slide, which rotate, what scores are divided by), computes the same.
"""
import shutil
import sys
from pathlib import Path

import torch
import transformers
from mxfp4 import pack

SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False}  # fmt: skip
DIVISORS = {"short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5], "long_factor": [1.5, 2.0, 3.0, 5.0, 8.0, 9.0]}
MODELS = {
    "llama": {"model_type": "llama"},
    "llama3": {"model_type": "llama", "tie_word_embeddings": True, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256}},
    "llama-yarn": {"model_type": "llama", "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}},
    "mistral": {"model_type": "mistral", "sliding_window": None, "head_dim": 32},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "qwen3-moe": {"model_type": "qwen3_moe", "head_dim": 32, "num_experts": 6, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 48, "norm_topk_prob": True},
    "granitemoe": {"model_type": "granitemoe", "num_local_experts": 6, "num_experts_per_tok": 3, "embedding_multiplier": 12.0,
                   "attention_multiplier": 0.3, "residual_multiplier": 0.22, "logits_scaling": 3.0, "attention_bias": True},
    # llama.cpp rounds the range of yarn: here it holds all frequencies, rounded or not.
    "gpt_oss": {"model_type": "gpt_oss", "head_dim": 32, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 32,
                "max_position_embeddings": 800, "rope_parameters": {
                    "rope_type": "yarn", "rope_theta": 5.0, "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                    "original_max_position_embeddings": 200}},
    "gpt_oss-mxfp4": {"model_type": "gpt_oss", "head_dim": 32, "num_local_experts": 8, "num_experts_per_tok": 3,
                      "sliding_window": 16, "num_hidden_layers": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0}},
    "mixtral": {"model_type": "mixtral", "head_dim": 32, "num_local_experts": 6, "num_experts_per_tok": 2},
    "mixtral-windows": {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 3, "sliding_window": 1024,
                        "tie_word_embeddings": True, "rope_parameters": {
                            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                            "high_freq_factor": 4.0, "original_max_position_embeddings": 256}},
    # llama.cpp has no keys that heads share here.
    "olmoe": {"model_type": "olmoe", "num_key_value_heads": 4, "num_experts": 6, "num_experts_per_tok": 3},
    "gemma2": {"model_type": "gemma2", "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 32,
               "tie_word_embeddings": True},
    "gemma3": {"model_type": "gemma3_text", "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 32,
               "num_hidden_layers": 7, "tie_word_embeddings": True, "rope_parameters": {
                   "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
                   "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    # llama.cpp looks for Phi-3's own tokens in the vocabulary of a model that is called so.
    "stacked": {"model_type": "phi3"},
    # llama.cpp takes the short divisors as long as its context, 2048 here, is no larger than the original one.
    "stacked-longrope": {"model_type": "phi3", "max_position_embeddings": 4096, "original_max_position_embeddings": 2048,
                         "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
                                             "factor": 2.0, **DIVISORS}},
    "smollm3": {"model_type": "smollm3", "num_hidden_layers": 5},
    "gemma": {"model_type": "gemma", "head_dim": 32, "tie_word_embeddings": True},
    "granite": {"model_type": "granite", "embedding_multiplier": 12.0, "attention_multiplier": 0.3, "residual_multiplier": 0.22,
                "logits_scaling": 3.0, "attention_bias": True, "mlp_bias": True},
    "glm4": {"model_type": "glm4", "head_dim": 32},
    "helium": {"model_type": "helium", "head_dim": 16, "attention_bias": True},
    "helium-tied": {"model_type": "helium", "head_dim": 16, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "ernie4_5": {"model_type": "ernie4_5", "head_dim": 32},
    "seed_oss": {"model_type": "seed_oss", "head_dim": 32, "attention_dropout": 0.0, "residual_dropout": 0.0},
    "olmo2": {"model_type": "olmo2"},
    "olmo3": {"model_type": "olmo3", "num_hidden_layers": 5, "sliding_window": 32, "rope_parameters": {
        "full_attention": {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 8.0, "original_max_position_embeddings": 256},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0}}},
    "exaone4": {"model_type": "exaone4", "sliding_window": None, "layer_types": ["full_attention"] * 3, "head_dim": 16,
                "tie_word_embeddings": True},
    # llama.cpp gives windows to models of 64 layers alone.
    "exaone4-windows": {"model_type": "exaone4", "sliding_window": 32, "num_hidden_layers": 64, "head_dim": 16},
    "ministral3": {"model_type": "ministral3", "head_dim": 32, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 64.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3}},
    "ministral": {"model_type": "ministral", "sliding_window": 1024, "head_dim": 32},  # longer than any row
    "starcoder2": {"model_type": "starcoder2", "tie_word_embeddings": True},
    "starcoder2-untied": {"model_type": "starcoder2", "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}},
    "apertus": {"model_type": "apertus", "head_dim": 32, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256}},
    "cohere2": {"model_type": "cohere2", "sliding_window": 32, "num_hidden_layers": 5, "logit_scale": 0.25,
                "tie_word_embeddings": True},
    # llama.cpp gives sharing layers the keys of the last full and the last but one sliding layer.
    "gemma4": {"model_type": "gemma4_text", "head_dim": 16, "global_head_dim": 32, "sliding_window": 32, "num_hidden_layers": 8,
               "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 2,
               "num_kv_shared_layers": 4, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 16,
               "final_logit_softcapping": 30.0, "tie_word_embeddings": True},
    "gemma4-keys": {"model_type": "gemma4_text", "head_dim": 16, "global_head_dim": 32, "num_global_key_value_heads": 1,
                    "attention_k_eq_v": True, "sliding_window": 32, "num_hidden_layers": 6, "hidden_size_per_layer_input": 0,
                    "rope_parameters": {
                        "full_attention": {"rope_type": "proportional", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
                        "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0}}},
    # llama.cpp's rule has keys as wide as values.
    "qwen3_5": {"model_type": "qwen3_5_text", "num_hidden_layers": 5, "head_dim": 32, "linear_num_key_heads": 2,
                "linear_num_value_heads": 6, "linear_key_head_dim": 16, "linear_value_head_dim": 16},
    "qwen3_5-even": {"model_type": "qwen3_5_text", "num_hidden_layers": 4, "head_dim": 32, "linear_num_key_heads": 2,
                     "linear_num_value_heads": 2, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
                     "tie_word_embeddings": True},
    "lfm2": {"model_type": "lfm2", "num_hidden_layers": 5, "tie_word_embeddings": True, "block_multiple_of": 64,
             "layer_types": ["conv", "conv", "full_attention", "conv", "full_attention"]},
    "granitehybrid": {"model_type": "granitemoehybrid", "num_hidden_layers": 5, "num_local_experts": 0, "num_experts_per_tok": 0,
                      "layer_types": ["mamba", "mamba", "attention", "mamba", "attention"], "shared_intermediate_size": 96,
                      "mamba_n_heads": 8, "mamba_n_groups": 2, "mamba_d_state": 16, "embedding_multiplier": 12.0,
                      "attention_multiplier": 0.3, "residual_multiplier": 0.22, "logits_scaling": 3.0},
    "granitehybrid-tied": {"model_type": "granitemoehybrid", "num_hidden_layers": 4, "num_local_experts": 0,
                           "num_experts_per_tok": 0, "layer_types": ["mamba", "attention", "mamba", "mamba"],
                           "shared_intermediate_size": 64, "mamba_n_heads": 16, "mamba_d_state": 32,
                           "position_embedding_type": "rope", "attention_multiplier": 0.25, "attention_bias": True,
                           "tie_word_embeddings": True},
    "granitehybrid-dense": {"model_type": "granitemoehybrid", "num_local_experts": 0, "num_experts_per_tok": 0,
                            "layer_types": ["attention", "attention", "attention"], "shared_intermediate_size": 96,
                            "mamba_n_heads": 8, "position_embedding_type": "rope", "embedding_multiplier": 12.0,
                            "attention_multiplier": 0.3, "residual_multiplier": 0.22, "logits_scaling": 3.0,
                            "tie_word_embeddings": True},
    "granitehybrid-moe": {"model_type": "granitemoehybrid", "num_hidden_layers": 4, "num_local_experts": 6,
                          "num_experts_per_tok": 2, "intermediate_size": 32, "shared_intermediate_size": 48,
                          "layer_types": ["mamba", "attention", "mamba", "mamba"], "mamba_n_heads": 8, "mamba_n_groups": 2,
                          "mamba_d_state": 16, "embedding_multiplier": 12.0, "attention_multiplier": 0.3,
                          "residual_multiplier": 0.22, "logits_scaling": 3.0, "tie_word_embeddings": True},
    "granitehybrid-attention-moe": {"model_type": "granitemoehybrid", "num_local_experts": 8, "num_experts_per_tok": 3,
                                    "intermediate_size": 32, "shared_intermediate_size": 64, "layer_types": ["attention"] * 3,
                                    "mamba_n_heads": 8, "position_embedding_type": "rope", "attention_multiplier": 0.3,
                                    "attention_bias": True},
    "granitemoeshared-moe": {"model_type": "granitemoeshared", "num_local_experts": 5, "num_experts_per_tok": 2,
                             "intermediate_size": 48, "shared_intermediate_size": 32, "embedding_multiplier": 12.0,
                             "attention_multiplier": 0.3, "residual_multiplier": 0.22, "logits_scaling": 3.0},
    "falcon-h1": {"model_type": "falcon_h1", "head_dim": 16, "mamba_d_ssm": 96, "mamba_n_heads": 6, "mamba_d_head": 16,
                  "mamba_d_state": 16, "embedding_multiplier": 5.6, "lm_head_multiplier": 0.3, "key_multiplier": 0.4,
                  "attention_in_multiplier": 1.5, "attention_out_multiplier": 0.9, "ssm_in_multiplier": 1.25,
                  "ssm_out_multiplier": 0.24, "ssm_multipliers": [0.35, 0.25, 0.36, 0.5, 0.37], "mlp_multipliers": [0.88, 0.59],
                  "rope_parameters": {"rope_type": "default", "rope_theta": 100000000000.0}},
    "falcon-h1-norm": {"model_type": "falcon_h1", "head_dim": 32, "mamba_d_ssm": None, "mamba_n_heads": 8, "mamba_n_groups": 2,
                       "mamba_d_state": 32, "mamba_rms_norm": True, "mamba_norm_before_gate": False, "mlp_bias": True,
                       "embedding_multiplier": 2.0, "lm_head_multiplier": 0.3, "ssm_multipliers": [0.5, 1.5, 0.7, 1.1, 0.9],
                       "mlp_multipliers": [0.8, 1.3], "tie_word_embeddings": True, "rope_parameters": {
                           "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}},
    "falcon-h1-tied": {"model_type": "falcon_h1", "head_dim": 16, "mamba_d_ssm": 64, "mamba_n_heads": 2, "mamba_d_state": 8,
                       "num_key_value_heads": 4, "key_multiplier": 0.5, "tie_word_embeddings": True},
    "lfm2_moe": {"model_type": "lfm2_moe", "num_hidden_layers": 5, "moe_intermediate_size": 48, "num_experts": 6,
                 "num_experts_per_tok": 2, "num_dense_layers": 2, "tie_word_embeddings": True,
                 "layer_types": ["conv", "conv", "full_attention", "conv", "full_attention"]},
    "lfm2-head": {"model_type": "lfm2", "num_hidden_layers": 4, "tie_word_embeddings": False, "conv_L_cache": 4,
                  "block_auto_adjust_ff_dim": False, "full_attn_idxs": [0, 3]},
    "hunyuan": {"model_type": "hunyuan_v1_dense", "head_dim": 32, "tie_word_embeddings": True,
                "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0, "factor": 1.0}},
}  # fmt: skip
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]


def main():
    out, source = map(Path, sys.argv[1:])
    ids = transformers.AutoConfig.from_pretrained(source)
    special = {"vocab_size": ids.vocab_size, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    for seed, (name, own) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        own_table = {"vocab_size_per_layer_input": ids.vocab_size} if "hidden_size_per_layer_input" in own else {}
        config = transformers.AutoConfig.for_model(**{**SHAPE, **special, **own, **own_table})
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for part, weight in model.named_parameters():
                noise = torch.randn_like(weight)
                weight.copy_(noise * 0.15) if weight.dim() >= 2 else weight.add_(noise * 0.1)
                if part.endswith("dt_bias"):
                    weight.sub_(5.0)  # states that last for some tokens, as those of trained models do
            for part, buffer in model.named_buffers():
                if part.endswith("layer_scalar"):
                    buffer.mul_(1 + 0.2 * torch.randn_like(buffer))
                if part.endswith("expert_bias"):
                    buffer.add_(0.1 * torch.randn_like(buffer))
        model.tie_weights()
        shutil.rmtree(out / name, ignore_errors=True)
        model.save_pretrained(out / name)
        if name.endswith("-mxfp4"):
            pack(out / name)
        for file in TOKENIZER:
            if (source / file).exists():
                shutil.copy(source / file, out / name / file)
        print(name)


main()

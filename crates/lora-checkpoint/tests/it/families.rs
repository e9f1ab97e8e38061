//! Names and shapes of weights follow the family.
use crate::support::{config_with, parse};
use lora_checkpoint::{ModelConfig, Norm, Projection};
use serde_json::{Value, json};

#[test]
fn names_and_shapes_follow_the_family() {
    let shape = |config: &ModelConfig, name: &str| {
        config
            .weights()
            .into_iter()
            .find(|(n, _)| n == &format!("model.layers.1.{name}"))
            .map(|(_, shape)| shape)
    };
    let config = |model_type: &str| {
        parse(&config_with(
            json!({"model_type": model_type, "sliding_window": 8}),
        ))
        .unwrap()
    };
    let phi3 = config("phi3");
    assert_eq!(
        shape(&phi3, "self_attn.qkv_proj.weight"),
        Some(vec![4 * 16 + 2 * 2 * 16, 64])
    );
    assert_eq!(shape(&phi3, "mlp.gate_up_proj.weight"), Some(vec![192, 64]));
    assert_eq!(phi3.facts().linear_of(Projection::Up), Projection::GateUp);
    let gemma3 = json!({"model_type": "gemma3_text", "rope_parameters": null});
    let gemma3 = parse(&config_with(gemma3)).unwrap();
    assert_eq!(shape(&gemma3, "self_attn.q_norm.weight"), Some(vec![16]));
    assert_eq!(
        gemma3.norm_path(0, Norm::MlpInput).unwrap(),
        "model.layers.0.pre_feedforward_layernorm"
    );
    let (qwen2, qwen3) = (config("qwen2"), config("qwen3"));
    assert_eq!(shape(&qwen2, "self_attn.k_proj.bias"), Some(vec![32]));
    assert_eq!(shape(&qwen2, "self_attn.o_proj.bias"), None);
    assert_eq!(shape(&qwen3, "self_attn.k_proj.bias"), None);
    assert!(shape(&qwen3, "self_attn.k_norm.weight").is_some());
}

/// Configs that llama.cpp can hold, one a family.
pub fn storable() -> Vec<Value> {
    let of = |model_type: &str, more: Value| {
        let mut config =
            config_with(json!({"model_type": model_type, "max_position_embeddings": 64}));
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    let yarn = json!({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
        "attention_factor": 1.5, "beta_fast": 16.0});
    let longrope = json!({"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
        "short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [2.0, 3.0, 4.0, 8.0], "attention_factor": 1.25});
    let gemma3 = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}});
    vec![
        of(
            "llama",
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ),
        of(
            "mistral",
            json!({"sliding_window": 8, "tie_word_embeddings": false}),
        ),
        of("qwen2", json!({"rope_parameters": yarn})),
        of(
            "qwen3",
            json!({"tie_word_embeddings": true, "attention_bias": true}),
        ),
        of(
            "gemma2",
            json!({"sliding_window": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 20.0,
            "tie_word_embeddings": true}),
        ),
        of(
            "gemma3_text",
            json!({"sliding_window": 8, "query_pre_attn_scalar": 16, "rope_parameters": gemma3,
            "num_hidden_layers": 7, "tie_word_embeddings": true}),
        ),
        of(
            "phi3",
            json!({"rope_parameters": longrope, "original_max_position_embeddings": 16, "sliding_window": 8}),
        ),
        of("smollm3", json!({"num_hidden_layers": 5})),
        of("gemma", json!({"tie_word_embeddings": true})),
        of(
            "granite",
            json!({"embedding_multiplier": 12.0, "attention_multiplier": 0.015625, "residual_multiplier": 0.22,
            "logits_scaling": 8.0, "attention_bias": true, "mlp_bias": true}),
        ),
        of("glm4", json!({"partial_rotary_factor": 0.5})),
        of("ernie4_5", json!({"tie_word_embeddings": false})),
        of(
            "helium",
            json!({"attention_bias": true, "mlp_bias": true, "head_dim": 16}),
        ),
        of("seed_oss", json!({"attention_out_bias": true})),
        of("olmo2", json!({})),
        of(
            "olmo3",
            json!({"num_hidden_layers": 5, "sliding_window": 8, "rope_parameters": {
            "full_attention": yarn, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}),
        ),
        of(
            "exaone4",
            json!({"num_hidden_layers": 64, "sliding_window": 8}),
        ),
        of(
            "ministral3",
            json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 16, "llama_4_scaling_beta": 0.25}}),
        ),
        of(
            "hunyuan_v1_dense",
            json!({"rope_scaling": {"type": "dynamic", "alpha": 1.0, "factor": 1.0}, "attention_bias": true}),
        ),
        of("ministral", json!({"sliding_window": 8})),
        of(
            "qwen3_moe",
            json!({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": true}),
        ),
        of(
            "olmoe",
            json!({"num_experts": 4, "num_experts_per_tok": 2, "rms_norm_eps": 2e-5}),
        ),
        of(
            "mixtral",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}),
        ),
        of(
            "gpt_oss",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 150000.0, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
            "original_max_position_embeddings": 64}}),
        ),
        of(
            "granitemoe",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "attention_bias": true,
            "embedding_multiplier": 12.0, "attention_multiplier": 0.25, "residual_multiplier": 0.22, "logits_scaling": 8.0}),
        ),
        of(
            "granitemoeshared",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 40, "attention_bias": true,
            "attention_multiplier": 0.25, "residual_multiplier": 0.22}),
        ),
        of(
            "starcoder2",
            json!({"tie_word_embeddings": true, "norm_epsilon": 2e-5}),
        ),
        of(
            "apertus",
            json!({"rope_parameters": {"rope_type": "linear", "rope_theta": 12000000.0, "factor": 2.0}}),
        ),
        of(
            "qwen3_5_text",
            json!({"num_hidden_layers": 5, "linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 8,
            "linear_value_head_dim": 16, "full_attention_interval": 2, "attention_bias": true}),
        ),
        of(
            "lfm2",
            json!({"num_hidden_layers": 5, "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention"],
            "conv_L_cache": 4, "norm_eps": 2e-5, "block_multiple_of": 8, "tie_word_embeddings": true}),
        ),
        of(
            "lfm2_moe",
            json!({"num_hidden_layers": 4, "layer_types": ["conv", "full_attention", "conv", "full_attention"],
            "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "num_dense_layers": 1,
            "norm_eps": 2e-5}),
        ),
        of(
            "granitemoehybrid",
            json!({"num_hidden_layers": 5, "layer_types": ["mamba", "attention", "mamba", "mamba", "attention"],
            "num_local_experts": 0, "shared_intermediate_size": 72, "mamba_n_heads": 8, "mamba_n_groups": 2,
            "mamba_d_state": 12, "mamba_d_conv": 3, "attention_multiplier": 0.3, "residual_multiplier": 0.22}),
        ),
        of(
            "granitemoehybrid",
            json!({"layer_types": vec!["attention"; 3], "num_local_experts": 0, "mamba_n_heads": 16,
            "position_embedding_type": "rope", "attention_bias": true, "tie_word_embeddings": true}),
        ),
        of(
            "granitemoehybrid",
            json!({"num_hidden_layers": 4, "layer_types": ["mamba", "attention", "mamba", "attention"],
            "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 40, "mamba_n_heads": 8,
            "mamba_d_state": 12, "residual_multiplier": 0.22}),
        ),
        of(
            "granitemoehybrid",
            json!({"layer_types": vec!["attention"; 3], "num_local_experts": 4, "num_experts_per_tok": 3,
            "shared_intermediate_size": 56, "mamba_n_heads": 16, "tie_word_embeddings": true}),
        ),
        of(
            "falcon_h1",
            json!({"mamba_d_ssm": 96, "mamba_n_heads": 6, "mamba_n_groups": 2, "mamba_d_state": 12, "mamba_d_conv": 3,
            "mamba_rms_norm": true, "mamba_norm_before_gate": false, "mlp_bias": true}),
        ),
        of(
            "falcon_h1",
            json!({"mamba_d_ssm": null, "mamba_n_heads": 8, "tie_word_embeddings": true, "mamba_d_state": 8}),
        ),
        of(
            "cohere2",
            json!({"num_hidden_layers": 5, "sliding_window": 8, "tie_word_embeddings": true, "logit_scale": 0.25,
            "layer_norm_eps": 2e-5}),
        ),
        of(
            "gemma4_text",
            json!({"num_hidden_layers": 6, "sliding_window": 8, "global_head_dim": 24, "num_global_key_value_heads": 1,
            "attention_k_eq_v": true, "num_kv_shared_layers": 2, "use_double_wide_mlp": true, "hidden_size_per_layer_input": 6,
            "vocab_size_per_layer_input": 300, "final_logit_softcapping": 30.0, "rope_parameters": null,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention",
                "sliding_attention", "full_attention"]}),
        ),
    ]
}

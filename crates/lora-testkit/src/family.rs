//! A base of any family that can be talked to: a golden case's weights under the embedded model's tokenizer.
use crate::{Noise, floats, golden, json, tiny_chat};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use std::path::Path;

/// A golden case of each family.
pub const FAMILIES: [(&str, &str); 35] = [
    ("apertus", "apertus_xielu"),
    ("cohere2", "cohere2_parallel"),
    ("ernie4_5", "ernie4_5_pairs"),
    ("exaone4", "exaone4_windows"),
    ("falcon_h1", "falcon_h1_multipliers"),
    ("gemma", "gemma_wide_heads"),
    ("gemma2", "gemma2_capped"),
    ("gemma3_text", "gemma3_text"),
    ("gemma4_text", "gemma4_shared"),
    ("glm4", "glm4_partial"),
    ("gpt_oss", "gpt_oss_sinks"),
    ("granite", "granite_multipliers"),
    ("granitemoe", "granitemoe_multipliers"),
    ("granitemoehybrid", "granitemoehybrid_experts"),
    ("granitemoeshared", "balance_shared"),
    ("helium", "helium_pairs"),
    ("hunyuan_v1_dense", "hunyuan_alpha"),
    ("lfm2", "lfm2_mixed"),
    ("lfm2_moe", "lfm2_moe_biased"),
    ("llama", "llama_gqa_tied"),
    ("ministral", "ministral_mixed"),
    ("ministral3", "ministral3_growth"),
    ("mistral", "mistral_patterns"),
    ("mixtral", "mixtral_windows"),
    ("olmo2", "olmo2_norms_after"),
    ("olmo3", "olmo3_windows"),
    ("olmoe", "olmoe_experts"),
    ("phi3", "phi3_fused"),
    ("qwen2", "qwen2_bias_all_linear"),
    ("qwen3", "qwen3_modules_to_save"),
    ("qwen3_5_text", "qwen3_5_grouped"),
    ("qwen3_moe", "qwen3_moe_experts"),
    ("seed_oss", "seed_oss_biases"),
    ("smollm3", "smollm3_nope"),
    ("starcoder2", "starcoder2_biases"),
];

/// Writes a Hugging Face folder into `to`: the base of a golden `case`, whose embedding and head are as long as the embedded
/// model's vocabulary; where the case differs from what a GGUF file can say, it is as published models are.
///
/// # Panics
/// When there is no such case, or when `to` can't be written.
pub fn write_family(case: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(tiny_chat().join(file), to.join(file)).unwrap();
    }
    let own = json(&tiny_chat().join("config.json"));
    let mut config = json(&golden(case).join("base/config.json"));
    for key in ["vocab_size", "eos_token_id", "bos_token_id", "pad_token_id"] {
        config[key] = own[key].clone();
    }
    if config.get("query_pre_attn_scalar").is_some() {
        config["query_pre_attn_scalar"] = config["head_dim"].clone();
    }
    if config.get("vocab_size_per_layer_input").is_some() {
        config["vocab_size_per_layer_input"] = own["vocab_size"].clone();
    }
    let layers = config["num_hidden_layers"].as_u64().unwrap() as usize;
    if config["model_type"] == "gemma3_text" || config["model_type"] == "olmo3" {
        config["layer_types"] = vec!["sliding_attention"; layers].into(); // but every sixth or fourth
    }
    if config["model_type"] == "olmo3" {
        let rope = &mut config["rope_parameters"];
        rope["sliding_attention"]["rope_theta"] = rope["full_attention"]["rope_theta"].clone();
    }
    if config["model_type"] == "exaone4" {
        config["sliding_window"] = serde_json::Value::Null; // so the small ones
        config["layer_types"] = vec!["full_attention"; layers].into();
    }
    if config["model_type"] == "smollm3" {
        let rope = (1..=layers).map(|layer| u8::from(layer % 4 != 0));
        config["no_rope_layers"] = rope.collect::<Vec<_>>().into();
    }
    if config.get("routed_scaling_factor").is_some() {
        config["routed_scaling_factor"] = 1.0.into();
    }
    if config.get("swiglu_limit").is_some() {
        config["swiglu_alpha"] = 1.702.into();
        config["swiglu_limit"] = 7.0.into();
    }
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();

    let vocabulary = own["vocab_size"].as_u64().unwrap() as usize;
    let mut noise = Noise(7);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
        floats(&golden(case).join("base/model.safetensors"))
            .into_iter()
            .map(|(name, mut shape, mut values)| {
                if name.contains("embed_tokens") || name == "lm_head.weight" {
                    shape[0] = vocabulary;
                    values = (0..vocabulary * shape[1])
                        .map(|_| 0.1 * noise.real())
                        .collect();
                }
                let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
                (name, shape, bytes)
            })
            .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    serialize_to_file(views, None, &to.join("model.safetensors")).unwrap();
}

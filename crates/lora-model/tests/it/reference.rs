//! An independent implementation: candle-transformers' Llama, which can infer but not train.
use crate::golden::{Golden, LLAMA, largest_difference};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::llama::{Cache, Config, Llama, Llama3RopeConfig, Llama3RopeType};
use lora_checkpoint::{ModelConfig, RopeScaling};
use lora_model::{Composite, Packed, Route};
use std::collections::HashMap;

fn config(from: &ModelConfig) -> Config {
    let rope_scaling = match &from.ropes[0].scaling {
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => Some(Llama3RopeConfig {
            factor: *factor as f32,
            low_freq_factor: *low_freq_factor as f32,
            high_freq_factor: *high_freq_factor as f32,
            original_max_position_embeddings: *original_max_position_embeddings,
            rope_type: Llama3RopeType::Llama3,
        }),
        _ => None,
    };
    Config {
        hidden_size: from.hidden_size,
        intermediate_size: from.intermediate_size,
        vocab_size: from.vocab_size,
        num_hidden_layers: from.num_hidden_layers,
        num_attention_heads: from.num_attention_heads,
        num_key_value_heads: from.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: from.norm_eps,
        rope_theta: from.ropes[0].theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling,
        max_position_embeddings: from.max_position_embeddings,
        tie_word_embeddings: from.tie_word_embeddings,
    }
}

/// Last-token logits of every sequence (all that it gives) equal ours.
#[test]
fn candle_transformers_agrees() {
    for case in LLAMA {
        let golden = Golden::open(case);
        let checkpoint = golden.base.checkpoint();
        let mut tensors = HashMap::new();
        for name in checkpoint.tensor_names() {
            let view = checkpoint.tensor(&name).unwrap();
            tensors.insert(
                name,
                Tensor::from_vec(view.to_f32(), view.shape(), &Device::Cpu).unwrap(),
            );
        }
        let config = config(checkpoint.config());
        let builder = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let llama = Llama::load(builder, &config).unwrap();
        let mut ours = Composite::new(&golden.base).unwrap();
        for rows in golden.packed.starts.windows(2) {
            let ids = &golden.packed.input_ids[rows[0]..rows[1]];
            let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
            let input = Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu).unwrap();
            let theirs = llama
                .forward(&input, 0, &mut cache)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let found = ours.logits(None, &Packed::of_ids(ids)).unwrap();
            assert!(largest_difference(&found[found.len() - theirs.len()..], &theirs) <= 1e-4);
        }
    }
}

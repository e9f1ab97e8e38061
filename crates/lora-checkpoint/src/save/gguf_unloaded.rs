//! Which family's a GGUF file of a model is, and what the model has that llama.cpp's loader of that does not know.
use crate::families::{Family, GgufFacts, Marks, Unloaded};
use crate::gguf::architecture;
use crate::{Biases, ModelConfig, Projection, RopeScaling};

/// What a file of a model shows of its family.
pub(super) fn marks(config: &ModelConfig) -> Marks<'static> {
    Marks {
        named: config.family.name_in_gguf(architecture(config)),
        window: config.layers.iter().any(|layer| layer.window.is_some()),
        experts: config.experts.is_some(),
        shared: config.experts.is_some_and(|own| own.shared.is_some()),
    }
}

/// A line for each thing that this model has and llama.cpp's loader does not know: it refuses such a file.
pub(super) fn unloaded(config: &ModelConfig) -> impl Iterator<Item = String> {
    let architecture = architecture(config);
    // Of a model that lies there as another family's what that one's loader doesn't know.
    let unnamed = Marks {
        named: None,
        ..marks(config)
    };
    let is_other = config.facts().gguf.architecture != architecture;
    let other = is_other.then(|| Family::of_gguf(architecture, unnamed));
    let family = other.flatten().unwrap_or(config.family);
    let GgufFacts { unloaded, .. } = family.facts().gguf;
    let all = unloaded.iter().filter_map(|&what| named(config, what));
    all.map(move |what| {
        format!("llama.cpp will not load this file: its {architecture} knows no {what}")
    })
}

/// What this model has of what an architecture does not know.
pub(super) fn named(config: &ModelConfig, what: Unloaded) -> Option<&'static str> {
    let has_factors = |scaling: &RopeScaling| {
        matches!(
            scaling,
            RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) | RopeScaling::LongRope { .. }
        )
    };
    match what {
        Unloaded::QkvBias if config.biases.qkv => Some("biases on q, k and v"),
        Unloaded::UnevenHeads if config.delta.is_some_and(|d| d.key_dim != d.value_dim) => {
            Some("linear attention whose keys are of another width than its values")
        }
        Unloaded::MambaWidth
            if config
                .mamba
                .is_some_and(|own| own.values() != 2 * config.hidden_size) =>
        {
            Some("Mamba-2 of another width than twice the hidden state")
        }
        Unloaded::OutputBias if config.biases.output => Some("bias on o_proj"),
        Unloaded::MlpBias if config.biases.mlp => Some("biases in the MLP"),
        Unloaded::TiedHead if config.tie_word_embeddings => Some("head that is the embedding"),
        Unloaded::WideHeads if config.shape(0, Projection::Q).0 != config.hidden_size => {
            Some("heads that are wider or narrower than the hidden state")
        }
        Unloaded::SharedKeys if config.num_key_value_heads != config.num_attention_heads => {
            Some("keys that several heads share")
        }
        Unloaded::RopeFactors if config.ropes.iter().any(|r| has_factors(&r.scaling)) => {
            Some("rotary factors one by one (llama3, longrope)")
        }
        Unloaded::LongTable
            if config
                .per_layer()
                .is_some_and(|own| own.vocabulary != config.vocab_size) =>
        {
            Some("table of the layers' inputs with more rows than the vocabulary")
        }
        Unloaded::NoAttentionBiases if !(config.biases.qkv && config.biases.output) => {
            Some("attention without biases")
        }
        Unloaded::NoWindows if config.layers.iter().all(|layer| layer.window.is_none()) => {
            Some("model without windows")
        }
        Unloaded::NoBiases if config.biases != Biases::ALL => Some("linear layers without biases"),
        _ => None,
    }
}

//! Gemma 4 (text, dense): Gemma 3's norms, stored as they are multiplied; values normalised without a weight, scores as they
//! are; heads of another width in layers without a window; last layers that read earlier keys and values; inputs of each layer
//! looked up by token; each layer's output times a number.
use super::facts::{
    Activation, Facts, GgufCap, GgufFacts, GgufLocalBase, GgufWindows, JsonFacts, LocalRope, Mlp,
    Norm, Sliding, SoftCap, Unloaded,
};
use super::parts::{ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};
use super::variants::{PerLayer, VariantDefaults};

pub(super) const FACTS: Facts = Facts {
    model_type: "gemma4_text",
    architecture: "Gemma4ForCausalLM",
    norms: &[
        (Norm::PerLayerInput, "per_layer_projection_norm"),
        (Norm::Input, "input_layernorm"),
        (Norm::Query, "self_attn.q_norm"),
        (Norm::Key, "self_attn.k_norm"),
        (Norm::AttentionOutput, "post_attention_layernorm"),
        (Norm::MlpInput, "pre_feedforward_layernorm"),
        (Norm::MlpOutput, "post_feedforward_layernorm"),
        (Norm::PerLayerOutput, "post_per_layer_input_norm"),
    ],
    normalised_values: true,
    output_scale: Some("layer_scalar"),
    attention_scale: Some(1.0),
    mlp: Mlp::Gated(Activation::GeluTanh),
    scaled_embedding: true,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 262_144,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 30,
        num_attention_heads: 8,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 131_072,
        rope_theta: 1_000_000.0,
        tie_word_embeddings: true,
        bos: Some(2),
        eos: &[1],
        pad: Some(0),
        activation: "hidden_activation",
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        logit_softcap: SoftCap::Read(None),
        sliding: Sliding::AllButLast {
            every: 6,
            window: 512,
        },
        local_rope: Some(LocalRope {
            theta: 10_000.0,
            key: None,
            in_gguf: GgufLocalBase::Named,
        }),
        proportional_rope: Some(0.25),
        variants: Some(VariantDefaults {
            full_width: 512,
            per_layer: PerLayer {
                width: 256,
                vocabulary: 262_144,
            },
        }),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "gemma4",
        windows: GgufWindows::Listed,
        logit_softcap: GgufCap::Named,
        unloaded: &[
            Unloaded::QkvBias,
            Unloaded::OutputBias,
            Unloaded::MlpBias,
            Unloaded::LongTable,
        ],
        ..PLAIN_GGUF
    },
    ..PLAIN
};

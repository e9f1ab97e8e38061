//! Cohere 2 (Command R7B, Aya): attention and MLP read the same LayerNorm, which has no bias; a window in all but every
//! fourth layer, and there alone a rotary embedding, of neighbouring pairs; logits are multiplied by a number.
use super::facts::{
    Block, Facts, GgufFacts, GgufWindows, JsonFacts, Norm, NormKind, RopeInWindows, RotaryPairs,
    Sliding, Unloaded, published,
};
use super::parts::{ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "cohere2",
    architecture: "Cohere2ForCausalLM",
    norms: &[(Norm::Input, "input_layernorm")],
    norm_kind: NormKind::Layer { bias: false },
    block: Block::Parallel,
    rotary_pairs: RotaryPairs::Neighbours,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 256_000,
        hidden_size: 8192,
        intermediate_size: 22_528,
        num_hidden_layers: 40,
        num_attention_heads: 64,
        max_position_embeddings: 8192,
        norm_eps: ("layer_norm_eps", 1e-5),
        tie_word_embeddings: true,
        bos: Some(5),
        eos: &[255_001],
        pad: Some(0),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        logit_scale: Some(0.0625),
        sliding: Sliding::Pattern(4),
        rope_in_windows: RopeInWindows::Always,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "cohere2",
        windows: GgufWindows::AllBut(4),
        default_window: Some(4096),
        own_head: false,
        unloaded: &[
            Unloaded::OutputBias,
            Unloaded::WideHeads,
            Unloaded::RopeFactors,
        ],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("command-r7b",   [256_000, 4096, 14_336],  32, [32, 8, 128], true),
        published("command-a", [256_000, 12_288, 36_864], 64, [96, 8, 128], true),
    ],
    ..PLAIN
};

//! What transformers takes for absent keys (its configuration classes), and which optional keys a family reads.
use crate::family::Family;

/// One family's.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    /// None: as many as query heads.
    pub(super) num_key_value_heads: Option<usize>,
    /// None: hidden_size / num_attention_heads.
    pub(super) head_dim: Option<usize>,
    pub(super) max_position_embeddings: usize,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
    pub(super) tie_word_embeddings: bool,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) pad: Option<u32>,
    /// q, k and v always have biases.
    pub(super) qkv_bias: bool,
    /// `attention_bias` is read.
    pub(super) reads_attention_bias: bool,
    /// `mlp_bias` is read.
    pub(super) reads_mlp_bias: bool,
    /// None: the key is not read, scores are divided by √head_dim.
    pub(super) query_pre_attn_scalar: Option<f64>,
    /// None: the key is not read.
    pub(super) attention_softcap: Option<Option<f64>>,
    pub(super) logit_softcap: Option<Option<f64>>,
    /// `partial_rotary_factor` is read.
    pub(super) reads_partial_rotary_factor: bool,
}

const LLAMA: Defaults = Defaults {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: None,
    head_dim: None,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
    tie_word_embeddings: false,
    bos: Some(1),
    eos: Some(2),
    pad: None,
    qkv_bias: false,
    reads_attention_bias: true,
    reads_mlp_bias: true,
    query_pre_attn_scalar: None,
    attention_softcap: None,
    logit_softcap: None,
    reads_partial_rotary_factor: false,
};

const MISTRAL: Defaults = Defaults {
    intermediate_size: 14_336,
    num_key_value_heads: Some(8),
    max_position_embeddings: 131_072,
    reads_attention_bias: false,
    reads_mlp_bias: false,
    ..LLAMA
};

const QWEN2: Defaults = Defaults {
    vocab_size: 151_936,
    intermediate_size: 22_016,
    num_key_value_heads: Some(32),
    max_position_embeddings: 32_768,
    bos: None,
    eos: None,
    qkv_bias: true,
    reads_attention_bias: false,
    reads_mlp_bias: false,
    ..LLAMA
};

const QWEN3: Defaults = Defaults {
    head_dim: Some(128),
    qkv_bias: false,
    reads_attention_bias: true,
    ..QWEN2
};

const GEMMA2: Defaults = Defaults {
    vocab_size: 256_000,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: Some(4),
    head_dim: Some(256),
    max_position_embeddings: 8192,
    tie_word_embeddings: true,
    bos: Some(2),
    eos: Some(1),
    pad: Some(0),
    reads_mlp_bias: false,
    query_pre_attn_scalar: Some(256.0),
    attention_softcap: Some(Some(50.0)),
    logit_softcap: Some(Some(30.0)),
    ..LLAMA
};

/// transformers' Gemma 3 reads `attn_logit_softcapping` but never applies it.
const GEMMA3: Defaults = Defaults {
    vocab_size: 262_208,
    max_position_embeddings: 131_072,
    rope_theta: 1_000_000.0,
    attention_softcap: None,
    logit_softcap: Some(None),
    ..GEMMA2
};

const PHI3: Defaults = Defaults {
    vocab_size: 32_064,
    hidden_size: 3072,
    intermediate_size: 8192,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    eos: Some(32_000),
    pad: Some(32_000),
    reads_attention_bias: false,
    reads_mlp_bias: false,
    reads_partial_rotary_factor: true,
    ..LLAMA
};

const SMOLLM3: Defaults = Defaults {
    vocab_size: 128_256,
    hidden_size: 2048,
    num_hidden_layers: 36,
    num_attention_heads: 16,
    num_key_value_heads: Some(4),
    max_position_embeddings: 32_768,
    rope_theta: 2_000_000.0,
    tie_word_embeddings: true,
    bos: Some(128_000),
    eos: Some(128_001),
    pad: Some(128_004),
    ..LLAMA
};

/// The defaults of a family.
pub(super) fn of(family: Family) -> &'static Defaults {
    match family {
        Family::Llama => &LLAMA,
        Family::Mistral => &MISTRAL,
        Family::Qwen2 => &QWEN2,
        Family::Qwen3 => &QWEN3,
        Family::Gemma2 => &GEMMA2,
        Family::Gemma3 => &GEMMA3,
        Family::Phi3 => &PHI3,
        Family::SmolLm3 => &SMOLLM3,
    }
}

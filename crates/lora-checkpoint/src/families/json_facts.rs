//! What a family's config.json can say: which keys are read, and what absent ones mean. No family is named here.
use super::gguf_facts::GgufLocalBase;
use super::variants::VariantDefaults;

/// How a family's config.json is read and written: what transformers takes for absent keys, and which keys it reads.
#[derive(Debug)]
pub(crate) struct JsonFacts {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    /// None: as many as query heads.
    pub(crate) num_key_value_heads: Option<usize>,
    /// None: hidden_size / num_attention_heads.
    pub(crate) head_dim: Option<usize>,
    pub(crate) max_position_embeddings: usize,
    /// The key of the norms' ε, and its default.
    pub(crate) norm_eps: (&'static str, f64),
    pub(crate) rope_theta: f64,
    pub(crate) tie_word_embeddings: bool,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: &'static [u32],
    pub(crate) pad: Option<u32>,
    /// The key that names the activation.
    pub(crate) activation: &'static str,
    /// What else its value may be: early files' names of the same.
    pub(crate) activation_names: &'static [&'static str],
    /// Biases on q, k and v.
    pub(crate) qkv_bias: BiasKey,
    /// Bias on the output of attention.
    pub(crate) output_bias: BiasKey,
    /// Biases on gate, up and down.
    pub(crate) mlp_bias: BiasKey,
    /// `embedding_multiplier`, `attention_multiplier`, `residual_multiplier` and `logits_scaling` are read.
    pub(crate) multipliers: bool,
    /// `logit_scale` is read, by which logits are multiplied, and this is its default.
    pub(crate) logit_scale: Option<f64>,
    /// `query_pre_attn_scalar`; None: the key is not read, scores are divided by √head_dim.
    pub(crate) query_pre_attn_scalar: Option<f64>,
    /// `attn_logit_softcapping`.
    pub(crate) attention_softcap: SoftCap,
    /// `final_logit_softcapping`.
    pub(crate) logit_softcap: SoftCap,
    /// Which layers slide.
    pub(crate) sliding: Sliding,
    /// `partial_rotary_factor` is read, and this is its default.
    pub(crate) partial_rotary_factor: Option<f64>,
    /// Positions may have several dimensions (`mrope_section`), all of which are the same in a text.
    pub(crate) sectioned_rope: bool,
    /// Names of rotary scalings that mean another here: (written, meant).
    pub(crate) rope_types: &'static [(&'static str, &'static str)],
    /// The rotary embedding of sliding layers, where it is another than that of the full ones.
    pub(crate) local_rope: Option<LocalRope>,
    /// `no_rope_layers` is read; the number is the default of `no_rope_layer_interval`.
    pub(crate) no_rope_interval: Option<usize>,
    /// Whether layers without a window have a rotary embedding.
    pub(crate) rope_in_windows: RopeInWindows,
    /// The scaling "dynamic" with `alpha` is a larger base at every length.
    pub(crate) rope_alpha: bool,
    /// The rotary parameters where the file names none.
    pub(crate) default_rope: Option<DefaultRope>,
    /// `rope_type` "proportional" is read, and layers without a window have it where the file says nothing, with so large a
    /// part of each head rotated.
    pub(crate) proportional_rope: Option<f64>,
    /// The keys of [`super::variants::Variants`] are read.
    pub(crate) variants: Option<VariantDefaults>,
    /// The width of the MLP is made of `block_ff_dim` or `intermediate_size`, as the `block_` keys say.
    pub(crate) block_width: bool,
    /// `tie_embedding` goes before `tie_word_embeddings`.
    pub(crate) tie_embedding: bool,
    /// `position_embedding_type` is read: only "rope" is a rotary embedding.
    pub(crate) rope_switch: bool,
    /// The factors around linear layers are read (`attention_in_multiplier` and its kin), and beside them `embedding_multiplier` and
    /// `lm_head_multiplier`, by which logits are multiplied.
    pub(crate) factors: bool,
    /// `mamba_d_ssm` is read, and this is its default; as are the switches of Mamba-2's norm (`mamba_rms_norm`,
    /// `mamba_norm_before_gate`) and of its biases (`mamba_proj_bias`, `projectors_bias`).
    pub(crate) mamba_width: Option<usize>,
    /// `llama_4_scaling_beta` among the rotary parameters is needed: queries grow with their position.
    pub(crate) query_growth: bool,
    /// Keys that transformers reads and that are not supported here: null, or refused.
    pub(crate) unsupported: &'static [&'static str],
}

/// Where layers without a window go without a rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopeInWindows {
    /// Nowhere.
    Never,
    /// In a model whose configuration names a window.
    IfNamed,
    /// Always.
    Always,
}

/// Rotary parameters that a family takes where its config.json has none: the key of each number beside the base.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DefaultRope {
    pub(crate) rope_type: &'static str,
    pub(crate) theta: f64,
    pub(crate) numbers: &'static [(&'static str, f64)],
    pub(crate) original_max_position_embeddings: usize,
    /// yarn's `truncate`.
    pub(crate) truncate: Option<bool>,
}

/// Whether some linear layers have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BiasKey {
    /// They don't.
    Never,
    /// They do.
    Always,
    /// If this key says so, with its default.
    Read(&'static str, bool),
}

impl BiasKey {
    /// The key that is read.
    pub(crate) fn key(self) -> Option<&'static str> {
        match self {
            Self::Read(key, _) => Some(key),
            Self::Never | Self::Always => None,
        }
    }

    /// Where nothing is said.
    pub(crate) fn default(self) -> bool {
        matches!(self, Self::Always | Self::Read(_, true))
    }
}

/// A soft cap's key in config.json.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SoftCap {
    /// There is no such key.
    Absent,
    /// The configuration class has the key, and the model never applies it.
    Ignored,
    /// Read, with its default.
    Read(Option<f64>),
}

/// How a family's config.json says which layers slide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sliding {
    /// None does.
    Never,
    /// All do if `sliding_window` is set; the number is its default.
    All(Option<usize>),
    /// If `sliding_window` is set, those that `layer_types` names, else all; the number is its default.
    Named(Option<usize>),
    /// If `use_sliding_window`, all do.
    IfUsed,
    /// If `use_sliding_window`, those that `layer_types` names, else those from `max_window_layers` on.
    FromLayer,
    /// Those that `layer_types` names, else all but every n-th (`sliding_window_pattern`).
    Pattern(usize),
    /// Those that `layer_types` names, else all but every n-th.
    AllBut(usize),
    /// The same, with the default of `sliding_window`.
    AllButWith {
        /// n.
        every: usize,
        /// Where nothing is said.
        window: usize,
    },
    /// As `AllBut`; the last layer never does, whatever is named.
    AllButLast {
        /// n.
        every: usize,
        /// The default of `sliding_window`.
        window: usize,
    },
    /// If `use_sliding_window`, those that `layer_types` names, else those without a rotary embedding.
    WithoutRope,
}

/// A rotary embedding of sliding layers alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LocalRope {
    /// Base, where nothing is said.
    pub(crate) theta: f64,
    /// transformers 4's key of the base, if it had one.
    pub(crate) key: Option<&'static str>,
    /// llama.cpp's base, whatever is said.
    pub(crate) in_gguf: GgufLocalBase,
}

//! What can be said of a family: the types that the files beside this one fill in. No family is named here.
use super::experts::{ExpertFacts, Experts};
pub use super::kinds::{Activation, Block, HeadNorms, Mlp, Norm, NormKind, RotaryPairs};
use super::mixers::Recurrent;
use super::variants::VariantDefaults;
use crate::Projection;

/// One family: all that is known of it.
#[derive(Debug)]
pub struct Facts {
    /// transformers' `model_type`.
    pub model_type: &'static str,
    /// transformers' class.
    pub architecture: &'static str,
    /// The linear layers of a layer, in the order of the forward pass.
    pub projections: &'static [Projection],
    /// Where some layers keep a state instead of keys and values.
    pub recurrent: Option<Recurrent>,
    /// Module paths in a layer of those that are not called as in most families.
    pub names: &'static [(Projection, &'static str)],
    /// The norms of a layer and their module paths, in the order of the forward pass.
    pub norms: &'static [(Norm, &'static str)],
    /// What else a layer holds in transformers, without weights: an expression of PEFT's can match it.
    pub weightless: &'static [&'static str],
    /// What its norms compute.
    pub norm_kind: NormKind,
    /// How attention and MLP stand to each other.
    pub block: Block,
    /// Where there are norms of queries and keys.
    pub head_norms: HeadNorms,
    /// Of the rotary embedding.
    pub rotary_pairs: RotaryPairs,
    /// Whether values are normalised head by head, without a weight.
    pub normalised_values: bool,
    /// Name in a layer of a number that the layer's output is multiplied by. transformers keeps it as a buffer: nothing trains it.
    pub output_scale: Option<&'static str>,
    /// What scores are multiplied by, whatever the width of heads.
    pub attention_scale: Option<f64>,
    /// What is added to the stored weight of a norm: Gemma stores γ − 1.
    pub norm_offset: f32,
    /// What its MLP computes.
    pub mlp: Mlp,
    /// Its experts, in layers that have some: each is such an MLP, without biases.
    pub experts: Option<ExpertFacts>,
    /// Whether embeddings are multiplied by √H.
    pub scaled_embedding: bool,
    /// Names of the modules that PEFT targets where nothing is said
    /// (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING); empty where PEFT has no default.
    pub peft_targets: &'static [&'static str],
    /// Beginnings of names of weights that files hold beside the decoder's, and that transformers does not read.
    pub(crate) unread_weights: &'static [&'static str],
    /// Its config.json.
    pub(crate) json: JsonFacts,
    /// Its GGUF files.
    pub(crate) gguf: GgufFacts,
    /// Shapes of published models, from their config.json.
    pub published: &'static [Published],
}

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

/// Rotary parameters of Llama 3's scaling, which a family takes where its config.json has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DefaultRope {
    pub(crate) theta: f64,
    pub(crate) factor: f64,
    pub(crate) low_freq_factor: f64,
    pub(crate) high_freq_factor: f64,
    pub(crate) original_max_position_embeddings: usize,
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
    /// The same; the last layer never does, whatever is named.
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

/// The base of sliding layers' rotary embedding, as llama.cpp has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufLocalBase {
    /// The family's default, or what the file names.
    Default,
    /// That of the full layers.
    OfFullLayers,
    /// What the file names, or that of the full layers.
    Named,
}

/// How a family lies in GGUF, and what llama.cpp knows of it by itself.
#[derive(Debug)]
pub(crate) struct GgufFacts {
    /// llama.cpp's `general.architecture`.
    pub(crate) architecture: &'static str,
    /// Where several families share an architecture: a file that names a window is of this one.
    pub(crate) marked_by_window: bool,
    /// Whether the rows of q and k are permuted within each head.
    pub(crate) permuted: bool,
    /// Norms that lie under another name than in most architectures.
    pub(crate) norm_names: &'static [(Norm, &'static str)],
    /// Which layers slide in a file that names a window.
    pub(crate) windows: GgufWindows,
    /// The window where the file names none.
    pub(crate) default_window: Option<usize>,
    /// Every n-th layer has no rotary embedding.
    pub(crate) no_rope_every: Option<usize>,
    /// What is taken where the file names no cap on scores.
    pub(crate) attention_softcap: GgufCap,
    /// What is taken where the file names no cap on logits.
    pub(crate) logit_softcap: GgufCap,
    /// `rope.dimension_count` may be less than the width of a head.
    pub(crate) partial_rotary: bool,
    /// Whether a file can hold a head of its own.
    pub(crate) own_head: bool,
    /// What llama.cpp doesn't load, though a file can say it.
    pub(crate) unloaded: &'static [Unloaded],
    /// Where the matrix of values is so small that it gets more bits.
    pub(crate) small_values: SmallValues,
    /// Models of so many layers divide scores by the root of hidden_size / heads, all others by that of the head's width.
    pub(crate) shared_scalar_layers: Option<usize>,
}

/// What a model can have and llama.cpp's loader of an architecture does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unloaded {
    /// Biases on q, k and v.
    QkvBias,
    /// A bias on the output of attention.
    OutputBias,
    /// Biases on gate, up and down.
    MlpBias,
    /// A head that is the embedding.
    TiedHead,
    /// Queries of another width than the hidden state.
    WideHeads,
    /// Keys that several heads of queries share.
    SharedKeys,
    /// Divisors of rotary frequencies, one each.
    RopeFactors,
    /// Linear layers without biases.
    NoBiases,
    /// Keys of another width than values, where there is a state.
    UnevenHeads,
    /// A table of the layers' inputs with more rows than the vocabulary.
    LongTable,
}

/// Models in whose mixes of block types llama.cpp gives the matrices of values more bits, since they are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SmallValues {
    /// None.
    Never,
    /// Those of so many layers.
    Of(usize),
    /// Those of so many layers whose query heads share keys.
    OfGrouped(usize),
}

/// Windows, as llama.cpp spaces them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufWindows {
    /// The key is not read.
    Never,
    /// The key is written for all layers, and llama.cpp doesn't apply it.
    Unapplied,
    /// A list says it, layer by layer.
    Listed,
    /// All layers but every n-th.
    AllBut(usize),
    /// The same in models of so many layers alone; in others none slides, whatever the file names.
    AllButIn {
        /// Every n-th sees all.
        every: usize,
        /// Of such models.
        layers: usize,
        /// The window where the file names none.
        window: usize,
    },
}

/// A soft cap in GGUF.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum GgufCap {
    /// llama.cpp has none.
    Never,
    /// None unless the file names one.
    Named,
    /// This one unless the file names another.
    Default(f64),
}

/// Shape of a published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Name, in lower case, without what changes no shape (`-instruct`).
    pub name: &'static str,
    /// V.
    pub vocabulary: usize,
    /// H.
    pub hidden: usize,
    /// MLP width.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head: usize,
    /// Head shares the embedding matrix.
    pub tied: bool,
    /// Experts, where all layers have some.
    pub experts: Option<Experts>,
    /// Key heads and value heads of recurrent layers, where those are others than the family's usual ones.
    pub state_heads: Option<[usize; 2]>,
}

impl Published {
    /// The same with so many key heads and value heads in its recurrent layers.
    pub(super) const fn with_states(self, state_heads: [usize; 2]) -> Self {
        Self {
            state_heads: Some(state_heads),
            ..self
        }
    }
}

/// A row of [`Facts::published`]: name, [V, H, MLP width], layers, [query heads, key/value heads, width of a head], tied.
pub(super) const fn published(
    name: &'static str,
    [vocabulary, hidden, intermediate]: [usize; 3],
    layers: usize,
    [heads, kv_heads, head]: [usize; 3],
    tied: bool,
) -> Published {
    Published {
        name,
        vocabulary,
        hidden,
        intermediate,
        layers,
        heads,
        kv_heads,
        head,
        tied,
        experts: None,
        state_heads: None,
    }
}

impl Facts {
    /// Module path in a layer of one of its norms, if it has it.
    #[must_use]
    pub fn norm(&self, norm: Norm) -> Option<&'static str> {
        self.norms
            .iter()
            .find(|(n, _)| *n == norm)
            .map(|(_, path)| *path)
    }

    /// Module path in a layer of a projection.
    #[must_use]
    pub fn path(&self, projection: Projection) -> &'static str {
        let own = self.names.iter().find(|(p, _)| *p == projection);
        own.map_or(projection.usual_path(), |(_, path)| path)
    }

    /// Whether its norms subtract the mean.
    #[must_use]
    pub fn subtracts_mean(&self, norm: Norm) -> bool {
        let of_heads = matches!(norm, Norm::Query | Norm::Key);
        !of_heads && matches!(self.norm_kind, NormKind::Layer { .. })
    }

    /// Whether a norm has a bias.
    #[must_use]
    pub fn has_norm_bias(&self, norm: Norm) -> bool {
        self.subtracts_mean(norm) && self.norm_kind.has_bias()
    }

    /// The linear layer in which a projection lies: itself, or the stacked one.
    #[must_use]
    pub fn linear_of(&self, projection: Projection) -> Projection {
        self.projections
            .iter()
            .copied()
            .find(|p| p.parts().contains(&projection))
            .unwrap_or(projection)
    }
}

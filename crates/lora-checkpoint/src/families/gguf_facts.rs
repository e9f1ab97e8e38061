//! How a family lies in GGUF, and what llama.cpp knows of it by heart. No family is named here.
use super::kinds::Norm;

/// A key of our own, beside llama.cpp's: the family of a file whose architecture is read as another's.
pub(crate) const NAME_KEY: &str = "lora.model_type";

/// How a family lies in GGUF, and what llama.cpp knows of it by itself.
#[derive(Debug)]
pub(crate) struct GgufFacts {
    /// llama.cpp's `general.architecture`.
    pub(crate) architecture: &'static str,
    /// The architectures of models none of whose layers keeps a state, without experts and with some, if those are others: they
    /// are other families', so that such a file names its own.
    pub(crate) stateless: Option<[&'static str; 2]>,
    /// Where several families share an architecture: a file that names a window is of this one.
    pub(crate) marked_by_window: bool,
    /// Where its files would be read as another family's: the key [`NAME_KEY`] says that they are its own.
    pub(crate) told_by_name: bool,
    /// Whether the rows of q and k are permuted within each head.
    pub(crate) permuted: bool,
    /// Whether gate and up are two tensors, though one linear layer in the folder.
    pub(crate) gate_up_apart: bool,
    /// Whether the factors around linear layers, of embeddings and of logits lie in the weights: nothing names them in a file,
    /// which holds a model without.
    pub(crate) folds_factors: bool,
    /// Norms that lie under another name than in most architectures.
    pub(crate) norm_names: &'static [(Norm, &'static str)],
    /// Norms whose tensors are called without `.weight` behind that.
    pub(crate) bare_norms: &'static [Norm],
    /// The last norm's name.
    pub(crate) last_norm: &'static str,
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
    /// What llama.cpp loads and leaves out, so that it would compute another model: refused.
    pub(crate) unapplied: &'static [Unloaded],
    /// Where the matrix of values is so small that it gets more bits.
    pub(crate) small_values: SmallValues,
    /// The range of yarn is not rounded (`truncate` false), and llama.cpp rounds it all the same.
    pub(crate) unrounded_yarn: bool,
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
    /// Attention without biases.
    NoAttentionBiases,
    /// Layers of which none has a window.
    NoWindows,
    /// Keys of another width than values, where there is a state.
    UnevenHeads,
    /// Mamba-2 of another width than twice the hidden state.
    MambaWidth,
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

//! What mixes the tokens of a layer: attention, or something that keeps a state instead of all keys and values (Gated
//! DeltaNet, a short convolution, Mamba-2), or both side by side. No family is named here.
use super::mamba::MambaShape;
use crate::Projection;

/// What mixes the tokens of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Causal attention.
    Attention,
    /// Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024), behind a short causal convolution.
    Delta,
    /// A short causal convolution between two gates (LFM2, Liquid AI 2025).
    ShortConv,
    /// A state space layer behind a short causal convolution (Mamba-2, Dao and Gu 2024).
    Mamba,
}

impl Mixer {
    /// transformers' words in `layer_types`, of a layer without a window: today's and the one before, if there was another.
    pub(crate) const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Attention => ["full_attention", "attention"],
            Self::Delta | Self::Mamba => ["linear_attention", "mamba"],
            Self::ShortConv => ["conv"; 2],
        }
    }
}

/// Heads and widths of the recurrent layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads of queries and of keys.
    pub key_heads: usize,
    /// Heads of values, gates and states; each key head serves neighbouring ones.
    pub value_heads: usize,
    /// Width of a query and of a key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Taps of the convolution.
    pub taps: usize,
}

impl DeltaShape {
    /// Columns of all queries, or of all keys.
    #[must_use]
    pub fn keys(self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Columns of all values.
    #[must_use]
    pub fn values(self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Columns of queries, keys and values side by side: what the convolution runs over.
    #[must_use]
    pub fn columns(self) -> usize {
        2 * self.keys() + self.values()
    }

    /// Its numbers under config.json's keys.
    pub(crate) fn named(self) -> [(&'static str, usize); 5] {
        [
            ("linear_num_key_heads", self.key_heads),
            ("linear_num_value_heads", self.value_heads),
            ("linear_key_head_dim", self.key_dim),
            ("linear_value_head_dim", self.value_dim),
            ("linear_conv_kernel_dim", self.taps),
        ]
    }
}

/// The convolution of layers that have nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConv {
    /// Taps of each column of the hidden state.
    pub taps: usize,
}

impl ShortConv {
    /// The name of its taps in a layer, (H, 1, taps).
    pub const PATH: &'static str = "conv.conv.weight";
    /// The key of their number in config.json.
    pub(crate) const KEY: &'static str = "conv_L_cache";
}

/// Recurrent layers, as a family has them.
#[derive(Debug)]
pub struct Recurrent {
    /// The linear layers of such a layer, in the order of the forward pass.
    pub projections: &'static [Projection],
    /// What they are.
    pub(crate) kind: RecurrentKind,
    /// Whether attention stands beside what keeps the state, in all layers.
    pub(crate) beside_attention: bool,
}

/// What recurrent layers are, with what is taken where nothing is said.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RecurrentKind {
    /// Gated DeltaNet; every so many-th layer has attention, unless the key `full_attention_interval` says another number.
    Delta {
        shape: DeltaShape,
        attention_every: usize,
    },
    /// Mamba-2 in the layers that `layer_types` names so, without the list in all.
    Mamba(MambaShape),
    /// Short convolutions, but for the layers that `full_attn_idxs` lists: those have attention, without the list all.
    ShortConv(ShortConv),
}

impl Recurrent {
    /// What mixes their tokens.
    #[must_use]
    pub fn mixer(&self) -> Mixer {
        match self.kind {
            RecurrentKind::Delta { .. } => Mixer::Delta,
            RecurrentKind::ShortConv(_) => Mixer::ShortConv,
            RecurrentKind::Mamba(_) => Mixer::Mamba,
        }
    }

    /// transformers' words for such a layer in `layer_types`.
    pub(crate) fn words(&self) -> [&'static str; 2] {
        match self.beside_attention {
            true => ["hybrid"; 2],
            false => self.mixer().words(),
        }
    }
}

/// What a recurrent layer learns beside its linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaPart {
    /// The convolution's taps, (columns, 1, taps).
    Convolution,
    /// The logarithm of each head's rate of decay.
    DecayLog,
    /// What is added to that which the decay is made of, a head each.
    StepBias,
    /// γ of the norm behind the rule, of a value's width; it is stored as it is multiplied.
    Norm,
}

impl DeltaPart {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 4] = [
        Self::Convolution,
        Self::DecayLog,
        Self::StepBias,
        Self::Norm,
    ];

    /// Its tensor's name in a layer.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Convolution => "linear_attn.conv1d.weight",
            Self::DecayLog => "linear_attn.A_log",
            Self::StepBias => "linear_attn.dt_bias",
            Self::Norm => "linear_attn.norm.weight",
        }
    }

    /// Its shape.
    pub(crate) fn shape(self, delta: DeltaShape) -> Vec<usize> {
        match self {
            Self::Convolution => vec![delta.columns(), 1, delta.taps],
            Self::DecayLog | Self::StepBias => vec![delta.value_heads],
            Self::Norm => vec![delta.value_dim],
        }
    }

    /// What its values begin with, in a model that is trained from scratch: transformers draws rates of decay between 0.01
    /// and 16, of which this is the middle.
    pub(crate) fn initial(self) -> f32 {
        match self {
            Self::Convolution => 0.0,
            Self::DecayLog => 8.0f32.ln(),
            Self::StepBias | Self::Norm => 1.0,
        }
    }
}

//! Layers of Mamba-2 (Dao and Gu 2024): their heads, and what they learn beside their linear layers. No family is named here.

/// Heads and widths of such layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MambaShape {
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Groups of neighbouring heads that have B and C in common.
    pub groups: usize,
    /// Width of B and of C.
    pub state: usize,
    /// Taps of the convolution.
    pub taps: usize,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
    /// The norm behind the rule.
    pub norm: MambaNorm,
    /// The least and the largest step.
    pub limits: [f64; 2],
}

/// What stands between the rule and the output projection beside the gate, y∘silu(z).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MambaNorm {
    /// Nothing.
    Without,
    /// An RMSNorm of each group behind the gate.
    BehindGate,
    /// The same before it.
    BeforeGate,
}

impl MambaShape {
    /// Steps as they come.
    pub(crate) const UNLIMITED: [f64; 2] = [0.0, f64::INFINITY];

    /// Columns of x of all heads, and of the output.
    #[must_use]
    pub fn values(self) -> usize {
        self.heads * self.width
    }

    /// Columns of x, B and C side by side: what the convolution runs over.
    #[must_use]
    pub fn columns(self) -> usize {
        self.values() + 2 * self.groups * self.state
    }

    /// Its numbers under config.json's keys.
    pub(crate) fn named(self) -> [(&'static str, usize); 5] {
        [
            ("mamba_n_heads", self.heads),
            ("mamba_d_head", self.width),
            ("mamba_n_groups", self.groups),
            ("mamba_d_state", self.state),
            ("mamba_d_conv", self.taps),
        ]
    }
}

/// What such a layer learns beside its linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MambaPart {
    /// The convolution's taps, (columns, 1, taps).
    Convolution,
    /// Its bias, (columns), if it has one.
    ConvolutionBias,
    /// The logarithm of each head's rate of decay.
    DecayLog,
    /// What is added to that which steps are made of, a head each.
    StepBias,
    /// What of x goes past the state, a head each.
    Skip,
    /// γ of the norm behind the rule, if there is one.
    Norm,
}

impl MambaPart {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 6] = [
        Self::Convolution,
        Self::ConvolutionBias,
        Self::DecayLog,
        Self::StepBias,
        Self::Skip,
        Self::Norm,
    ];

    /// Its tensor's name in a layer.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Convolution => "mamba.conv1d.weight",
            Self::ConvolutionBias => "mamba.conv1d.bias",
            Self::DecayLog => "mamba.A_log",
            Self::StepBias => "mamba.dt_bias",
            Self::Skip => "mamba.D",
            Self::Norm => "mamba.norm.weight",
        }
    }

    /// Its shape, if a layer has it.
    pub(crate) fn shape(self, mamba: MambaShape) -> Option<Vec<usize>> {
        match self {
            Self::Convolution => Some(vec![mamba.columns(), 1, mamba.taps]),
            Self::ConvolutionBias => mamba.conv_bias.then(|| vec![mamba.columns()]),
            Self::DecayLog | Self::StepBias | Self::Skip => Some(vec![mamba.heads]),
            Self::Norm => (mamba.norm != MambaNorm::Without).then(|| vec![mamba.values()]),
        }
    }

    /// What GGUF has before or behind its values, dimensions of 1 but for the norm's: the shape that llama.cpp stores.
    pub(crate) fn shape_in_gguf(self, mamba: MambaShape) -> Option<Vec<usize>> {
        match self {
            Self::Convolution => Some(vec![mamba.columns(), mamba.taps]),
            Self::DecayLog | Self::Skip => Some(vec![mamba.heads, 1]),
            Self::Norm => self
                .shape(mamba)
                .map(|_| vec![mamba.groups, mamba.values() / mamba.groups.max(1)]),
            Self::ConvolutionBias | Self::StepBias => self.shape(mamba),
        }
    }

    /// What its values begin with, in a model that is trained from scratch. transformers gives heads rates of 1, 2, 3 and so
    /// on, of which this is one in the middle.
    pub(crate) fn initial(self) -> f32 {
        match self {
            Self::Convolution | Self::ConvolutionBias => 0.0,
            Self::DecayLog => 8.0f32.ln(),
            Self::StepBias | Self::Skip | Self::Norm => 1.0,
        }
    }
}

//! What a layer of a decoder can consist of: norms, MLPs and their activations, rotary pairs. No family is named here.

/// A norm of a decoder layer, by what it normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Input of attention.
    Input,
    /// Each head of the queries.
    Query,
    /// Each head of the keys.
    Key,
    /// Output of attention, before it is added to the residual.
    AttentionOutput,
    /// Input of the MLP.
    MlpInput,
    /// Output of the MLP, before it is added to the residual.
    MlpOutput,
    /// What the embedding gives for the inputs of each layer: one norm for all layers.
    PerLayerInput,
    /// What a layer makes of its own input, before it is added to the residual.
    PerLayerOutput,
}

/// What the gate of the MLP goes through, or where there is no gate what its up projection gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by the tanh formula (torch's `approximate="tanh"`).
    GeluTanh,
}

/// What the MLP computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// down(activation(gate(x))∘up(x)).
    Gated(Activation),
    /// down(activation(up(x))).
    Plain(Activation),
    /// down(xIELU(up(x))), with two learned numbers in each layer (Huang and Schlag 2024): α_p·x² + β·x above 0,
    /// α_n·(eˣ − 1 − x) + β·x below.
    Xielu,
}

impl Mlp {
    /// Whether it has a gate.
    #[must_use]
    pub const fn is_gated(self) -> bool {
        matches!(self, Self::Gated(_))
    }
}

/// β of xIELU, as transformers' class has it: no configuration names another.
pub const XIELU_BETA: f32 = 0.5;
/// Its ε: inputs between it and 0 count as it in the exponential.
pub const XIELU_EPS: f32 = -1e-6;

/// Whether a stored number is a constant, rounded to bfloat16 or to half at most.
pub(crate) fn is_rounded(x: f32, constant: f32) -> bool {
    (x - constant).abs() <= constant.abs() / 256.0 + 1.0 / 16_777_216.0
}

/// A number that xIELU learns in each layer; its softplus is what is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XieluNumber {
    /// α_p.
    AlphaP,
    /// α_n − β.
    AlphaN,
}

impl XieluNumber {
    /// Both.
    pub const ALL: [Self; 2] = [Self::AlphaP, Self::AlphaN];

    /// Its module path in a layer, which is its tensor's whole name there.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::AlphaP => "mlp.act_fn.alpha_p",
            Self::AlphaN => "mlp.act_fn.alpha_n",
        }
    }

    /// What it begins with: α_p = α_n = 0.8.
    #[must_use]
    pub fn initial(self) -> f32 {
        match self {
            Self::AlphaP => 0.8f32.exp_m1().ln(),
            Self::AlphaN => 0.3f32.exp_m1().ln(),
        }
    }
}

/// What the norms of the hidden state compute; those of queries and keys are RMSNorm in all families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// γ·x/√(mean(x²) + ε).
    Rms,
    /// γ·(x − mean(x))/√(var(x) + ε), with a bias added or without.
    Layer {
        /// Whether there is one.
        bias: bool,
    },
}

impl NormKind {
    /// Whether a norm has a bias.
    #[must_use]
    pub const fn has_bias(self) -> bool {
        matches!(self, Self::Layer { bias: true })
    }
}

/// How attention and MLP of a layer stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The MLP reads the hidden state that attention has been added to.
    Sequential,
    /// Both read the same norm of the layer's input, and both are added to it.
    Parallel,
}

/// What the norms of queries and keys are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNorms {
    /// Each head for itself.
    EachHead,
    /// Each head for itself, after its rotary embedding.
    EachRotatedHead,
    /// All heads of a token together.
    AllHeads,
}

/// Which features of a head the rotary embedding turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryPairs {
    /// i and i + half of those that are rotated (transformers' `rotate_half` of Llama).
    Halves,
    /// 2i and 2i + 1.
    Neighbours,
}

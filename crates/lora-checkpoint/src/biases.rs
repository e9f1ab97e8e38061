//! Which linear layers of a model have biases.

/// Which linear layers have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// Attention output.
    pub output: bool,
    /// gate, up and down.
    pub mlp: bool,
    /// What a layer of Mamba-2 reads.
    pub mamba_in: bool,
    /// Its output.
    pub mamba_out: bool,
}

impl Biases {
    /// Biases on attention and MLP.
    pub(crate) const ALL: Self = Self {
        qkv: true,
        output: true,
        mlp: true,
        mamba_in: false,
        mamba_out: false,
    };
}

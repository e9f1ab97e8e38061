//! Flags that choose among a few words.

/// What trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Low-rank adapters; the base stays as it is.
    Lora,
    /// Every weight; for small models.
    Full,
}

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
    /// None.
    Constant,
}

/// Way through the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Hand-written kernels over weights where they lie.
    Fused,
    /// A graph of tensor operations.
    Composite,
}

/// How full weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightDtype {
    /// bfloat16.
    Bf16,
    /// 32-bit float.
    F32,
}

impl From<Decay> for lora_training::Decay {
    fn from(decay: Decay) -> Self {
        match decay {
            Decay::Linear => Self::Linear,
            Decay::Cosine => Self::Cosine,
            Decay::Constant => Self::Constant,
        }
    }
}

impl From<WeightDtype> for lora_training::WeightDtype {
    fn from(dtype: WeightDtype) -> Self {
        match dtype {
            WeightDtype::Bf16 => Self::Bf16,
            WeightDtype::F32 => Self::F32,
        }
    }
}

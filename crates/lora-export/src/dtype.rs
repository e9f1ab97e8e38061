//! The types of written weights: three floats, and llama.cpp's quantised types.
use lora_checkpoint::{GgufDtype, GgufStorage, Importance, Mix, SaveDtype};

/// Type of the written weights.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// 8-bit blocks; this and all below are for GGUF models only.
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 6.6 bits a weight.
    #[value(name = "q6_k")]
    #[serde(rename = "q6_k")]
    Q6K,
    /// 5.7 bits a weight, more where it matters.
    #[value(name = "q5_k_m")]
    #[serde(rename = "q5_k_m")]
    Q5KM,
    /// 5.5 bits a weight.
    #[value(name = "q5_k_s")]
    #[serde(rename = "q5_k_s")]
    Q5KS,
    /// 6 bits a weight, older than the K types.
    #[value(name = "q5_1")]
    #[serde(rename = "q5_1")]
    Q5_1,
    /// 5.5 bits a weight, older than the K types.
    #[value(name = "q5_0")]
    #[serde(rename = "q5_0")]
    Q5_0,
    /// 4.9 bits a weight, more where it matters: what most people run.
    #[value(name = "q4_k_m")]
    #[serde(rename = "q4_k_m")]
    Q4KM,
    /// 4.6 bits a weight.
    #[value(name = "q4_k_s")]
    #[serde(rename = "q4_k_s")]
    Q4KS,
    /// 5 bits a weight, older than the K types.
    #[value(name = "q4_1")]
    #[serde(rename = "q4_1")]
    Q4_1,
    /// 4.5 bits a weight, older than the K types.
    #[value(name = "q4_0")]
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 4.3 bits a weight.
    #[value(name = "q3_k_l")]
    #[serde(rename = "q3_k_l")]
    Q3KL,
    /// 3.9 bits a weight, more where it matters.
    #[value(name = "q3_k_m")]
    #[serde(rename = "q3_k_m")]
    Q3KM,
    /// 3.5 bits a weight.
    #[value(name = "q3_k_s")]
    #[serde(rename = "q3_k_s")]
    Q3KS,
    /// 3 bits a weight.
    #[value(name = "q2_k")]
    #[serde(rename = "q2_k")]
    Q2K,
}

/// What a type is to the formats.
enum Kind {
    /// In GGUF and in a folder.
    Float(GgufDtype, SaveDtype),
    /// In GGUF alone.
    Blocks(Mix),
}

impl Dtype {
    fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float(GgufDtype::F32, SaveDtype::F32),
            Self::F16 => Kind::Float(GgufDtype::F16, SaveDtype::F16),
            Self::Bf16 => Kind::Float(GgufDtype::BF16, SaveDtype::BF16),
            Self::Q8_0 => Kind::Blocks(Mix::Q8_0),
            Self::Q6K => Kind::Blocks(Mix::Q6K),
            Self::Q5KM => Kind::Blocks(Mix::Q5KM),
            Self::Q5KS => Kind::Blocks(Mix::Q5KS),
            Self::Q5_1 => Kind::Blocks(Mix::Q5_1),
            Self::Q5_0 => Kind::Blocks(Mix::Q5_0),
            Self::Q4KM => Kind::Blocks(Mix::Q4KM),
            Self::Q4KS => Kind::Blocks(Mix::Q4KS),
            Self::Q4_1 => Kind::Blocks(Mix::Q4_1),
            Self::Q4_0 => Kind::Blocks(Mix::Q4_0),
            Self::Q3KL => Kind::Blocks(Mix::Q3KL),
            Self::Q3KM => Kind::Blocks(Mix::Q3KM),
            Self::Q3KS => Kind::Blocks(Mix::Q3KS),
            Self::Q2K => Kind::Blocks(Mix::Q2K),
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |v| v.get_name().into())
    }

    /// True for the types that only GGUF has.
    pub(crate) fn is_quantised(self) -> bool {
        matches!(self.kind(), Kind::Blocks(_))
    }

    /// How a GGUF file stores a model's matrices.
    pub(crate) fn gguf_model(self, importance: Option<&Importance>) -> GgufStorage<'_> {
        match self.kind() {
            Kind::Float(dtype, _) => GgufStorage::All(dtype),
            Kind::Blocks(mix) => GgufStorage::Mixed(mix, importance),
        }
    }

    /// The type in GGUF, if it is a float.
    pub(crate) fn gguf_float(self) -> Option<GgufDtype> {
        match self.kind() {
            Kind::Float(dtype, _) => Some(dtype),
            Kind::Blocks(_) => None,
        }
    }

    /// The type in a folder, if it is a float.
    pub(crate) fn hf(self) -> Option<SaveDtype> {
        match self.kind() {
            Kind::Float(_, dtype) => Some(dtype),
            Kind::Blocks(_) => None,
        }
    }
}

impl From<SaveDtype> for Dtype {
    fn from(dtype: SaveDtype) -> Self {
        match dtype {
            SaveDtype::F32 => Self::F32,
            SaveDtype::F16 => Self::F16,
            SaveDtype::BF16 => Self::Bf16,
        }
    }
}

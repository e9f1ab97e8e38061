//! [`Init`]: PEFT's `init_lora_weights`. What the words do is in `initialise`.
use serde_json::{Value, json};

/// PEFT's `init_lora_weights`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// A ~ U(−1/√in, 1/√in) (Kaiming with a = √5), B = 0; of an embedding A = 0, B ~ N(0, 1). PEFT's `true`.
    Kaiming,
    /// A ~ N(0, 1/r²), B = 0; embeddings as above.
    Gaussian,
    /// Both as torch's Linear begins, of an embedding both N(0, 1): not the identity. PEFT's `false`.
    Linear,
    /// The principal singular vectors of W, taken out of the base (Meng et al. 2024). The number is PEFT's `niter`, which
    /// asks for a quick decomposition; the exact one is computed here.
    Pissa(Option<usize>),
    /// The first columns of W's QR decomposition, taken out of the base (Büyükakyüz 2024).
    Olora,
    /// Any other beginning that leaves the base as it is. Only a loaded adapter can have it.
    Other(String),
}

/// Beginnings that need data or more options, and leave nothing behind but A and B.
const OTHER: [&str; 2] = ["orthogonal", "eva"];

impl Init {
    /// Reads PEFT's value; None for a beginning that can't be honoured.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null | Value::Bool(true) => Some(Self::Kaiming),
            Value::Bool(false) => Some(Self::Linear),
            Value::String(word) => Self::named(word).or_else(|| {
                OTHER
                    .contains(&word.as_str())
                    .then(|| Self::Other(word.clone()))
            }),
            _ => None,
        }
    }

    /// The beginning of a word that a person writes: kaiming, gaussian, false, pissa, pissa_niter_N, olora.
    pub fn named(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "kaiming" | "true" => Some(Self::Kaiming),
            "gaussian" => Some(Self::Gaussian),
            "false" => Some(Self::Linear),
            "pissa" => Some(Self::Pissa(None)),
            "olora" => Some(Self::Olora),
            other => other
                .strip_prefix("pissa_niter_")?
                .parse()
                .ok()
                .map(|n| Self::Pissa(Some(n))),
        }
    }

    /// PEFT's value.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Kaiming => json!(true),
            Self::Gaussian => json!("gaussian"),
            Self::Linear => json!(false),
            Self::Pissa(None) => json!("pissa"),
            Self::Pissa(Some(n)) => json!(format!("pissa_niter_{n}")),
            Self::Olora => json!("olora"),
            Self::Other(word) => json!(word),
        }
    }

    /// True if s·B·A is taken out of the base at the beginning.
    pub fn changes_base(&self) -> bool {
        matches!(self, Self::Pissa(_) | Self::Olora)
    }
}

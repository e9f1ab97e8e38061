//! Why a model could not be built or run.

/// Display is one line, with `\nhint: …` where a way out is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint is not readable.
    #[error(transparent)]
    Checkpoint(#[from] lora_checkpoint::Error),
    /// The adapter does not fit.
    #[error(transparent)]
    Adapter(#[from] lora_core::Error),
    /// candle refused (composite route).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// Anything else.
    #[error("{0}")]
    Invalid(String),
}

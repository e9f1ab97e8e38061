//! Why a model could not be built or run.

/// Display is one line; the way out, where one is known, is the diagnostic's help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// The checkpoint is not readable.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] lora_checkpoint::Error),
    /// The adapter does not fit.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Adapter(#[from] lora_core::Error),
    /// candle refused (composite route).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The GPU failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Gpu(#[from] lora_gpu::Error),
    /// Anything else.
    #[error("{message}")]
    Invalid {
        /// What is wrong, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
}

impl Error {
    /// What is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
            hint: None,
        }
    }

    /// The way out of an [`Error::Invalid`]; the others bring their own.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Invalid { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}

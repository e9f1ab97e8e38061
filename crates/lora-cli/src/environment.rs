//! Variables of the environment.
use crate::{Error, Result};
use std::env::VarError;

/// A text of the environment.
///
/// # Errors
/// When there is one that is no UTF-8.
pub fn environment(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Error::new(format!("{name} in the environment is no text"))
                .hint(format!("set it anew, or unset it: unset {name}")))
        }
    }
}

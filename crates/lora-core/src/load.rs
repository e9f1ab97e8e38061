//! An adapter folder opened, whoever wrote it.
use crate::error::Fault;
use crate::folder::{self, Kind};
use crate::{Adapter, BaseModel, CONFIG_FILE, Error, LoraConfig, mlx, peft};
use std::path::Path;

impl Adapter {
    /// Loads PEFT's folder or mlx-lm's strictly: every key consumed, every target filled, every shape equal, every value
    /// finite. (PEFT itself passes over missing and unknown keys, and the model then silently equals its base.)
    /// Returns the adapter and warnings (unknown config keys carried, options without effect, wrappers taken off names).
    ///
    /// # Errors
    /// Names the file, and the key or the tensor with both shapes.
    pub fn load(dir: &Path, base: &impl BaseModel) -> Result<(Self, Vec<String>), Error> {
        match folder::kind(dir) {
            Kind::Mlx => match base.unfit_for_mlx() {
                Some(why) => Err(Error::config(
                    Fault::new(format!("{} is mlx-lm's, and {why}", dir.display()))
                        .hint("use PEFT's format or a GGUF LoRA"),
                )),
                None => Ok((mlx::load(dir, base)?, Vec::new())),
            },
            Kind::Peft => {
                folder::require(dir)?;
                peft::load(dir, base)
            }
        }
    }
}

/// Base model that an adapter folder (PEFT's or mlx-lm's) names.
///
/// # Errors
/// If its config can't be read.
pub fn base_name(dir: &Path) -> Result<Option<String>, Error> {
    match folder::kind(dir) {
        Kind::Mlx => mlx::base_name(dir),
        Kind::Peft => Ok(LoraConfig::load(&dir.join(CONFIG_FILE))?.base_model_name_or_path),
    }
}

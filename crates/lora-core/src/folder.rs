//! Whose folder an adapter's is.
use crate::{CONFIG_FILE, Error, WEIGHTS_FILE};
use std::path::Path;

/// Name of the tensor file in mlx-lm's folder.
pub const MLX_WEIGHTS_FILE: &str = "adapters.safetensors";

/// Who wrote an adapter folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PEFT, or a tool that writes as PEFT does.
    Peft,
    /// mlx-lm.
    Mlx,
}

impl Kind {
    /// Name of the tensor file.
    pub(crate) fn weights_file(self) -> &'static str {
        match self {
            Self::Peft => WEIGHTS_FILE,
            Self::Mlx => MLX_WEIGHTS_FILE,
        }
    }
}

/// Who wrote a folder; PEFT, if nothing says otherwise.
pub(crate) fn kind(dir: &Path) -> Kind {
    match dir.join(MLX_WEIGHTS_FILE).is_file() && !dir.join(WEIGHTS_FILE).is_file() {
        true => Kind::Mlx,
        false => Kind::Peft,
    }
}

/// Refuses a folder that lacks one of PEFT's files.
pub(crate) fn require(dir: &Path) -> Result<(), Error> {
    let hint = format!("\nhint: an adapter is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}");
    if !dir.is_dir() {
        let what = if dir.exists() {
            "is no folder"
        } else {
            "does not exist"
        };
        return Err(Error::invalid(dir, format!("{what}{hint}")));
    }
    match [CONFIG_FILE, WEIGHTS_FILE]
        .iter()
        .find(|f| !dir.join(f).is_file())
    {
        Some(file) => Err(Error::invalid(dir, format!("holds no {file}{hint}"))),
        None => Ok(()),
    }
}

//! Whose folder an adapter's is.
use crate::{CONFIG_FILE, Error, Fault, WEIGHTS_FILE};
use std::path::{Path, PathBuf};

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

/// Refuses a folder that lacks one of PEFT's files, and says what it is instead.
pub(crate) fn require(dir: &Path) -> Result<(), Error> {
    let hint = format!("an adapter is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}");
    if !dir.is_dir() {
        let what = if dir.exists() {
            "is no folder"
        } else {
            "does not exist"
        };
        return Err(Error::invalid(dir, Fault::new(what).hint(hint)));
    }
    let missing = [CONFIG_FILE, WEIGHTS_FILE]
        .into_iter()
        .find(|file| !dir.join(file).is_file());
    match missing {
        Some(file) => {
            let (beside, hint) = instead(dir).unwrap_or((String::new(), hint));
            let what = Fault::new(format!("holds no {file}{beside}")).hint(hint);
            Err(Error::invalid(dir, what))
        }
        None => Ok(()),
    }
}

/// What a folder without an adapter's files holds instead, and what to do with it.
fn instead(dir: &Path) -> Option<(String, String)> {
    let has = |file: &str| dir.join(file).is_file();
    if has("adapter_model.bin") && !has(WEIGHTS_FILE) {
        let dir = dir.display();
        return Some((
            ", but adapter_model.bin, which can run code when it is read".to_owned(),
            format!(
                "turn it into safetensors: python -c \"import torch, safetensors.torch as s; s.save_file({{k: \
                 v.clone().contiguous() for k, v in torch.load('{dir}/adapter_model.bin', map_location='cpu', \
                 weights_only=True).items()}}, '{dir}/{WEIGHTS_FILE}', {{'format': 'pt'}})\""
            ),
        ));
    }
    if has("config.json") && !has(CONFIG_FILE) {
        return Some((
            ": it is a whole model, not an adapter".to_owned(),
            "name it as the model or the base; weights that were trained whole are used like any model".to_owned(),
        ));
    }
    let inside = subfolder(dir)?;
    Some((
        String::new(),
        format!("name the adapter inside it, e.g. {}", inside.display()),
    ))
}

/// The last folder inside this one that is an adapter, by the number in its name: `checkpoint-200` before `checkpoint-1000`.
fn subfolder(dir: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let adapters = folders
        .map(|entry| entry.path())
        .filter(|path| path.join(CONFIG_FILE).is_file());
    adapters.max_by_key(|path| {
        let name = path.to_string_lossy().into_owned();
        let digits: String = name
            .chars()
            .rev()
            .take_while(char::is_ascii_digit)
            .collect();
        let number: String = digits.chars().rev().collect();
        (number.parse::<u64>().unwrap_or(0), name)
    })
}

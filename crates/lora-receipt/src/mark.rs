//! How a receipt is told from other files that are called so.
use crate::{FILE_NAME, VERSION};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};

/// The part of a receipt by which it is known.
#[derive(Deserialize)]
struct Mark {
    version: u32,
    #[serde(rename = "tool")]
    _tool: String,
    #[serde(rename = "config")]
    _config: IgnoredAny,
    outputs: Vec<MarkedOutput>,
}

#[derive(Deserialize)]
struct MarkedOutput {
    path: PathBuf,
}

/// True if the file is the receipt of what lies beside it: it is named as one, it is one by its form, and every output
/// that it lists is there. Anything else that is called `receipt.json` is somebody's data.
pub(crate) fn is_receipt_of_its_folder(path: &Path) -> bool {
    has_a_receipt_s_name(path)
        && outputs(path).is_some_and(|outputs| {
            let folder = path.parent().unwrap_or(Path::new("."));
            outputs.iter().all(|output| folder.join(output).exists())
        })
}

/// What the receipt at `path` says was written, relative to its folder; none if the file is no receipt.
pub(crate) fn outputs(path: &Path) -> Option<Vec<PathBuf>> {
    let mark: Mark = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let is_known = (1..=VERSION).contains(&mark.version);
    is_known.then(|| mark.outputs.into_iter().map(|output| output.path).collect())
}

fn has_a_receipt_s_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == FILE_NAME || name.ends_with(".receipt.json")
}

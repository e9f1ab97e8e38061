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
    artefact: Option<String>,
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
    Some(Finished::read(path)?.outputs)
}

/// What a finished output holds by its receipt.
pub(crate) struct Finished {
    pub(crate) outputs: Vec<PathBuf>,
    /// False for what a shell line wrote, in which any file may be read.
    pub(crate) is_a_tool_s: bool,
}

impl Finished {
    /// By the receipt at `path`; none if the file is no receipt.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mark: Mark = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let is_known = (1..=VERSION).contains(&mark.version);
        is_known.then(|| Self {
            outputs: mark.outputs.into_iter().map(|output| output.path).collect(),
            is_a_tool_s: mark.artefact.is_some_and(|artefact| artefact != "files"),
        })
    }

    /// True for a file that somebody has added and that nothing reads: a note in what a tool wrote, what systems and
    /// editors leave about.
    pub(crate) fn is_aside(&self, relative: &Path) -> bool {
        !self.outputs.iter().any(|output| output == relative)
            && (is_litter(relative) || (self.is_a_tool_s && !is_read(relative)))
    }
}

/// What systems and editors leave in folders.
fn is_litter(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["Thumbs.db", "desktop.ini", ".DS_Store", ".directory"].contains(&&*name)
        || name.starts_with("._")
        || name.ends_with('~')
        || (name.starts_with('.') && name.ends_with(".swp"))
}

/// What tools look for in a folder: a file of this kind that somebody adds changes what they read.
pub(crate) fn is_read(path: &Path) -> bool {
    const ENDINGS: [&str; 8] = [
        "json",
        "jsonl",
        "jinja",
        "safetensors",
        "gguf",
        "parquet",
        "model",
        "bin",
    ];
    const NAMES: [&str; 3] = ["SYSTEM_PROMPT.txt", "merges.txt", "vocab.txt"];
    let name = path.file_name().unwrap_or_default();
    let ending = path.extension().unwrap_or_default();
    ENDINGS.iter().any(|known| ending == *known) || NAMES.iter().any(|known| name == *known)
}

fn has_a_receipt_s_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == FILE_NAME || name.ends_with(".receipt.json")
}

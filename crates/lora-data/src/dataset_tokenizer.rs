//! The tokenizer that a dataset carries where tokens were added to its model's.
use std::path::{Path, PathBuf};

/// Name of the folder inside a dataset's that holds it.
pub const TOKENIZER_FOLDER: &str = "tokenizer";

/// The folder of a dataset's own tokenizer; None if it has its model's.
pub fn dataset_tokenizer(dataset: &Path) -> Option<PathBuf> {
    let folder = dataset.join(TOKENIZER_FOLDER);
    folder.join("tokenizer.json").is_file().then_some(folder)
}

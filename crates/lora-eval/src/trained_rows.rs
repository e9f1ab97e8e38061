//! Rows of the split that an adapter was trained on: what is measured on them is memory.
use lora_cli::Ui;
use lora_data::{Example, Split};
use lora_receipt::{Receipt, hash_path};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The split that lora-train trains on.
const TRAINED: &str = "train";

/// How many of the rows an adapter was trained on, and says so; None if its receipt, or its dataset, doesn't tell.
pub(crate) fn count(adapter: &Path, data: &Path, rows: &[Example], ui: &Ui) -> Option<usize> {
    let dataset = dataset(adapter, data)?;
    let trained = Split::read(&dataset, TRAINED).ok()?;
    let ids: HashSet<&[u32]> = trained
        .examples
        .iter()
        .map(|row| row.input_ids.as_slice())
        .collect();
    // The same record, however it was rendered.
    let records: HashSet<&str> = trained.examples.iter().map(|row| row.id.as_str()).collect();
    let is_trained = |row: &&Example| {
        ids.contains(row.input_ids.as_slice())
            || !row.id.is_empty() && records.contains(row.id.as_str())
    };
    let count = rows.iter().filter(is_trained).count();
    if count > 0 {
        ui.warn(&format!(
            "{} was trained on {count} of the {} rows measured (train of {}): what it scores on them is what it remembers",
            adapter.display(),
            rows.len(),
            dataset.display()
        ));
    }
    Some(count)
}

/// Where the adapter's dataset lies, unchanged: where its receipt says, or as the dataset that is measured.
fn dataset(adapter: &Path, data: &Path) -> Option<PathBuf> {
    let receipt = Receipt::load(adapter).ok()?;
    let input = receipt.inputs.iter().find(|input| input.name == "data")?;
    let is_it = |path: &Path| hash_path(path).is_ok_and(|hash| hash == input.sha256);
    [input.path.as_path(), data]
        .into_iter()
        .find(|path| is_it(path))
        .map(Path::to_owned)
}

//! What an adapter's file says of the vocabulary of its base: how many rows it has, and rows that the file brings along.
use crate::folder::{self, Kind};
use crate::layout::PREFIX;
use crate::tensor_file::TensorFile;
use crate::tensor_names::TensorNames;
use crate::values::widen;
use crate::{CONFIG_FILE, Error, LoraConfig};
use std::path::Path;

/// The vocabulary of an adapter's base, as far as its files tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AdapterVocabulary {
    /// Rows of embedding and head, by the shapes of what trains there or was saved beside it.
    pub rows: Option<usize>,
    /// Tokens whose rows train alone.
    pub tokens: Vec<usize>,
    /// The base's embedding, whole, where PEFT saved it with the adapter (as it does after a resize), (rows, H).
    pub embedding: Option<Vec<f32>>,
    /// The base's head.
    pub head: Option<Vec<f32>>,
}

/// Names of a copy of the base's weight behind a module's path, the surest first.
const COPIES: [&str; 3] = [
    ".original_module.weight",
    ".token_adapter.base_layer.weight",
    ".base_layer.weight",
];

/// Reads what PEFT's folder says of its base's vocabulary; of any other folder nothing is known. `embedding` and `head` are
/// the paths of these modules, `own` the rows that the base has: only where the adapter's are more is anything copied.
///
/// # Errors
/// If a file can't be read.
pub fn adapter_vocabulary(
    dir: &Path,
    (embedding, head): (&str, &str),
    own: usize,
) -> Result<AdapterVocabulary, Error> {
    let has = |file: &str| dir.join(file).is_file();
    if folder::kind(dir) != Kind::Peft || !has(CONFIG_FILE) || !has(crate::WEIGHTS_FILE) {
        return Ok(AdapterVocabulary::default()); // whatever it is, its own reader says what is wrong with it
    }
    let config = LoraConfig::load(&dir.join(CONFIG_FILE))?;
    let file = TensorFile::read(&dir.join(crate::WEIGHTS_FILE))?;
    let tensors = file.tensors()?;
    let names = TensorNames::of(&tensors).map_err(|message| file.invalid(message))?;
    let tables = [embedding, head].map(|path| Table {
        names: &names,
        path: format!("{PREFIX}{path}"),
        trains: config
            .modules_to_save
            .iter()
            .any(|saved| path.ends_with(saved.as_str())),
    });
    let rows = tables.iter().filter_map(Table::rows).max();
    let mut found = AdapterVocabulary {
        rows,
        tokens: config.trainable_token_indices.all(),
        ..AdapterVocabulary::default()
    };
    if rows.is_some_and(|rows| rows > own) {
        let [table, head] = &tables;
        found.embedding = table.copy().map_err(|message| file.invalid(message))?;
        found.head = head.copy().map_err(|message| file.invalid(message))?;
    }
    Ok(found)
}

/// The tensors of the embedding or the head.
struct Table<'t, 'f> {
    names: &'t TensorNames<'f>,
    path: String,
    /// Its weight trains as a whole: `weight` is not the base's.
    trains: bool,
}

impl Table<'_, '_> {
    /// Rows of its weight, by any tensor that has them.
    fn rows(&self) -> Option<usize> {
        let shape = |suffix: &str| {
            let tensor = self.names.get(&format!("{}{suffix}", self.path))?;
            // A tensor without values has as many rows as it likes.
            let is_table = tensor.shape().len() == 2 && !tensor.shape().contains(&0);
            is_table.then(|| tensor.shape().to_vec())
        };
        let whole = COPIES.iter().copied().chain([".weight"]).find_map(shape);
        let by_rows = whole
            .or_else(|| shape(".lora_B.weight"))
            .map(|shape| shape[0]);
        by_rows.or_else(|| shape(".lora_embedding_A").map(|shape| shape[1]))
    }

    /// The base's weight, if the file has it.
    fn copy(&self) -> Result<Option<Vec<f32>>, String> {
        let plain = (!self.trains).then_some(".weight");
        for suffix in COPIES.into_iter().chain(plain) {
            let name = format!("{}{suffix}", self.path);
            if let Some(tensor) = self.names.get(&name) {
                let mut values = vec![0.0; tensor.shape().iter().product()];
                widen(&tensor, &mut values).map_err(|why| format!("tensor {name} {why}"))?;
                return Ok(Some(values));
            }
        }
        Ok(None)
    }
}

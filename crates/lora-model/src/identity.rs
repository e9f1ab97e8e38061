//! Which model a base is: the marks that are kept with its hash, and whether an adapter belongs to it.
use crate::Base;
use lora_checkpoint::{Checkpoint, Format, RotaryPairs, StorageDtype, TensorView};
use lora_receipt::identity::{FACTORS, ROTATION, SAMPLES, STORAGE, TOKENIZER, WEIGHTS, samples};
use lora_receipt::{Belonging, HubPlace, Identity, Input, Marks, Receipt};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Values of the norms that are kept.
const SAMPLE_VALUES: usize = 32;

/// Hashes a model as an input called `name`, with the marks by which another file of it is known: for the receipt of
/// an adapter. (Where no receipt of an adapter is written, [`Input::read`] does, and costs less.)
///
/// # Errors
/// When it can't be read.
pub fn model_input(
    name: &str,
    path: &Path,
    model: &Checkpoint,
) -> Result<Input, lora_receipt::Error> {
    let mut input = Input::read(name, path)?;
    input.marks = marks(model);
    Ok(input)
}

/// The marks of a model as its files are: what was added to its vocabulary is no part of it.
fn marks(model: &Checkpoint) -> Marks {
    let files = model
        .added_vocabulary()
        .map(|_| Checkpoint::open(model.path()));
    let model = match &files {
        Some(Ok(files)) => files,
        _ => model,
    };
    let names = model.tensor_names();
    let views: Vec<TensorView<'_>> = names
        .iter()
        .filter_map(|name| model.tensor(name).ok())
        .collect();
    let mark = |view: &TensorView<'_>| {
        let mut stored = lora_receipt::hash_bytes(view.stored());
        if !view.stored_rest().is_empty() {
            stored += &lora_receipt::hash_bytes(view.stored_rest());
        }
        format!(
            "{} {:?} {:?} {stored}\n",
            view.name(),
            view.shape(),
            view.dtype()
        )
    };
    let weights: String = views.par_iter().map(mark).collect();
    let is_norm = |view: &&TensorView<'_>| view.name().ends_with("norm.weight");
    let norms: Vec<f32> = views
        .iter()
        .filter(is_norm)
        .flat_map(TensorView::to_f32)
        .collect();
    let matrices = views.iter().filter(|view| view.shape().len() > 1);
    let types: BTreeSet<String> = matrices.map(|view| type_name(view.dtype())).collect();
    let types: Vec<String> = types.into_iter().collect();
    let storage = format!("{:?}: {}", model.format(), types.join(", "));
    let mut marks = Marks::from([
        (
            WEIGHTS.to_owned(),
            lora_receipt::hash_bytes(weights.as_bytes()),
        ),
        (STORAGE.to_owned(), storage),
        (SAMPLES.to_owned(), samples(&evenly(&norms))),
        (ROTATION.to_owned(), rotation(model).to_owned()),
    ]);
    marks.extend(
        model
            .config()
            .factor_mark()
            .map(|mark| (FACTORS.to_owned(), mark)),
    );
    if let Ok(tokenizer) = model.tokenizer() {
        marks.insert(TOKENIZER.to_owned(), tokenizer.sha256);
    }
    marks
}

fn rotation(model: &Checkpoint) -> &'static str {
    match model.config().facts().rotary_pairs {
        RotaryPairs::Halves => "halves",
        RotaryPairs::Neighbours => "neighbours",
    }
}

fn type_name(dtype: StorageDtype) -> String {
    match dtype {
        StorageDtype::Quantised(blocks) => format!("{blocks:?}"),
        plain => format!("{plain:?}"),
    }
}

/// Some of the values, evenly spaced; of an empty list none.
fn evenly(values: &[f32]) -> Vec<f32> {
    let place = |i: usize| (2 * i + 1) * values.len() / (2 * SAMPLE_VALUES);
    (0..SAMPLE_VALUES)
        .filter_map(|i| values.get(place(i)).copied())
        .collect()
}

/// What an adapter says of its base, and where it says so.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainedOn {
    /// Its receipt names the base with hash and marks.
    Receipt(Box<Input>),
    /// It has no receipt, as adapters of other tools; its configuration has a name or path.
    Name(String),
    /// Nothing.
    Nothing,
}

impl TrainedOn {
    /// Reads an adapter's receipt (of a checkpoint: its run's), else its configuration.
    pub fn of(adapter: &Path) -> Self {
        let receipt = std::iter::once(adapter)
            .chain(run_of(adapter))
            .find_map(|folder| Receipt::load(folder).ok());
        let base = receipt.and_then(|receipt| {
            receipt
                .inputs
                .into_iter()
                .find(|input| input.name == "base")
        });
        match base {
            Some(base) => Self::Receipt(Box::new(base)),
            None if adapter.is_dir() => match lora_core::base_name(adapter) {
                Ok(Some(name)) if !name.trim().is_empty() => Self::Name(name),
                _ => Self::Nothing,
            },
            None => Self::Nothing,
        }
    }

    /// Where its base lies or what it is called.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Receipt(base) => Some(base.path.display().to_string()),
            Self::Name(name) => Some(name.clone()),
            Self::Nothing => None,
        }
    }

    /// This, beside `base`, which was read as `given`.
    pub fn beside(&self, base: &Base, given: &Input) -> Belonging {
        Belonging {
            trained_on: self.name(),
            identity: self.identity(base, given),
        }
    }

    fn identity(&self, base: &Base, given: &Input) -> Identity {
        let model = base.checkpoint();
        match self {
            Self::Receipt(then) if then.sha256 == given.sha256 => Identity::Same,
            Self::Receipt(then) => {
                let mut given = given.clone();
                if given.marks.is_empty() {
                    given.marks = marks(model);
                }
                Identity::of(then, &given)
            }
            Self::Name(name) if is_path_of(name, &given.path) => Identity::Same,
            // Other tools train on the folder, where the multipliers stand beside the weights.
            Self::Name(_) if has_factors_inside(model) => Identity::Other(
                "this file has the model's multipliers in its weights, and no other tool trains on such a file".to_owned(),
            ),
            Self::Name(name) => {
                let own = names(model, &given.path);
                if own.iter().any(|own| words(own) == words(name)) {
                    return Identity::Same;
                }
                Identity::Unknown(format!("this one is called {}", own.join(", ")))
            }
            Self::Nothing => Identity::Unknown("it does not name its base".to_owned()),
        }
    }
}

/// Whether a file has in its weights what the model's folder has beside them.
fn has_factors_inside(model: &Checkpoint) -> bool {
    model.format() == Format::Gguf && model.config().factor_mark().is_some()
}

/// The folder of the run that wrote a checkpoint.
pub(crate) fn run_of(adapter: &Path) -> Option<&Path> {
    let checkpoints = adapter.parent().filter(|p| p.ends_with("checkpoints"));
    checkpoints.and_then(Path::parent)
}

fn is_path_of(name: &str, path: &Path) -> bool {
    match (Path::new(name).canonicalize(), path.canonicalize()) {
        (Ok(named), Ok(path)) => named == path,
        _ => false,
    }
}

/// What a model is called: by its files and by its place, each once.
fn names(model: &Checkpoint, path: &Path) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    names.extend(HubPlace::of(path).map(|place| place.file.unwrap_or(place.id)));
    let metadata = model.metadata("general.name");
    names.extend(metadata.and_then(|value| value.as_str()).map(str::to_owned));
    let config = std::fs::read(path.join("config.json")).ok();
    let config: Option<serde_json::Value> = config.and_then(|b| serde_json::from_slice(&b).ok());
    let own = config
        .as_ref()
        .and_then(|config| config["_name_or_path"].as_str());
    names.extend(own.map(str::to_owned));
    let place = path.canonicalize().unwrap_or_else(|_| PathBuf::from(path));
    if names.is_empty() || HubPlace::of(path).is_none() {
        names.extend(
            place
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.retain(|name| !name.is_empty());
    names.dedup();
    names
}

/// The words of a model's name that say which model it is: without owner, types and kinds of files.
fn words(name: &str) -> BTreeSet<String> {
    const KINDS: [&str; 16] = [
        "gguf", "hf", "mlx", "awq", "gptq", "bnb", "4bit", "8bit", "int4", "int8", "f16", "f32",
        "bf16", "fp16", "fp32", "unsloth",
    ];
    const OF_TYPES: [&str; 9] = ["0", "1", "k", "s", "m", "l", "xs", "xxs", "nl"];
    let last = name.trim_end_matches('/').rsplit(['/', '\\']).next();
    let lower = last.unwrap_or(name).to_lowercase();
    let letters: Vec<char> = lower.chars().collect();
    let digit = |at: Option<usize>| {
        at.and_then(|at| letters.get(at))
            .is_some_and(char::is_ascii_digit)
    };
    let separated: String = letters
        .iter()
        .enumerate()
        .map(|(at, &c)| {
            let in_number = c == '.' && digit(at.checked_sub(1)) && digit(Some(at + 1));
            if c.is_alphanumeric() || in_number {
                c
            } else {
                ' '
            }
        })
        .collect();
    let mut words = BTreeSet::new();
    let mut in_type = false;
    for word in separated.split_whitespace() {
        let bits = word.trim_start_matches('i').strip_prefix('q');
        let is_type = bits.is_some_and(|bits| bits.starts_with(|c: char| c.is_ascii_digit()));
        in_type = is_type || in_type && OF_TYPES.contains(&word);
        if !in_type && !KINDS.contains(&word) {
            words.insert(word.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn names_of_one_model_have_the_same_words() {
        let same = [
            (
                "HuggingFaceTB/SmolLM2-135M-Instruct",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
            ("unsloth/Qwen2.5-0.5B-bnb-4bit", "qwen2.5-0.5b-IQ4_XS.gguf"),
            (
                "mlx-community/Llama-3.2-1B-Instruct-4bit",
                "/models/Llama-3.2-1B-Instruct/",
            ),
            ("SmolLM2 135M Instruct", "smollm2-135m-instruct-q4_k_m"),
        ];
        for (a, b) in same {
            assert_eq!(words(a), words(b));
        }
        let other = [
            ("SmolLM2-135M", "SmolLM2-135M-Instruct"),
            ("Qwen2-0.5B", "Qwen2.5-0.5B"),
            ("SmolLM2-135M-Instruct", "SmolLM2-360M-Instruct"),
        ];
        for (a, b) in other {
            assert_ne!(words(a), words(b));
        }
    }
}

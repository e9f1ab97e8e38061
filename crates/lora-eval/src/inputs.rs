//! Opening everything before any work: base, split, adapters; and refusing what does not belong together.
use crate::Args;
use crate::args::{SAME_PROMPT, SPLIT};
use crate::trained_rows;
use lora_checkpoint::TokenizerBundle;
use lora_cli::{Error, Result, Ui, artefact_input, resolve_names};
use lora_core::Adapter;
use lora_data::{Example, Split, dataset_tokenizer, read_column, split_name};
use lora_model::{Adding, Base, Opened, TrainedOn, open_for, trained_chat, trained_otherwise};
use lora_receipt::{Artefact, Input, name_among};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All inputs, opened and checked against each other.
pub(crate) struct Loaded {
    pub(crate) base: Base,
    /// Absent if the base comes without a tokenizer; then nothing is generated.
    pub(crate) tokenizer: Option<TokenizerBundle>,
    /// The split that is measured.
    pub(crate) split: String,
    pub(crate) rows: Vec<Example>,
    /// Columns that flags name, a value a row.
    columns: BTreeMap<String, Vec<Value>>,
    adapters: Vec<Named>,
    pub(crate) inputs: Vec<Input>,
}

struct Named {
    name: String,
    path: PathBuf,
    adapter: Adapter,
    rows_trained_on: Option<usize>,
}

/// One thing to measure: the base, or an adapter on it.
pub(crate) struct Model<'a> {
    pub(crate) name: String,
    pub(crate) path: Option<&'a Path>,
    pub(crate) adapter: Option<&'a Adapter>,
    /// Rows measured that it was trained on, if that can be told.
    pub(crate) rows_trained_on: Option<usize>,
}

impl Loaded {
    /// The values of a column that a flag names.
    pub(crate) fn column(&self, name: &str) -> Result<&[Value]> {
        let found = self.columns.get(name).map(Vec::as_slice);
        found.ok_or_else(|| Error::new(format!("column '{name}' was not read")))
    }

    /// The base, then the adapters in the order of the command line.
    pub(crate) fn models(&self) -> Vec<Model<'_>> {
        let base = Model {
            name: "base".to_owned(),
            path: None,
            adapter: None,
            rows_trained_on: None,
        };
        let adapters = self.adapters.iter().map(|named| Model {
            name: named.name.clone(),
            path: Some(&named.path),
            adapter: Some(&named.adapter),
            rows_trained_on: named.rows_trained_on,
        });
        std::iter::once(base).chain(adapters).collect()
    }
}

/// Replaces `-` by the artefact of the receipt on stdin; at most one input can come from there.
pub(crate) fn resolve(args: &mut Args) -> Result<()> {
    args.base = artefact_input(&args.base, Artefact::Model)?;
    args.data = artefact_input(&args.data, Artefact::Dataset)?;
    resolve_names(&mut args.adapter, Artefact::Adapter)
}

/// Opens base, split and adapters.
pub(crate) fn load(args: &Args, ui: &Ui) -> Result<Loaded> {
    let dataset = dataset_tokenizer(&args.data);
    let adding = Adding {
        adapters: &args.adapter,
        dataset: dataset.as_deref(),
    };
    let Opened { base, notes } = open_for(&args.base, adding)?;
    notes.iter().for_each(|note| ui.say(note));
    let name = split_name(&args.data, &args.split, SPLIT)?;
    let mut split = Split::read(&args.data, &args.split)?;
    let tokenizer = match base.checkpoint().tokenizer() {
        Ok(bundle) => {
            split.check_tokenizer_of(&bundle, &args.data)?;
            Some(bundle)
        }
        Err(error) if split.tokenizer_sha256.is_some() => {
            return Err(Error::from(error)
                .context("failed to check that the dataset fits the base's tokenizer"));
        }
        Err(_) => None,
    };
    split.examples.truncate(args.limit.unwrap_or(usize::MAX));
    split.check_vocabulary(base.checkpoint().config().vocab_size, &args.data)?;

    let columns = columns(args)?;

    let given = Input::read("base", &args.base)?;
    let mut adapters = Vec::new();
    for path in &args.adapter {
        let (adapter, warnings) = Adapter::load(path, &base)?;
        for warning in warnings {
            ui.warn(&warning);
        }
        let own = TrainedOn::of(path).beside(&base, &given);
        args.other_base.check(ui, path, &given, own)?;
        if let (Some(trained), Some(rows)) = (trained_chat(path)?, &split.chat)
            && let Some(otherwise) = trained_otherwise(path, &trained, rows)
        {
            ui.warn(&format!(
                "{otherwise}: its figures are of prompts that it was not trained on"
            ));
        }
        adapters.push(Named {
            name: name_among(path, |name| {
                name == "base" || adapters.iter().any(|other: &Named| other.name == name)
            }),
            path: path.clone(),
            adapter,
            rows_trained_on: trained_rows::count(path, &args.data, &split.examples, ui),
        });
    }
    Ok(Loaded {
        base,
        tokenizer,
        split: name,
        rows: split.examples,
        columns,
        adapters,
        inputs: hashed_inputs(args, given)?,
    })
}

/// The columns that `--slice`, `--references` and `--choices` name.
fn columns(args: &Args) -> Result<BTreeMap<String, Vec<Value>>> {
    let of_references = args.references.iter().filter(|from| *from != SAME_PROMPT);
    let mut columns = BTreeMap::new();
    for name in args.slice.iter().chain(of_references).chain(&args.choices) {
        let mut values = read_column(&args.data, &args.split, name)?;
        values.truncate(args.limit.unwrap_or(usize::MAX));
        columns.insert(name.clone(), values);
    }
    Ok(columns)
}

fn hashed_inputs(args: &Args, base: Input) -> Result<Vec<Input>> {
    let mut inputs = vec![base, Input::read("data", &args.data)?];
    for path in &args.adapter {
        inputs.push(Input::read("adapter", path)?);
    }
    Ok(inputs)
}

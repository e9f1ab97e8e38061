//! The way of a row: read, recognised, encoded, refused or put into its split; then the folder is written.
use crate::keep::Kept;
use crate::model::Model;
use crate::systems::Systems;
use crate::{Args, report};
use lora_cli::Foreign as _;
use lora_cli::{Error, Result, Status, Ui, artefact_input};
use lora_data::{
    Example, Fault, KNOWN_KEYS, Manifest, RawRow, RawRows, Record, Refusal, Split, SplitName,
    SplitSummary, Splits, split_of, text_blocks,
};
use lora_receipt::{Artefact, Draft, Input, Staged};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Rows between two looks at Ctrl-C and the progress bar.
const STRIDE: usize = 64;

/// Makes the dataset folder.
pub(crate) fn prepare(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    args.refuse_contradictions()?;
    let (Some(base), Some(out)) = (args.base.take(), args.out.clone()) else {
        return Err(Error::new("--base and --out are needed"));
    };
    let base = artefact_input(&base, Artefact::Model)?;
    args.base = Some(base.clone());
    let model = Model::open(&args, &base)?;
    args.max_length = Some(model.max_length);
    if model.max_length > model.context {
        ui.warn(&format!(
            "--max-length {} is more than the model's context of {} tokens",
            model.max_length, model.context
        ));
    }
    let staged = Staged::folder(&out, args.force)?;
    let mut inputs = model.inputs.clone();
    let rows = read(&args, &mut inputs, ui)?;
    let prepared = Prepared::of(&rows, &args, &model, ui)?;
    prepared.check(&args, rows.len())?;
    let manifest = prepared.write(staged.path(), &model, rows.len())?;
    report::print(&manifest, &prepared, &model, ui);
    let draft = Draft {
        tool: env!("CARGO_PKG_NAME").to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact: Artefact::Dataset,
        config: serde_json::to_value(&args).foreign()?,
        seed: Some(args.seed),
        inputs,
        results: serde_json::to_value(&manifest).foreign()?,
        measured: serde_json::json!({}),
        started,
    };
    let receipt = staged.commit(draft)?;
    ui.receipt(&receipt);
    Ok(Status::Done)
}

/// All raw rows, up to the limit; every source is added to the inputs.
fn read(args: &Args, inputs: &mut Vec<Input>, ui: &Ui) -> Result<Vec<RawRow>> {
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for path in &args.raw {
        let source = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let failed =
                |e: std::io::Error| Error::foreign(e).context("failed to read standard input");
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map_err(failed)?;
            let sha256 = lora_receipt::hash_bytes(&bytes);
            inputs.push(Input::new("raw", "-", sha256));
            RawRows::from_reader(Path::new("stdin"), Cursor::new(bytes))?
        } else {
            refuse_folder(path)?;
            let source = RawRows::open(path)?;
            inputs.push(Input::read("raw", path)?);
            source
        };
        for row in source {
            if rows.len() >= limit {
                break;
            }
            if rows.len() % STRIDE == 0 {
                ui.check_interrupt()?;
            }
            rows.push(row?);
        }
    }
    if rows.is_empty() {
        return Err(Error::new("there is no row to prepare").hint(format!(
            "each row is a JSON object with the keys {KNOWN_KEYS}"
        )));
    }
    Ok(rows)
}

/// Rows in their splits, and those refused.
pub(crate) struct Prepared {
    pub(crate) train: Split,
    pub(crate) valid: Split,
    pub(crate) test: Split,
    pub(crate) refused: BTreeMap<String, usize>,
    kept: Kept,
}

impl Prepared {
    fn of(rows: &[RawRow], args: &Args, model: &Model, ui: &Ui) -> Result<Self> {
        let empty = || Split {
            examples: Vec::new(),
            tokenizer_sha256: Some(model.tokenizer_sha256.clone()),
            template_sha256: model.encoder.template_sha256().map(str::to_owned),
            chat: None,
        };
        let mut made = Self {
            train: empty(),
            valid: empty(),
            test: empty(),
            refused: BTreeMap::new(),
            kept: Kept::new(&args.keep)?,
        };
        let mut seen = HashSet::new();
        let mut systems = Systems::default();
        let progress = ui.progress("preparing", rows.len() as u64, "rows");
        for (number, row) in rows.iter().enumerate() {
            if number % STRIDE == 0 {
                ui.check_interrupt()?;
                progress.inc(STRIDE.min(rows.len() - number) as u64);
            }
            let record = Record::from_json(&row.value);
            let system = record.as_ref().ok().map(|r| model.encoder.system_of(r));
            let system = system.flatten().map(|text| text.map(str::to_owned));
            let example = record
                .and_then(|record| encode(&record, args, model).map_err(Fault::from))
                .and_then(|example| {
                    match args.keep_duplicates || seen.insert(fingerprint(&example)) {
                        true => Ok(example),
                        false => Err(Refusal::Duplicate.into()),
                    }
                });
            match example {
                Ok(example) => {
                    systems.see(system);
                    made.kept.see(row, &example);
                    made.split_mut(split_of(&example.group, args.seed, args.valid, args.test))
                        .push(example);
                }
                Err(Fault::Refused(reason)) => {
                    *made.refused.entry(reason.to_string()).or_insert(0) += 1
                }
                Err(Fault::Shape(mistake)) => return Err(row.error(mistake).into()),
            }
        }
        if let Some(block) = args.text_block {
            for split in [
                &mut made.train.examples,
                &mut made.valid.examples,
                &mut made.test.examples,
            ] {
                pack(split, model, block);
            }
        }
        let chat = model
            .encoder
            .chat_with(systems.common(args.system.as_deref()));
        for split in [&mut made.train, &mut made.valid, &mut made.test] {
            split.chat = Some(chat.clone());
        }
        Ok(made)
    }

    fn split_mut(&mut self, name: SplitName) -> &mut Vec<Example> {
        match name {
            SplitName::Train => &mut self.train.examples,
            SplitName::Valid => &mut self.valid.examples,
            SplitName::Test => &mut self.test.examples,
        }
    }

    /// Every split that was asked for has a row.
    fn check(&self, args: &Args, read: usize) -> Result<()> {
        self.kept.check()?;
        let kept = self.train.examples.len() + self.valid.examples.len() + self.test.examples.len();
        if kept == 0 {
            let reasons: Vec<String> = self
                .refused
                .iter()
                .map(|(reason, rows)| format!("{reason} ({rows})"))
                .collect();
            let hint = self
                .refused
                .iter()
                .max_by_key(|(_, rows)| **rows)
                .map_or("", |(reason, _)| hint(reason, args));
            return Err(Error::new(format!(
                "all {read} rows were refused: {}",
                reasons.join("; ")
            ))
            .hint(hint));
        }
        for (name, share, rows) in [
            ("valid", args.valid, &self.valid.examples),
            ("test", args.test, &self.test.examples),
        ] {
            if share > 0.0 && rows.is_empty() {
                return Err(Error::new(format!(
                    "no row fell into the {name} split: {kept} rows are too few for --{name} {share}"
                ))
                .hint(format!("give more rows, a larger --{name}, another --seed, or --{name} 0")));
            }
        }
        if self.train.examples.is_empty() {
            return Err(Error::new(format!(
                "no row is left to train on: all {kept} rows were held out"
            ))
            .hint(
                "rows with the same prompt stay together; give more prompts or a smaller --valid",
            ));
        }
        Ok(())
    }

    /// Writes the splits and dataset.json.
    fn write(&self, folder: &Path, model: &Model, read: usize) -> Result<Manifest> {
        let summary = |name: &str, split: &Split| -> Result<Option<SplitSummary>> {
            if split.examples.is_empty() {
                return Ok(None);
            }
            let kept = self.kept.columns_of(&split.examples);
            split.write_with(&folder.join(format!("{name}.parquet")), &kept)?;
            Ok(Some(SplitSummary::of(&split.examples)))
        };
        let train = summary("train", &self.train)?
            .ok_or_else(|| Error::new("no row is left to train on"))?;
        let manifest = Manifest {
            version: Manifest::VERSION,
            rows_read: read,
            refused: self.refused.clone(),
            splits: Splits {
                train,
                valid: summary("valid", &self.valid)?,
                test: summary("test", &self.test)?,
            },
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            template_sha256: self.train.template_sha256.clone(),
            system: self.train.chat.as_ref().and_then(|c| c.system.clone()),
        };
        manifest.write(folder)?;
        Ok(manifest)
    }
}

/// The way out when all rows are refused for a reason. None of them changes what an instruct model is used to.
fn hint(reason: &str, args: &Args) -> &'static str {
    let about_system = reason.to_lowercase().contains("system");
    match reason {
        reason if reason.starts_with("longer than") => "raise --max-length, or cut the rows",
        reason if reason.starts_with("prompt and completion share") => {
            "move the space at the end of the prompt to the start of the completion"
        }
        reason if reason.starts_with("the chat template refuses") && about_system => {
            match args.system {
                Some(_) => {
                    "leave --system out: this model's chats have no system message; put the text at the start of the first \
                     user messages instead"
                }
                None => {
                    "this model's chats have no system message: put its text at the start of the first user message"
                }
            }
        }
        reason if reason.contains("the model has none") => {
            "without a template a row is one question and one answer: split the chats, or name the template that the model \
             is going to be used with: --template FILE"
        }
        reason if reason.starts_with("the chat template") => {
            "change the rows as the template asks; another one (--template FILE) helps only if the model is then used with it"
        }
        "the prompt is empty" => {
            "text without a prompt is written {\"text\": \"…\"}: all of it is learned"
        }
        _ => "see `lora-prep --help` for the rows that can be used",
    }
}

/// A folder may hold rows that are meant to be held out: taking all its files would train on them.
fn refuse_folder(path: &Path) -> Result<()> {
    if !path.is_dir() {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|error| {
        Error::foreign(error).context(format!("failed to read {}", path.display()))
    })?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    let stem = |file: &PathBuf| file.file_stem().map(|s| s.to_string_lossy().to_lowercase());
    let named = |words: [&str; 4]| {
        let is_one = |stem: &str| words.iter().any(|word| stem.starts_with(word));
        files
            .iter()
            .find(|file| stem(file).is_some_and(|stem| is_one(&stem)))
    };
    let error = Error::new(format!("{}: this is a folder", path.display()));
    let held_out = named(["test", "valid", "val", "dev"]).or_else(|| named(["eval"; 4]));
    Err(match (named(["train"; 4]), held_out) {
        (Some(train), Some(held_out)) => error.hint(format!(
            "name {} alone; rows held out already stay apart: prepare {} into another folder with --valid 0, and measure \
             there with lora-eval --split train",
            train.display(),
            held_out.display()
        )),
        (Some(train), None) => error.hint(format!("name the file: {}", train.display())),
        _ => error.hint(
            "name the files to train on; rows that are meant to be held out go into a dataset of their own (--valid 0), and \
             lora-eval --split train measures there",
        ),
    })
}

fn encode(record: &Record, args: &Args, model: &Model) -> Result<Example, Refusal> {
    let example = model.encoder.encode(record)?;
    let packed = args.text_block.is_some() && example.prompt.is_empty();
    if example.len() > model.max_length && !packed {
        return Err(Refusal::TooLong(model.max_length));
    }
    Ok(example)
}

/// Two rows with the same prompt and completion are the same row.
fn fingerprint(example: &Example) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((example.prompt.len() as u64).to_le_bytes());
    hash.update(&example.prompt);
    hash.update(&example.completion);
    hash.finalize().into()
}

/// Text rows become blocks of one length, behind the others.
fn pack(split: &mut Vec<Example>, model: &Model, block: usize) {
    let (texts, mut rows): (Vec<_>, Vec<_>) = std::mem::take(split)
        .into_iter()
        .partition(|row| row.prompt.is_empty());
    rows.extend(text_blocks(&model.encoder, &texts, block));
    *split = rows;
}

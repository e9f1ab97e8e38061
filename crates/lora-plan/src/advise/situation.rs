//! The facts that advice rests on: the data, the base, what it already knows, the machine.
use super::args::{AdviseArgs, Strength, Task};
use crate::cost::{AddedTokens, Rows};
use crate::model::shape::Shape;
use crate::run::DatasetFacts;
use lora_cli::{LoraArgs, Result, Ui, artefact_input, human_bytes};
use lora_core::thousands;
use lora_data::Split;
use lora_model::{Base, Fused, Packed, Route, SequenceLoss};
use lora_receipt::{Artefact, FILE_NAME, Receipt};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataFacts {
    /// Where they lie.
    pub path: PathBuf,
    /// Rows that train.
    pub rows: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Their supervised tokens.
    pub supervised: usize,
    /// Something is held out.
    pub has_valid: bool,
    /// Something can be generated from: rows have prompts.
    pub has_prompts: bool,
    /// True if the rows were rendered with the base's own chat template; none if that can't be told.
    pub own_template: Option<bool>,
    /// Raw records that lora-prep made them from, and its settings, if both are still there.
    #[serde(skip)]
    pub made_by: Option<Receipt>,
    /// Their lengths.
    #[serde(skip)]
    pub lengths: Rows,
    /// Tokens that they add to the model's.
    #[serde(skip)]
    pub added: AddedTokens,
}

impl DataFacts {
    /// Rows of which only the lengths are known.
    pub fn of_rows(lengths: Rows) -> Self {
        Self {
            path: PathBuf::new(),
            rows: 0,
            tokens: 0,
            supervised: 0,
            has_valid: false,
            has_prompts: false,
            own_template: None,
            made_by: None,
            lengths,
            added: AddedTokens::default(),
        }
    }
}

/// What advice rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Situation {
    /// The base as the user named it.
    pub model: PathBuf,
    /// Its parameters.
    pub parameters: u64,
    /// The data.
    pub data: DataFacts,
    /// What shall be learned.
    pub task: Task,
    /// How strongly.
    pub strength: Strength,
    /// Mean loss of the base on held-out rows, nats a supervised token, and the share it predicts right.
    pub base_loss: Option<(f64, f64)>,
    /// Threads.
    pub threads: usize,
    /// What else is asked of the adapter.
    #[serde(skip)]
    pub lora: LoraArgs,
    /// The base's shape.
    #[serde(skip)]
    pub shape: Shape,
}

/// Gathers the facts. `weights` is the model whose loss on the rows is measured.
pub(super) fn look(
    args: &AdviseArgs,
    shape: Shape,
    weights: Option<&Path>,
    threads: usize,
    ui: &Ui,
) -> Result<Situation> {
    let path = artefact_input(&args.data, Artefact::Dataset)?;
    let facts = DatasetFacts::read(&path)?;
    let base = weights.map(Base::open).transpose()?;
    let template = facts
        .manifest
        .as_ref()
        .and_then(|m| m.template_sha256.clone());
    let own_template = base
        .as_ref()
        .and_then(|base| base.checkpoint().tokenizer().ok())
        .and_then(|bundle| {
            let own = bundle
                .chat_template
                .as_ref()
                .map(|text| lora_checkpoint::template_sha256(text));
            template
                .as_ref()
                .map(|template| own.as_ref() == Some(template))
        });
    let base_loss = base
        .as_ref()
        .map(|base| measure(base, &path, threads, ui))
        .transpose()?
        .flatten();
    let made_by = if path.join(FILE_NAME).is_file() {
        Receipt::load(&path).ok().filter(still_there)
    } else {
        None
    };
    let data = DataFacts {
        rows: facts.train.rows,
        tokens: facts.train.tokens,
        supervised: facts.train.supervised,
        has_valid: facts.valid.is_some(),
        has_prompts: facts.train.unmasked * 2 < facts.train.rows,
        own_template,
        made_by,
        lengths: Rows::read(&path)?,
        added: AddedTokens::of(&path)?,
        path,
    };
    Ok(Situation {
        model: shape.path.clone().unwrap_or_else(|| args.model.clone()),
        parameters: shape.total_parameters(),
        data,
        task: args.task,
        strength: args.strength,
        base_loss,
        threads,
        lora: args.lora.clone(),
        shape,
    })
}

/// True if lora-prep's raw inputs are where its receipt says.
fn still_there(receipt: &Receipt) -> bool {
    let mut raw = receipt
        .inputs
        .iter()
        .filter(|input| input.name == "raw")
        .peekable();
    receipt.tool == "lora-prep" && raw.peek().is_some() && raw.all(|input| input.path.is_file())
}

/// Rows and tokens that the base is tried on at most.
const TRIED: (usize, usize) = (32, 2048);

/// The base's loss on a few held-out rows (or rows that train, if nothing is held out).
fn measure(base: &Base, data: &Path, threads: usize, ui: &Ui) -> Result<Option<(f64, f64)>> {
    let split = if data.is_dir() && data.join("valid.parquet").is_file() {
        "valid"
    } else {
        "train"
    };
    let split = Split::read(data, split)?;
    split.check_vocabulary(base.config().vocab_size, data)?;
    if split.tokenizer_sha256.is_some() {
        split.check_tokenizer(&base.checkpoint().tokenizer()?.sha256, data)?;
    }
    let mut route = Fused::new(base, threads)?;
    let (mut sum, mut tokens) = (SequenceLoss::default(), 0);
    for row in split.examples.iter().take(TRIED.0) {
        ui.check_interrupt()?;
        tokens += row.len();
        if tokens > TRIED.1 {
            break;
        }
        for loss in route.losses(
            None,
            &Packed::from_rows([(&row.input_ids[..], &row.labels[..])]),
        )? {
            sum.nll += loss.nll;
            sum.tokens += loss.tokens;
            sum.correct += loss.correct;
        }
    }
    let n = sum.tokens as f64;
    Ok((sum.tokens > 0).then(|| (sum.nll / n, sum.correct as f64 / n)))
}

impl Situation {
    /// The facts for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let data = &self.data;
        let mut lines = vec![
            format!(
                "{}: {} parameters",
                self.model.display(),
                thousands(self.parameters)
            ),
            format!(
                "{}: {} rows, {} tokens, {} of them supervised",
                data.path.display(),
                thousands(data.rows as u64),
                thousands(data.tokens as u64),
                thousands(data.supervised as u64)
            ),
        ];
        if let Some((loss, right)) = self.base_loss {
            let known = match loss {
                l if l < 0.3 => "it knows most of it",
                l if l < 2.0 => "the language is its own, the content partly",
                l if l < 5.0 => "much is new to it",
                _ => "even the form is new to it",
            };
            lines.push(format!(
                "the base's loss on it: {loss:.2} nats a token, {:.0} % of tokens right: {known}",
                100.0 * right
            ));
        }
        match data.own_template {
            Some(true) => lines.push("the rows are in the base's own chat format".to_owned()),
            Some(false) => lines.push(
                "the rows are not in the base's own chat format: it has to learn that too"
                    .to_owned(),
            ),
            None => {}
        }
        if let Some(free) = lora_cli::available_memory() {
            lines.push(format!(
                "this machine: {} threads, {} free",
                self.threads,
                human_bytes(free)
            ));
        }
        lines
    }
}

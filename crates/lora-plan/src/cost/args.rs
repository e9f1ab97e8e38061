//! The command lines of `memory` and `time`, and the runs that they ask for.
use super::card::Card;
use super::carried::Carried;
use super::tokens::AddedTokens;
use super::workload::{BaseType, Keep, Rows, Workload, threads};
use crate::adapter_flags;
use crate::model::shape::{self, Shape};
use lora_cli::{Error, LoraArgs, Result, artefact_input, values};
use lora_core::{LoraConfig, TargetModules};
use lora_receipt::Artefact;
use lora_training::Batching;
use std::path::{Path, PathBuf};

/// What to predict for. Every flag that can hold several values, separated by commas, makes a line of the table each; those of
/// the adapter beyond rank and targets hold for all lines.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CostArgs {
    /// Model: a Hugging Face folder, a config.json, a GGUF file, hub:OWNER/NAME, or a name such as llama-3-8b (a
    /// wrong name lists them).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Dataset folder of lora-prep, or hub:OWNER/NAME of one: its rows make the batches.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["length", "rows", "supervised"])]
    pub data: Option<PathBuf>,
    /// Tokens of a row, without --data [default: 256, or the model's context if that is shorter].
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = values::length)]
    pub length: Vec<usize>,
    /// Rows of an epoch, without --data.
    #[arg(long, value_name = "N", value_parser = rows, default_value = "1000")]
    pub rows: usize,
    /// Share of the tokens that are supervised, without --data.
    #[arg(long, value_name = "SHARE", value_parser = values::share, default_value_t = 0.5)]
    pub supervised: f64,
    /// Examples in a batch.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = batch, default_value = "8")]
    pub batch: Vec<usize>,
    /// Rank r.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = values::rank, default_value = "16")]
    pub rank: Vec<usize>,
    /// Sets of targets: attention, full-attention, all, or names joined by +, e.g. q_proj+k_proj.
    #[arg(
        long,
        value_name = "SET,…",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub targets: Vec<String>,
    /// Weights of a mixture of experts that carry adapters, too: experts, router, or names as PEFT takes them.
    #[arg(long, value_name = "NAMES")]
    pub target_parameters: Vec<String>,
    /// Storage of the base [default: as its file is; bf16 for a name; with --device memory shows all that a card holds].
    #[arg(long, value_enum, value_name = "TYPE,…", value_delimiter = ',')]
    pub dtype: Vec<BaseType>,
    /// What layers keep for their backward pass: all, bf16 (rounded), or input (computed again); what lora-train's --memory
    /// chooses among.
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,…",
        value_delimiter = ',',
        default_value = "all"
    )]
    pub keep: Vec<Keep>,
    /// Dropout is on: the dropped inputs take memory.
    #[arg(long)]
    pub dropout: bool,
    /// Threads [default: as many as this process may use].
    #[arg(long, value_name = "N", value_parser = values::threads)]
    pub threads: Option<usize>,
    /// Predict for a GPU: its memory, as in cuda:24GB, or its name, as in rtx-3090 or h100 (a wrong name lists them). Layers
    /// are computed again as far as it must be (--keep input: all).
    #[arg(long, value_name = "CARD")]
    pub device: Option<Card>,
    /// More of the adapter.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
}

/// Tokens of a row where nothing is said of them.
const USUAL_LENGTH: usize = 256;

/// Most rows that a dataset is imagined to have: their lengths are held.
fn rows(text: &str) -> Result<usize, String> {
    values::within(text, 1..=10_000_000)
}

fn batch(text: &str) -> Result<usize, String> {
    values::within(text, 1..=1 << 16)
}

/// Predict peak memory for every choice of batch, length, rank, targets and base, beside PEFT and full fine-tuning.
///
/// Counts the buffers of the training step one by one, for the largest batch of the dataset.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = MEMORY_EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct MemoryArgs {
    /// What to predict for.
    #[command(flatten)]
    #[serde(flatten)]
    pub cost: CostArgs,
    /// Also draw memory by batch into this SVG file.
    #[arg(long, value_name = "FILE", help_heading = None::<&str>)]
    pub svg: Option<PathBuf>,
}

/// Predict the time of a step and of an epoch on this machine, beside PEFT and full fine-tuning.
///
/// Counts the operations and divides by this machine's rate: a matrix product is timed now; with --measure two real
/// micro-steps on the model are, which is more exact.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = TIME_EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct TimeArgs {
    /// What to predict for.
    #[command(flatten)]
    #[serde(flatten)]
    pub cost: CostArgs,
    /// Time two real micro-steps of the model (its weights are needed).
    #[arg(long, help_heading = None::<&str>)]
    pub measure: bool,
}

const MEMORY_EXAMPLES: &str = "\
Examples:
  lora-plan memory --model smollm2.gguf --data dataset --batch 1,2,4,8,16
  lora-plan memory --model llama-2-7b --length 512 --batch 1 --dtype bf16,q8_0,q4_0
  lora-plan memory --model smollm2.gguf --rank 8,64 --targets attention,all --svg memory.svg
  lora-plan memory --model llama-3-8b --length 2048 --batch 1,2,4 --device cuda:24GB";

const TIME_EXAMPLES: &str = "\
Examples:
  lora-plan time --model smollm2.gguf --data dataset --measure
  lora-plan time --model llama-2-7b --length 512 --rows 2000 --batch 1
  lora-plan time --model llama-3-8b --length 2048 --rows 2000 --batch 1 --device rtx-4090";

impl CostArgs {
    /// Every combination of the flags, and the shape that all share.
    ///
    /// # Errors
    /// When the model or the dataset can't be read, or a target is not in the model.
    pub fn workloads(&self) -> Result<(Shape, Vec<Workload>)> {
        let shape = shape::resolve(&self.model)?;
        let data = self.data.as_ref();
        let data = data.map(|data| artefact_input(data, Artefact::Dataset));
        let data = data.transpose()?;
        let rows = self.all_rows(&shape, data.as_deref())?;
        let bases = self.bases(&shape);
        let tokens = data
            .as_deref()
            .map_or(Ok(AddedTokens::default()), AddedTokens::of)?;
        let own = shape.config.vocab_size;
        let shape = tokens.on(shape);
        let mut all = Vec::new();
        let with_parameters = |targets: &String| {
            let named = std::iter::once(targets).chain(&self.target_parameters);
            named
                .map(|name| name.replace(',', "+"))
                .collect::<Vec<_>>()
                .join("+")
        };
        for targets in &self.targets {
            let label = with_parameters(targets);
            for &rank in &self.rank {
                let config = self.lora_config(&shape, (rank, targets), &tokens)?;
                let carried = Carried::of(&shape, config)?;
                for &base in &bases {
                    for rows in &rows {
                        for &batch in &self.batch {
                            let batching = Batching::of_examples(batch);
                            let new = Workload::new(&shape, &carried, &label, rows, batching, base);
                            let mut new = Workload {
                                rank,
                                dropout: self.dropout,
                                threads: threads(self.threads),
                                ..new
                            };
                            tokens.add_to(&shape, own, &mut new);
                            all.extend(self.keep.iter().map(|&keep| Workload {
                                keep,
                                ..new.clone()
                            }));
                        }
                    }
                }
            }
        }
        Ok((shape, all))
    }

    /// The adapter of a line.
    fn lora_config(
        &self,
        shape: &Shape,
        (rank, targets): (usize, &str),
        tokens: &AddedTokens,
    ) -> Result<LoraConfig> {
        let modules = target_set(shape, targets)?;
        let mut config = LoraConfig::new(rank, rank as f64, modules);
        config.target_parameters = shape.target_parameters(&self.target_parameters)?;
        config.lora_dropout = if self.dropout { 0.1 } else { 0.0 };
        adapter_flags::apply(&self.lora, &mut config)?;
        tokens.train_rows(shape, &mut config);
        config.require_effect(&shape.modules())?;
        Ok(config)
    }

    /// The types to predict for: those that were asked for, or the base's own.
    fn bases(&self, shape: &Shape) -> Vec<BaseType> {
        match self.dtype.is_empty() {
            true => vec![BaseType::own(shape)],
            false => self.dtype.clone(),
        }
    }

    /// The same, and what a card can hold beside the base's own type.
    pub(super) fn with_all_bases(&self, shape: &Shape) -> Self {
        let mut dtype = self.bases(shape);
        if self.dtype.is_empty() {
            let own = dtype[0];
            let others = [BaseType::Bf16, BaseType::Q8_0, BaseType::Q6K, BaseType::Q4K];
            dtype.extend(others.into_iter().filter(|&other| other != own));
        }
        Self {
            dtype,
            ..self.clone()
        }
    }

    fn all_rows(&self, shape: &Shape, data: Option<&Path>) -> Result<Vec<Rows>> {
        if let Some(data) = data {
            return Ok(vec![Rows::read(data)?]);
        }
        let context = shape.config.max_position_embeddings;
        let too_long = self.length.iter().find(|length| **length > context);
        if let (Some(length), true) = (too_long, shape.path.is_some()) {
            return Err(Error::new(format!(
                "--length {length}: rows have 2 to {context} tokens on this model"
            )));
        }
        let usual = [USUAL_LENGTH.min(context)];
        let lengths = if self.length.is_empty() {
            &usual[..]
        } else {
            &self.length
        };
        let rows = lengths.iter();
        Ok(rows
            .map(|&length| Rows::alike(self.rows, length, self.supervised))
            .collect())
    }
}

/// A named set, or names joined by `+`.
pub(crate) fn target_set(shape: &Shape, text: &str) -> Result<TargetModules> {
    shape.targets(&text.replace('+', ","))
}

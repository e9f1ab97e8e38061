//! `lora-plan memory` and `lora-plan time`: what a run takes on this machine, against PEFT and full fine-tuning.
//!
//! `workload` is what is computed, `memory` and `time` are the predictions, `machine` measures, `show` prints; on a GPU
//! (`card`) they are those of `device` and `show_device`.
mod card;
mod device;
mod machine;
mod memory;
mod show;
mod show_device;
mod time;
mod tokens;
mod workload;

pub use card::Card;
pub use device::{OnCard, TimeOnCard, check_decoder, on_card, time_on_card};
pub use memory::{Memory, memory};
pub use time::{Speed, Time, time};
pub use workload::{BaseType, Keep, Rows, Workload};

pub(crate) use device::files;
pub(crate) use machine::micro_steps;
pub(crate) use workload::threads;

use crate::model::shape::{self, Shape};
use lora_cli::{Error, Result, Status, Ui, artefact_input, available_memory, values};
use lora_core::{LoraConfig, TargetModules};
use lora_kernels::peak::measure_peak;
use lora_receipt::Artefact;
use lora_training::Batching;
use std::path::{Path, PathBuf};
use tokens::Tokens;

/// What to predict for. Every flag that can hold several values, separated by commas, makes a line of the table each.
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
    #[arg(long, value_name = "FILE")]
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
    #[arg(long)]
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
        let tokens = data.as_deref().map_or(Ok(Tokens::default()), Tokens::of)?;
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
                let modules = target_set(&shape, targets)?;
                let mut config = LoraConfig::new(rank, rank as f64, modules);
                config.target_parameters = shape.target_parameters(&self.target_parameters)?;
                config.lora_dropout = if self.dropout { 0.1 } else { 0.0 };
                let targeted = config.layout(&shape.modules())?.modules;
                for &base in &bases {
                    for rows in &rows {
                        for &batch in &self.batch {
                            let batching = Batching::of_examples(batch);
                            let new =
                                Workload::new(&shape, &targeted, &label, rows, batching, base);
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

    /// The types to predict for: those that were asked for, or the base's own.
    fn bases(&self, shape: &Shape) -> Vec<BaseType> {
        match self.dtype.is_empty() {
            true => vec![BaseType::own(shape)],
            false => self.dtype.clone(),
        }
    }

    /// The same, and what a card can hold beside the base's own type.
    fn with_all_bases(&self, shape: &Shape) -> Self {
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

pub(crate) fn run_memory(args: &MemoryArgs, ui: &Ui) -> Result<Status> {
    if let Some(card) = &args.cost.device {
        return memory_on(card, args, ui);
    }
    let (shape, workloads) = args.cost.workloads()?;
    let predictions: Vec<(Workload, Memory)> = workloads
        .into_iter()
        .map(|work| (work.clone(), memory(&shape, &work)))
        .collect();
    show::memory(&shape, &predictions, available_memory(), ui);
    if let Some(path) = &args.svg {
        show::memory_chart(&predictions).write_svg(path)?;
        ui.say(&format!("wrote {}", path.display()));
    }
    Ok(Status::Done)
}

/// Memory on a GPU.
fn memory_on(card: &Card, args: &MemoryArgs, ui: &Ui) -> Result<Status> {
    if args.svg.is_some() {
        return Err(Error::new("--svg draws the CPU's memory").hint("leave out --svg or --device"));
    }
    let shape = shape::resolve(&args.cost.model)?;
    check_decoder(&shape)?;
    let (shape, workloads) = args.cost.with_all_bases(&shape).workloads()?;
    let files = files(&shape, BaseType::own(&shape))?;
    let predictions: Vec<(Workload, OnCard)> = workloads
        .into_iter()
        .map(|work| (work.clone(), on_card(&shape, &work, files.as_ref(), card)))
        .collect();
    show_device::memory(&shape, &predictions, card, ui);
    Ok(Status::Done)
}

/// Time on a GPU.
fn time_on(card: &Card, args: &TimeArgs, ui: &Ui) -> Result<Status> {
    if args.measure {
        return Err(Error::new("--measure times this machine's CPU").hint("leave it out"));
    }
    let rates = card.rates.ok_or_else(|| {
        Error::new(format!("for {card} no rate of bfloat16 products is known"))
            .hint("name a card as --device: rtx-3090, rtx-4090, l4, a100-80gb, h100 and others")
    })?;
    let (shape, workloads) = args.cost.workloads()?;
    check_decoder(&shape)?;
    let files = files(&shape, BaseType::own(&shape))?;
    let predictions: Vec<(Workload, OnCard, TimeOnCard)> = workloads
        .into_iter()
        .map(|work| {
            let memory = on_card(&shape, &work, files.as_ref(), card);
            let time = time_on_card(&shape, &work, &memory, rates);
            (work, memory, time)
        })
        .collect();
    show_device::time(&shape, &predictions, card, rates, ui);
    Ok(Status::Done)
}

pub(crate) fn run_time(args: &TimeArgs, ui: &Ui) -> Result<Status> {
    if let Some(card) = &args.cost.device {
        return time_on(card, args, ui);
    }
    let (shape, workloads) = args.cost.workloads()?;
    let threads = threads(args.cost.threads);
    let speed = speed(&shape, &workloads, args.measure, threads, ui)?;
    let predictions: Vec<(Workload, Time)> = workloads
        .into_iter()
        .map(|work| (work.clone(), time(&shape, &work, &speed)))
        .collect();
    show::time(&shape, &predictions, &speed, ui);
    Ok(Status::Done)
}

/// How fast this machine is: by a matrix product, or by two micro-steps of the first workload.
fn speed(
    shape: &Shape,
    workloads: &[Workload],
    measure: bool,
    threads: usize,
    ui: &Ui,
) -> Result<Speed> {
    let peak = measure_peak(threads);
    let (Some(work), true) = (workloads.first(), measure) else {
        return Ok(Speed::from_peak(shape, peak));
    };
    let Some(path) = &shape.path else {
        return Err(
            Error::new(format!("--measure needs the weights of {}", shape.name))
                .hint("name a model folder or a GGUF file, or leave --measure out"),
        );
    };
    ui.say("timing two micro-steps");
    micro_steps(path, work, threads, peak, ui)
}

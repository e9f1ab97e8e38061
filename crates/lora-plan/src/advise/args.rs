//! The command line.
use crate::cost::Card;
use lora_cli::{LoraArgs, values};
use serde::Serialize;
use std::path::PathBuf;

/// Choose rank, alpha, targets, dropout, learning rate, epochs, batch and base precision, with reasons.
///
/// The rules are those of practice, each printed with its source; where two disagree, both are named and which one won.
/// Nothing is trained; the base's loss on a few held-out rows is measured if its weights are here.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct AdviseArgs {
    /// Model: a Hugging Face folder, a GGUF file, hub:OWNER/NAME, or a name such as llama-3-8b (a
    /// wrong name lists them).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Dataset folder of lora-prep, or hub:OWNER/NAME of one.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// What the model shall learn: another format, another style, a new domain, or new behaviour.
    #[arg(long, value_enum, value_name = "TASK")]
    pub task: Task,
    /// How strongly the adapter shall change the model.
    #[arg(long, value_enum, default_value_t = Strength::Normal)]
    pub strength: Strength,
    /// Time that the training may take, e.g. 20m or 2h.
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    pub time: Option<f64>,
    /// Memory that it may take, e.g. 2GB [default: what is free].
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub memory: Option<u64>,
    /// Train on a GPU: its memory, as in cuda:24GB, or its name, as in rtx-3090 or h100 (a wrong name lists them).
    #[arg(long, value_name = "CARD", conflicts_with = "memory")]
    pub device: Option<Card>,
    /// Threads [default: as many as this process may use].
    #[arg(long, value_name = "N", value_parser = values::threads)]
    pub threads: Option<usize>,
    /// Don't run the base on held-out rows.
    #[arg(long)]
    pub no_measure: bool,
    /// Write a pipeline for lora-run.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub write: Option<PathBuf>,
    /// Replace an existing pipeline.
    #[arg(long, requires = "write")]
    #[serde(skip)]
    pub force: bool,
    /// More of the adapter: it is counted, and goes into the commands as it is.
    #[command(flatten)]
    #[serde(flatten)]
    pub lora: LoraArgs,
}

const EXAMPLES: &str = "\
Examples:
  lora-plan advise --model smollm2.gguf --data dataset --task behaviour
  lora-plan advise --model smollm2.gguf --data dataset --task style --time 20m --memory 1GB
  lora-plan advise --model m --data d --task domain --device cuda:24GB
  lora-plan advise --model m --data d --task domain --write pipelines/mine.yaml && lora-run pipelines/mine.yaml";

/// What the model shall learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Answers in another format; what they say is known.
    Format,
    /// Another tone or manner.
    Style,
    /// A field that the base knows little of.
    Domain,
    /// Something that the base does not do at all.
    Behaviour,
}

/// How strongly the adapter shall change the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// alpha = rank/2.
    Gentle,
    /// alpha = rank.
    Normal,
    /// alpha = 2·rank.
    Strong,
}

//! The command line: one struct a command, each beside the code that answers it.
use crate::advise::AdviseArgs;
use crate::compare::CompareArgs;
use crate::cost::{MemoryArgs, TimeArgs};
use crate::doctor::DoctorArgs;
use crate::explain::ExplainArgs;
use crate::params::ParamsArgs;
use lora_cli::{ChangedInput, Common, ToolArgs};

/// Plan a LoRA run, and understand one: what is trained and how large it is.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-plan", version, after_help = EXAMPLES)]
pub struct Args {
    /// What to plan.
    #[command(subcommand)]
    pub command: Command,
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

/// What to plan.
#[derive(Debug, Clone, clap::Subcommand, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Count trainable parameters as PEFT does: in all, per kind of module and layer, and for other ranks and targets.
    Params(ParamsArgs),
    /// Find the configurations that train a given number of parameters, and say what that number means.
    Explain(ExplainArgs),
    /// Predict peak memory for every choice of batch, length, rank, targets and base, beside PEFT and full fine-tuning.
    Memory(MemoryArgs),
    /// Predict the time of a step and of an epoch on this machine, beside PEFT and full fine-tuning.
    Time(TimeArgs),
    /// Choose rank, alpha, targets, dropout, learning rate, epochs, batch and base precision, with reasons.
    Advise(AdviseArgs),
    /// Look at finished or failed runs and name what went wrong, with the evidence and what to try.
    Doctor(DoctorArgs),
    /// Compare runs: settings that differ, cost, results with their 95 % intervals, and the loss curves.
    Compare(CompareArgs),
}

const EXAMPLES: &str = "\
Examples:
  lora-plan params --model smollm2.gguf --rank 16
  lora-plan params --model llama-3-8b --rank 8 --targets attention
  lora-plan explain --trainable 3407872 --model llama-3-8b
  lora-plan memory --model smollm2.gguf --data dataset --batch 1,2,4,8,16
  lora-plan time --model smollm2.gguf --data dataset --measure
  lora-plan advise --model smollm2.gguf --data dataset --task style --write pipelines/mine.yaml
  lora-plan doctor work/finetune
  lora-plan compare work/sweep";

impl ToolArgs for Args {
    const OUTPUTS: &'static [&'static str] = &["out", "svg", "write"];

    fn common(&self) -> &Common {
        &self.common
    }
}

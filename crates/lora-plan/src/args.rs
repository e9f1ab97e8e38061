//! The command line.
use lora_cli::{Common, Error, Result, ToolArgs};
use lora_core::{LoraConfig, TargetModules};
use std::path::PathBuf;

/// Plan a LoRA run: what will be trained, and how large it is.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-plan", version, after_help = EXAMPLES)]
pub struct Args {
    /// What to plan.
    #[command(subcommand)]
    pub command: Command,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

/// What to plan.
#[derive(Debug, Clone, clap::Subcommand, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Count trainable parameters as PEFT does: in all, per kind of module, and for other ranks and targets.
    Params(ParamsArgs),
}

/// Count trainable parameters as PEFT does: in all, per kind of module, and for other ranks and targets.
///
/// Only the model's shape is read, never its weights: a config.json or the name of a well-known model is enough.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = PARAMS_EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct ParamsArgs {
    /// Model: a Hugging Face folder, a config.json, a GGUF file, or a name such as llama-3-8b (a wrong name lists them);
    /// `-` takes it from an upstream receipt.
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Rank r of the adapters.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub rank: usize,
    /// α; the adapters' output is scaled by α/r [default: the rank].
    #[arg(long, value_name = "X")]
    pub alpha: Option<f64>,
    /// Modules that carry an adapter: names (q_proj,v_proj), a regular expression on the module path, all-linear, or
    /// attention (q, v), full-attention (q, k, v, o), all (all seven).
    #[arg(long, value_name = "NAMES", default_value = "all")]
    pub targets: Vec<String>,
    /// Scale by α/√r (rsLoRA).
    #[arg(long)]
    pub rslora: bool,
    /// Also write the plan to this JSON file, with a receipt beside it.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Replace an existing output.
    #[arg(long, requires = "out")]
    #[serde(skip)]
    pub force: bool,
}

const EXAMPLES: &str = "\
Examples:
  lora-plan params --model smollm2.gguf --rank 16
  lora-plan params --model llama-3-8b --rank 8 --targets attention";

const PARAMS_EXAMPLES: &str = "\
Examples:
  lora-plan params --model smollm2.gguf --rank 16
  lora-plan params --model llama-3-8b --rank 8 --targets attention
  lora-plan params --model ./config.json --rank 64 --rslora --targets q_proj,v_proj
  lora-plan params --model tinyllama-1.1b --json | jq 'select(.event == \"rank\" and .rank == 8)'";

impl ToolArgs for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

impl ParamsArgs {
    /// The LoRA settings that were asked for.
    pub(crate) fn config(&self) -> Result<LoraConfig> {
        let targets: TargetModules = self.targets.join(",").parse()?;
        let mut config = LoraConfig::new(self.rank, self.alpha.unwrap_or(self.rank as f64), targets);
        config.use_rslora = self.rslora;
        config.validate().map_err(|e| Error::from(e).hint("choose --rank and --alpha above 0"))?;
        Ok(config)
    }
}

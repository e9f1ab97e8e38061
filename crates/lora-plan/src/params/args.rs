//! The command line.
use crate::model::shape::Shape;
use lora_cli::{Error, Result, artefact_input, is_hub};
use lora_core::{CONFIG_FILE, LoraConfig, adapter_vocabulary};
use lora_model::spec;
use lora_receipt::Artefact;
use std::path::PathBuf;

/// Count trainable parameters as PEFT does: in all, per kind of module and layer, and for other ranks and targets.
///
/// Only the model's shape is read, never its weights: a config.json or the name of a well-known model is enough.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct ParamsArgs {
    /// Model: a Hugging Face folder, a config.json, a GGUF file, hub:OWNER/NAME, or a name such as llama-3-8b (a
    /// wrong name lists them); `-` takes it from an upstream receipt.
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Adapter folder or adapter_config.json of PEFT whose setting is counted, in place of the flags below.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rank", "alpha", "targets", "target_parameters", "rslora"])]
    pub config: Option<PathBuf>,
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
    /// Weights of a mixture of experts that carry an adapter, beside --targets: experts, router, or names as PEFT takes them.
    #[arg(long, value_name = "NAMES")]
    pub target_parameters: Vec<String>,
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
  lora-plan params --model llama-3-8b --rank 8 --targets attention
  lora-plan params --model ./config.json --rank 64 --rslora --targets q_proj,v_proj
  lora-plan params --model smollm2.gguf --config adapter
  lora-plan params --model tinyllama-1.1b --json | jq 'select(.event == \"rank\" and .rank == 8)'";

impl ParamsArgs {
    /// Rows of the vocabulary that the adapter needs whose setting is counted; 0 if any number will do.
    pub(super) fn rows_of_config(&self, config: &LoraConfig) -> Result<usize> {
        let last = config.trainable_token_indices.all().last().copied();
        let trained = last.map_or(0, |last| last.saturating_add(1));
        let folder = self.config.as_ref().filter(|path| path.is_dir());
        let saved = match folder {
            Some(folder) => {
                adapter_vocabulary(folder, (spec::EMBEDDING, spec::HEAD), usize::MAX)?.rows
            }
            None => None,
        };
        Ok(trained.max(saved.unwrap_or(0)))
    }

    /// The LoRA settings that were asked for.
    pub(super) fn lora_config(&self, shape: &Shape) -> Result<LoraConfig> {
        if let Some(path) = &self.config {
            let path = match is_hub(path) {
                true => &artefact_input(path, Artefact::Adapter)?,
                false => path,
            };
            let file = if path.is_dir() {
                path.join(CONFIG_FILE)
            } else {
                path.clone()
            };
            return Ok(LoraConfig::load(&file)?);
        }
        let targets = shape.targets(&self.targets.join(","))?;
        let mut config =
            LoraConfig::new(self.rank, self.alpha.unwrap_or(self.rank as f64), targets);
        config.use_rslora = self.rslora;
        config.target_parameters = shape.target_parameters(&self.target_parameters)?;
        config
            .validate()
            .map_err(|e| Error::from(e).hint("choose --rank and --alpha above 0"))?;
        Ok(config)
    }
}

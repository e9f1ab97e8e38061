//! lora-merge: base + adapter → a Hugging Face folder whose weights are round(W + s·B·A), and a check of its logits.
//!
//! This file holds the command line and the order of the work; each part has its own file.
mod check;
mod inputs;
mod weights;
mod write;

use lora_cli::{Common, Result, Status, ToolArgs, Ui};
use std::path::PathBuf;
use std::time::Instant;

/// Merge an adapter into its base: a model folder that needs no adapter any more.
///
/// Every weight is widened to f32, s·B·A is added, and the sum is rounded once to the output's type. Then a few rows
/// are run through both, and the largest difference of their logits is shown.
#[derive(Debug, clap::Parser, serde::Serialize)]
#[command(name = "lora-merge", version, after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    /// Base model: a Hugging Face folder or a GGUF file [default: the one named by the adapter's receipt or config].
    #[arg(long, value_name = "MODEL")]
    pub base: Option<PathBuf>,
    /// Adapter folder (PEFT's layout); `-` takes it from an upstream receipt.
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Model folder to write.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: PathBuf,
    /// Replace an existing output.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,
    /// Type of the merged weights [default: the base's; bf16 for a quantised base].
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<Dtype>,
    /// Rows to run through base + adapter and through the merged model; 0 turns the check off.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub check_rows: usize,
    /// Dataset whose first rows are checked [default: rows of pseudo-random ids].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Split of the dataset.
    #[arg(long, value_name = "NAME", default_value = "valid")]
    pub split: String,
    /// Threads of the check [default: as many as this process may use].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

const EXAMPLES: &str = "\
Examples:
  lora-merge --base smollm2.gguf --adapter adapter --out merged
  lora-merge --base smollm2-hf --adapter adapter --dtype f32 --out merged
  lora-train --base m --data d --out a | lora-merge --adapter - --out merged";

/// Type of the merged weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// 32-bit float.
    F32,
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

impl ToolArgs for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Merges, checks, and only then makes the folder final.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    inputs::resolve(&mut args)?;
    let output = write::stage(&args)?;
    let inputs = inputs::open(&args, ui)?;
    args.dtype = Some(inputs.dtype); // the receipt names the type that was chosen
    let moved = write::model(output.path(), &inputs, ui)?;
    write::report(&moved, &inputs, ui);
    let check = check::run(&args, output.path(), &inputs, &moved, ui)?;
    let receipt = write::commit(output, &args, inputs, &moved, check.as_ref(), started)?;
    ui.receipt(&receipt);
    Ok(Status::Done)
}

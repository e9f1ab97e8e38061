//! The command line: every flag is one field, which is also the receipt's key and the YAML key of a pipeline.
use lora_cli::values::{part, rank, threads};
use lora_cli::{ChangedInput, Common, DeviceChoice, OtherBase};
use std::path::PathBuf;

/// Merge an adapter into its base: a model folder that needs no adapter any more.
///
/// Every weight is widened to f32, s·B·A is added, and the sum is rounded once to the output's type. Then a few rows
/// are run through both, and the largest difference of their logits is shown. Several adapters are combined first, each
/// with its weight; with --to-adapter the result stays an adapter, and --diff compares two adapters.
#[derive(Debug, clap::Parser, serde::Serialize)]
#[command(name = "lora-merge", version, after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    /// Base model: a Hugging Face folder, a GGUF file, or `hub:OWNER/NAME[@REVISION][/FILE]` [default: the one named by the
    /// adapter's receipt or config].
    #[arg(long, value_name = "MODEL")]
    pub base: Option<PathBuf>,
    /// Adapter folder (PEFT's or mlx-lm's layout) or hub:OWNER/NAME, may be repeated; `-` takes it from an upstream receipt.
    #[arg(long, value_name = "DIR", required_unless_present = "diff")]
    pub adapter: Vec<PathBuf>,
    /// Bases that are not the adapter's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub other_base: OtherBase,
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,
    /// Folder to write: a model, or with --to-adapter an adapter. A name that ends in .gguf: the GGUF file of the base
    /// again, in which only the adapted weights are new, each in the type that it has there.
    #[arg(long, value_name = "DIR", required_unless_present = "diff")]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Replace an existing output.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,
    /// Weight of each adapter, in their order; may be negative [default: 1 for each].
    #[arg(long, value_name = "W", value_delimiter = ',', allow_hyphen_values = true, help_heading = COMBINING)]
    pub weight: Vec<f64>,
    /// How several adapters become one.
    #[arg(long, value_name = "WAY", default_value = "cat", help_heading = COMBINING)]
    pub combine: Combine,
    /// Rank of the result with --combine svd [default: the largest among the adapters].
    #[arg(long, value_parser = rank, value_name = "N", help_heading = COMBINING)]
    pub rank: Option<usize>,
    /// Share of values kept with --combine ties, dare and dare-ties [default: 0.5].
    #[arg(long, value_parser = part, value_name = "SHARE", help_heading = COMBINING)]
    pub density: Option<f64>,
    /// Seed of the values that dare drops [default: 0].
    #[arg(long, value_name = "N", help_heading = COMBINING)]
    pub seed: Option<u64>,
    /// Write the combined adapter, in PEFT's layout, and no model.
    #[arg(long, conflicts_with_all = ["dtype", "data", "check_rows", "device", "threads", "split"], help_heading = COMBINING)]
    pub to_adapter: bool,
    /// Compare two adapters instead: per module the size of ΔW = s·B·A in each, their cosine and their distance.
    #[arg(long, num_args = 2, value_names = ["A", "B"], help_heading = COMBINING,
          conflicts_with_all = ["adapter", "out", "weight", "to_adapter", "dtype", "data", "rank", "density", "seed", "combine", "check_rows", "device", "threads", "split"])]
    #[serde(skip)]
    pub diff: Vec<PathBuf>,
    /// Type of the merged weights [default: the base's; bf16 for a quantised base, each weight's own if --out ends in
    /// .gguf].
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<Dtype>,
    /// Rows to run through base + adapter and through the merged model; 0 turns the check off.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub check_rows: usize,
    /// Dataset (a folder of lora-prep, or hub:OWNER/NAME of one) whose first rows are checked [default: rows of pseudo-random ids].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Split of the dataset.
    #[arg(long, value_name = "NAME", default_value = SPLIT)]
    pub split: String,
    /// Where the check computes: a GPU if there is one that can do it (auto), cpu, or cuda:N. It computes in 32-bit floats
    /// there, too; what is merged is the same.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Threads of the check [default: as many as this process may use].
    #[arg(long, value_parser = threads, value_name = "N")]
    pub threads: Option<usize>,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

impl Args {
    /// True if the base's GGUF file is written again.
    pub(crate) fn writes_gguf(&self) -> bool {
        let is_gguf = |path: &PathBuf| path.extension().is_some_and(|e| e == "gguf");
        !self.to_adapter && self.out.as_ref().is_some_and(is_gguf)
    }
}

/// The split where nobody names one.
pub(crate) const SPLIT: &str = "valid";

const COMBINING: &str = "Several adapters";

const EXAMPLES: &str = "\
Examples:
  lora-merge --base smollm2.gguf --adapter adapter --out merged
  lora-merge --base smollm2-hf --adapter adapter --dtype f32 --out merged
  lora-merge --base smollm2.gguf --adapter adapter --out merged.gguf
  lora-merge --adapter a --adapter b --weight 0.7,0.3 --out merged
  lora-merge --adapter a --adapter b --combine svd --rank 16 --to-adapter --out both
  lora-merge --diff a b
  lora-train --base m --data d --out a | lora-merge --adapter - --out merged

The sum of adapters is exact with cat, whatever their ranks and scalings: the result has scaling 1. (PEFT's
add_weighted_adapter keeps rsLoRA's √rank on its result, which is then too strong.)";

/// How several adapters become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// The exact sum; its rank is the sum of the ranks.
    Cat,
    /// The best approximation of the sum with --rank; its error is shown.
    Svd,
    /// Sums of the A and of the B: same rank, rough.
    Linear,
    /// TIES: the largest values, the majority's sign, the mean of those that agree.
    Ties,
    /// DARE: values dropped at random, the rest scaled up, then as linear.
    Dare,
    /// DARE's dropping, then TIES' signs and means.
    DareTies,
}

impl Combine {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cat => "cat",
            Self::Svd => "svd",
            Self::Linear => "linear",
            Self::Ties => "ties",
            Self::Dare => "dare",
            Self::DareTies => "dare-ties",
        }
    }
}

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
    /// Each weight's own: of a GGUF file, into a GGUF file.
    Base,
}

impl Dtype {
    /// What keeps a change that this type rounds away.
    pub(crate) fn keeps_more(self) -> &'static str {
        match self {
            Self::Base => {
                "a folder does (--out DIR --dtype f32), or the adapter beside the base (lora-export --adapter, llama-cli \
                 --lora)"
            }
            _ => "--dtype f32 keeps all",
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Base => "the base's own types",
        })
    }
}

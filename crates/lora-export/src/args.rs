//! The command line: every flag is one field, which is also the receipt's key and the YAML key of a pipeline.
use crate::dtype::Dtype;
use lora_cli::values::{at_least_one, not_negative, share};
use lora_cli::{ChangedInput, Common, OtherBase};
use std::path::{Path, PathBuf};

/// Export a model or an adapter to the file that another program runs.
///
/// A Hugging Face folder becomes a GGUF file with tokenizer and chat template, and a GGUF file a Hugging Face folder. An
/// adapter of PEFT, of mlx-lm or in a GGUF file becomes any other of the three (`llama-cli -m base.gguf --lora
/// adapter.gguf`); what a format can't hold is folded into the weights where that is exact, and refused where it isn't.
#[derive(Debug, clap::Parser, serde::Serialize)]
#[command(name = "lora-export", version, after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["model", "adapter"])))]
pub struct Args {
    /// Model to export: a Hugging Face folder, a GGUF file, or `hub:OWNER/NAME[@REVISION][/FILE]`; `-` takes it from an upstream
    /// receipt.
    #[arg(long, value_name = "MODEL", conflicts_with = "base")]
    pub model: Option<PathBuf>,
    /// Adapter to export: a folder of PEFT or mlx-lm, a GGUF LoRA, or hub:OWNER/NAME; `-` takes it from an upstream receipt.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Base model of the adapter [default: the one that the adapter's receipt names].
    #[arg(long, value_name = "MODEL")]
    pub base: Option<PathBuf>,
    /// Bases that are not the adapter's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub other_base: OtherBase,
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,
    /// What to write.
    #[arg(long, value_name = "FORMAT", default_value = "gguf")]
    pub format: Format,
    /// Type of the weights [default: the model's own, bf16 for a quantised one; f32 for an adapter]. Quantised files are
    /// llama.cpp's: the same types for the same tensors, the same bytes.
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<Dtype>,
    /// Also write an Ollama Modelfile beside model.gguf or adapter.gguf: the chat template of the model (or the one that the
    /// adapter was trained with) in Ollama's language, checked character by character against the original, its system
    /// text and its stop texts. Thinking goes with it where Ollama's language can say what the template does; what it does
    /// not get (tools, other ways of reasoning) is said. The commands that run the result are named at the end.
    #[arg(long)]
    pub modelfile: bool,
    /// Name written into the GGUF file's metadata [default: the name of the source].
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Where to write: a file if it ends in .gguf, else a folder that will hold model.gguf, adapter.gguf or the model.
    #[arg(long, value_name = "PATH", required_unless_present = "compare")]
    pub out: Option<PathBuf>,
    /// What an error in each column of a weight matters, for quantised types: a dataset, through which the model is run
    /// (llama.cpp's imatrix), or a file that llama-imatrix or --importance-out wrote.
    #[arg(long, value_name = "PATH", help_heading = QUANTISING)]
    pub importance: Option<PathBuf>,
    /// Rows of the dataset's split `train` that are measured.
    #[arg(long, value_parser = at_least_one, value_name = "N", default_value_t = 256, requires = "importance", help_heading = QUANTISING)]
    pub importance_rows: usize,
    /// Also write what was measured, as llama-imatrix does.
    #[arg(long, value_name = "FILE", requires = "importance", help_heading = QUANTISING)]
    pub importance_out: Option<PathBuf>,
    /// Read the written model back, and run rows of this dataset through it and through base + adapter (where the merged
    /// model's receipt names them; else through the model itself): KL divergence, agreement and perplexity.
    #[arg(long, value_name = "DATASET", help_heading = PROOF)]
    pub verify: Option<PathBuf>,
    /// Rows that are run.
    #[arg(long, value_parser = at_least_one, value_name = "N", default_value_t = 32, requires = "verify", help_heading = PROOF)]
    pub verify_rows: usize,
    /// Split of the dataset.
    #[arg(long, value_name = "NAME", default_value = SPLIT, requires = "verify", help_heading = PROOF)]
    pub split: String,
    /// Exit with 1 if the mean KL divergence is larger, in nats a token.
    #[arg(long, value_parser = not_negative, value_name = "NATS", requires = "verify", help_heading = PROOF)]
    pub max_kl: Option<f64>,
    /// Exit with 1 if the likeliest token is the same at a smaller share of places, e.g. 0.95.
    #[arg(long, value_parser = share, value_name = "SHARE", requires = "verify", help_heading = PROOF)]
    pub min_agreement: Option<f64>,
    /// Write no file, but show what each of these types costs, in one table.
    #[arg(long, value_name = "TYPES", value_delimiter = ',', requires = "verify", help_heading = PROOF,
          conflicts_with_all = ["out", "dtype", "modelfile", "adapter", "max_kl", "min_agreement"])]
    #[serde(skip)]
    pub compare: Vec<Dtype>,
    /// Replace an existing output.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

const QUANTISING: &str = "Quantised types";

const PROOF: &str = "Proof";

/// The split where nobody names one.
pub(crate) const SPLIT: &str = "valid";

const EXAMPLES: &str = "\
Examples:
  lora-export --model merged --dtype q4_k_m --out model.gguf
  lora-export --model merged --dtype q4_k_m --importance data --verify data --max-kl 0.05 --out model.gguf
  lora-export --model merged --verify data --compare q4_k_m,q5_k_m,q8_0
  lora-export --adapter adapter --base smollm2.gguf --out adapter.gguf
  lora-export --adapter mlx-adapter --base smollm2-hf --format peft --out adapter
  lora-export --model smollm2.gguf --format hf --out smollm2-hf
  lora-export --model merged --dtype q4_k_m --modelfile --out ollama && ollama create mine -f ollama/Modelfile
  lora-merge --base m --adapter a --out merged | lora-export --model - --out model.gguf";

/// Kind of file to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One file for llama.cpp and its kin.
    Gguf,
    /// A folder for transformers and its kin (models).
    Hf,
    /// A folder for PEFT and its kin (adapters).
    Peft,
    /// A folder for mlx-lm (adapters).
    Mlx,
}

impl Format {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Hf => "hf",
            Self::Peft => "peft",
            Self::Mlx => "mlx",
        }
    }
}

impl Args {
    /// Where to write; nowhere with --compare.
    pub(crate) fn out_path(&self) -> &Path {
        self.out.as_deref().unwrap_or_else(|| Path::new(""))
    }

    /// True if the output is one GGUF file.
    pub(crate) fn is_single(&self) -> bool {
        self.out_path().extension().is_some_and(|e| e == "gguf")
    }
}

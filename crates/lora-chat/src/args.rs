//! The command line: every flag is one field.
use lora_cli::values::{at_least_one, threads};
use lora_cli::{ChangedInput, Common, DeviceChoice, OtherBase, Result, SamplingArgs, ToolArgs};
use std::path::PathBuf;

/// Talk to a model and its adapters: in a terminal, or prompts in and answers out.
///
/// At a terminal you type and the model answers, written with its own chat template (an adapter's, where it was trained
/// with another); Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands. Through a pipe each line of stdin is a
/// prompt: a JSON object (`{"prompt": …}` or `{"messages": […]}`, `id` and `system` if you like) is answered by a JSON
/// line, plain text by text. For trying and comparing, not for production.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-chat", version, after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    /// Base model: a Hugging Face folder or a GGUF file.
    #[arg(long, value_name = "MODEL")]
    pub base: PathBuf,
    /// Adapter folder (PEFT's layout), may be repeated; the first one answers until you say otherwise.
    #[arg(long, value_name = "DIR")]
    pub adapter: Vec<PathBuf>,
    /// Bases that are not the adapter's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub other_base: OtherBase,
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,
    /// System message, in place of the model's own; an empty text is none.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value = "512")]
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Where to compute: a GPU if there is one that can do it (auto), cpu, or cuda:N. A GPU computes in bfloat16.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Threads [default: as many as this process may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

const EXAMPLES: &str = "\
Examples:
  lora-chat --base smollm2.gguf
  lora-chat --base data/tiny-chat --adapter work/adapter --temperature 0.7
  lora-chat --base m --adapter a < prompts.jsonl > answers.jsonl
  echo 'Remind me to call Ann on friday' | lora-chat --base m --adapter a";

impl ToolArgs for Args {
    const OUTPUTS: &'static [&'static str] = &[];

    fn check(&self) -> Result<()> {
        self.check_values()
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

impl Args {
    /// Refuses values that are none, before any file is opened.
    pub(crate) fn check_values(&self) -> Result<()> {
        self.sampling.check()?;
        Ok(())
    }
}

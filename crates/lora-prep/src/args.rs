//! The command line: every flag is one field, which is also the receipt's key and the YAML key of a pipeline.
use lora_cli::{Common, Error, Result, ToolArgs};
use std::path::PathBuf;

/// Turn raw records into a dataset: rendered with the model's chat template, tokenised, masked and split.
///
/// Rows are recognised by their keys: messages (system, user, assistant, tool) | conversations (ShareGPT) | prompt +
/// completion | instruction (+ input) + output (Alpaca) | text. Files are JSON lines, a JSON array, CSV, TSV or parquet.
/// Only the completion is learned (of a chat: the last assistant message), with the token that ends its turn; of text
/// rows every token is. A file that can't be read or a row without known keys is an error; a row that can be read but
/// not used (empty, too long, a duplicate) is refused and counted by its reason. Rows with the same prompt never stand
/// in two splits.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-prep", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    #[command(subcommand)]
    #[serde(skip)]
    pub(crate) command: Option<Command>,
    /// Raw records; `-` reads JSON lines from standard input.
    #[arg(required = true, value_name = "RAW")]
    pub raw: Vec<PathBuf>,
    /// Model whose tokenizer and chat template are used: a Hugging Face folder (weights are not needed) or a GGUF file;
    /// `-` takes it from an upstream receipt.
    #[arg(long, value_name = "MODEL", required = true)]
    pub base: Option<PathBuf>,
    /// Folder to write: train.parquet, valid.parquet, test.parquet, dataset.json, receipt.json.
    #[arg(long, value_name = "DIR", required = true)]
    #[serde(skip)]
    pub out: Option<PathBuf>,
    /// Replace an existing output.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,

    /// Share of the prompts held out to watch the training.
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true, default_value = "0.1", help_heading = "Splits")]
    pub valid: f64,
    /// Share of the prompts held out for the last word.
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true, default_value = "0", help_heading = "Splits")]
    pub test: f64,
    /// Seed of the split: a prompt's split depends on its text and this alone.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        help_heading = "Splits"
    )]
    pub seed: u64,

    /// Refuse rows of more tokens [default: 1024, or the model's context if that is shorter].
    #[arg(long, value_name = "N", value_parser = at_least_two, help_heading = "Rows")]
    pub max_length: Option<usize>,
    /// Read only the first N rows.
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Rows")]
    pub limit: Option<usize>,
    /// Keep rows whose prompt and completion stood further up; otherwise they are refused.
    #[arg(long, help_heading = "Rows")]
    pub keep_duplicates: bool,
    /// Keep this column of the raw rows in the dataset, for lora-eval's --slice and --references; may be repeated.
    #[arg(
        long,
        value_name = "COLUMN",
        conflicts_with = "text_block",
        help_heading = "Rows"
    )]
    pub keep: Vec<String>,
    /// Join text rows, each with the end-of-text token, and cut them into rows of N tokens (for pre-training).
    #[arg(long, value_name = "N", value_parser = at_least_two, help_heading = "Rows")]
    pub text_block: Option<usize>,

    /// System message for rows that bring none; goes with what is trained into model, GGUF and Modelfile.
    #[arg(long, value_name = "TEXT", help_heading = "Template")]
    pub system: Option<String>,
    /// Jinja chat template in place of the model's own; goes with what is trained into model, GGUF and Modelfile.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "no_chat_template",
        help_heading = "Template"
    )]
    pub template: Option<PathBuf>,
    /// Join prompt and completion as they are (models without a template are always treated so).
    #[arg(long, help_heading = "Template")]
    pub no_chat_template: bool,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

/// What else the tool does.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Print rows of a dataset with the supervised tokens marked.
    Show(ShowArgs),
}

/// Which rows to print.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ShowArgs {
    /// Dataset folder or parquet file; `-` takes it from an upstream receipt.
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Split to print.
    #[arg(long, value_name = "NAME", default_value = "train")]
    pub(crate) split: String,
    /// Rows to print.
    #[arg(short, long = "rows", value_name = "N", default_value_t = 3)]
    pub(crate) n: usize,
    /// Rows to leave out before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) skip: usize,
    /// Model whose tokenizer decodes the ids [default: the one that the dataset's receipt names].
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<PathBuf>,
    /// Print the ids too.
    #[arg(long)]
    pub(crate) ids: bool,
}

const EXAMPLES: &str = "\
Examples:
  lora-prep tasks.jsonl --base data/tiny-chat --out work/dataset
  zcat raw.jsonl.gz | lora-prep - --base model.gguf --out work/dataset --valid 0.05 --max-length 2048
  lora-prep corpus.jsonl --base model --out work/text --text-block 256
  lora-prep show work/dataset --split valid -n 5";

impl ToolArgs for Args {
    fn check(&self) -> Result<()> {
        self.refuse_contradictions()
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

impl Args {
    /// Checks what flags say together.
    pub(crate) fn refuse_contradictions(&self) -> Result<()> {
        if self.valid + self.test >= 1.0 {
            return Err(Error::new(format!(
                "--valid {} and --test {} leave nothing to train on",
                self.valid, self.test
            ))
            .hint("together they must be below 1"));
        }
        if let (Some(block), Some(most)) = (self.text_block, self.max_length)
            && block > most
        {
            return Err(Error::new(format!(
                "--text-block {block} is more than --max-length {most}"
            )));
        }
        let dash = |path: &&PathBuf| path.as_os_str() == "-";
        if self
            .raw
            .iter()
            .chain(self.base.as_ref())
            .filter(dash)
            .count()
            > 1
        {
            return Err(Error::new(
                "standard input (-) can stand for one input only",
            ));
        }
        Ok(())
    }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err("a share is from 0 to below 1".to_owned())
    }
}

fn at_least(least: usize, text: &str) -> Result<usize, String> {
    let value: usize = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if value >= least {
        Ok(value)
    } else {
        Err(format!("must be at least {least}"))
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    at_least(1, text)
}

fn at_least_two(text: &str) -> Result<usize, String> {
    at_least(2, text)
}

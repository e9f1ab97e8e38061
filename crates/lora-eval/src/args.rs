//! The command line: every flag is one field, which is also the receipt's key and the YAML key of a pipeline.
use crate::bound::Bound;
use lora_cli::values::{at_least_one, not_negative, share, threads, tokens, within};
use lora_cli::{ChangedInput, Common, DeviceChoice, OtherBase, Result, SamplingArgs};
use std::path::PathBuf;
use std::str::FromStr;

/// The split where nobody names one.
pub(crate) const SPLIT: &str = "valid";

/// `--references same-prompt`: each row's answer is right for every row with its prompt.
pub(crate) const SAME_PROMPT: &str = "same-prompt";

/// Measure a model and its adapters on held-out data: losses, metrics of answers, slices; pass or fail gates.
///
/// The base is always measured, so that every adapter's figures stand beside it. The losses' means are over supervised
/// tokens, as in training. The error of a difference is taken over prompts, not over tokens. Several adapters are
/// measured on one loaded base and compared with each other: which is better, and whether that is more than noise
/// (p-values are corrected for all comparisons of the report). Answers are also held against what other prompts expect:
/// a figure that is not above that is no success.
#[derive(Debug, clap::Parser, serde::Serialize)]
#[command(name = "lora-eval", version, after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    /// Base model: a Hugging Face folder, a GGUF file, or `hub:OWNER/NAME[@REVISION][/FILE]`.
    #[arg(long, value_name = "MODEL")]
    pub base: PathBuf,
    /// Dataset folder of lora-prep, hub:OWNER/NAME of one, or a parquet file with input_ids and labels; `-` takes it from an
    /// upstream receipt.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Adapter folder (PEFT's layout) or hub:OWNER/NAME, may be repeated; `-` takes it from an upstream receipt.
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
    /// Folder to write: report.json, predictions.jsonl, receipt.json.
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub out: PathBuf,
    /// Replace an existing output.
    #[arg(long)]
    #[serde(skip)]
    pub force: bool,
    /// Split to measure on.
    #[arg(long, value_name = "NAME", default_value = SPLIT)]
    pub split: String,
    /// Use only the first N rows of the split.
    #[arg(long, value_parser = at_least_one, value_name = "N")]
    pub limit: Option<usize>,
    /// Rows to answer by generation: a number, or `all`; 0 turns it off.
    #[arg(long, value_name = "N|all", default_value = "200")]
    pub generate: Rows,
    /// Longest answer, in tokens [default: the longest completion among the rows, and a few more].
    #[arg(long, value_parser = tokens, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// Answers to a prompt: with more than one, the share of prompts of which one of k is right (pass@k) and the most
    /// frequent answer (majority) are measured; the other metrics are of the first.
    #[arg(
        long,
        value_parser = samples,
        value_name = "N",
        default_value = "1",
        help_heading = "Generation"
    )]
    pub samples: usize,
    /// How tokens are chosen.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingArgs,
    /// Metrics of the answers: exact_match, normalized_match, contains, token_f1, rouge_l, rouge_l_stem, bleu, chrf,
    /// numeric, json_valid, json_fields, tool_name, tool_call [default: what fits the data]. Losses are always measured.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = METRICS)]
    pub metrics: Option<Vec<String>>,
    /// A metric of your own, `NAME=CMD`: the command reads answers as JSON lines (id, model, prompt, answer, references)
    /// and writes a score a line, more being better.
    #[arg(long, value_name = "NAME=CMD", help_heading = METRICS)]
    pub metric_command: Vec<String>,
    /// The part of an answer (and of what is expected) that counts: the first group of the first match, in Python's syntax.
    #[arg(long, value_name = "PATTERN", help_heading = METRICS)]
    pub regex: Option<String>,
    /// Further right answers: a column with a list of them, or `same-prompt` for those of all rows with the prompt.
    #[arg(long, value_name = "COLUMN", help_heading = METRICS)]
    pub references: Option<String>,
    /// Multiple choice by likelihood: a column (lora-prep --keep) with a list of choices, one of which is the row's
    /// completion. Adds acc (the right one is the most probable) and acc_norm (by character
    /// of its text) and acc_bytes.
    #[arg(long, value_name = "COLUMN", help_heading = METRICS)]
    pub choices: Option<String>,
    /// Show the figures for each value of this column (lora-prep --keep), may be repeated.
    #[arg(long, value_name = "COLUMN", help_heading = METRICS)]
    pub slice: Vec<String>,
    /// Gate: a metric and its bound, a number or the base: `rouge_l >= 0.4`, `loss <= base + 0.02`. May be repeated.
    #[arg(
        long,
        alias = "gate",
        value_name = "BOUND",
        help_heading = "Gates (exit 1 when one does not pass)"
    )]
    pub gates: Vec<Bound>,
    /// Gate: every adapter's loss is below the base's with the whole 95 % interval of the difference, and rises where
    /// prompts are swapped between rows: else only the form of the answers got better.
    #[arg(long, help_heading = "Gates (exit 1 when one does not pass)")]
    pub must_beat_base: bool,
    /// Gate: every adapter's mean loss (the base's, without adapters) is at most X nats a token.
    #[arg(
        long,
        value_parser = not_negative,
        value_name = "X",
        help_heading = "Gates (exit 1 when one does not pass)"
    )]
    pub max_nll: Option<f64>,
    /// Gate: every adapter (the base, without adapters) answers at least this share of rows exactly, 0 to 1.
    #[arg(
        long,
        value_parser = share,
        value_name = "SHARE",
        help_heading = "Gates (exit 1 when one does not pass)"
    )]
    pub min_exact_match: Option<f64>,
    /// A second dataset on which no adapter may get worse: a folder of lora-prep (the same split), or `default` for a
    /// neutral text and common questions of this project's own.
    #[arg(
        long,
        value_name = "DIR|default",
        help_heading = "Gates (exit 1 when one does not pass)"
    )]
    pub guard: Option<String>,
    /// How far an adapter's loss on the guard may be above the base's, nats a token, with the whole 95 % interval: 0.2 is
    /// a perplexity that is a fifth higher.
    #[arg(
        long,
        value_parser = not_negative,
        value_name = "X",
        default_value_t = 0.2,
        requires = "guard",
        help_heading = "Gates (exit 1 when one does not pass)"
    )]
    pub max_drop: f64,
    /// Tokens that are scored together; changes speed and memory, the result by rounding alone.
    #[arg(long, value_parser = at_least_one, value_name = "N", default_value_t = 1024)]
    pub batch_tokens: usize,
    /// Where to compute: a GPU if there is one that can do it (auto), cpu, or cuda:N. A GPU computes in bfloat16.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Threads [default: as many as this process may use].
    #[arg(long, value_parser = threads, value_name = "N")]
    pub threads: Option<usize>,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

const METRICS: &str = "Metrics of the answers";

const EXAMPLES: &str = "\
Examples:
  lora-eval --base smollm2.gguf --data dataset --out base-report
  lora-eval --base smollm2.gguf --data dataset --adapter adapter --must-beat-base --out report
  lora-eval --base m --data d --adapter a --adapter b --generate all --min-exact-match 0.9 --out report
  lora-eval --base m --data d --adapter a --metrics rouge_l,chrf --gate 'rouge_l >= 0.4' --gate 'loss <= base + 0.02' --out report
  lora-train --base m --data d --out a | lora-eval --base m --data d --adapter - --out report";

/// Most answers to a prompt.
const MOST_SAMPLES: usize = 1000;

fn samples(text: &str) -> Result<usize, String> {
    within(text, 1..=MOST_SAMPLES)
}

/// How many rows are answered by generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Every row.
    All,
    /// The first N rows.
    First(usize),
}

impl FromStr for Rows {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            n => n
                .parse()
                .map(Self::First)
                .map_err(|_| format!("expected a number of rows or `all`, not `{n}`")),
        }
    }
}

impl serde::Serialize for Rows {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::First(n) => serializer.serialize_u64(*n as u64),
        }
    }
}

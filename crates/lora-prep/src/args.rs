//! The command line: every flag is one field, which is also the receipt's key and the YAML key of a pipeline.
use lora_cli::values::{at_least_one, below_one, length, part, threads};
use lora_cli::{ChangedInput, Common, Error, Result, ToolArgs};
use lora_data::{Learn, Overlength, PromptTemplate, Reading, Rules};
use std::path::PathBuf;

/// Turn raw records into a dataset: rendered with the model's chat template, tokenised, masked and split.
///
/// Rows are recognised by their keys: messages (OpenAI's) | conversations (ShareGPT) | prompt + completion | instruction
/// (+ input) + output (Alpaca) | instruction (+ context) + response (Dolly) | query + response | question + answer |
/// input + output | text; beside them system, tools, history, chat_template_kwargs. --columns names other keys. Files are
/// JSON lines, a JSON array, CSV, TSV, parquet or Arrow, packed with gzip, zstd or xz or not. Of a chat all answers are learned, of the others the completion, each
/// with the token that ends its turn; of text rows every token is. Keys that are not read are counted and named. A file
/// that can't be read or a row without known keys is an error; a row that can be read but not used (empty, too long, a
/// duplicate, of another meaning) is refused and counted by its reason. Rows with the same prompt never stand in two
/// splits.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-prep", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[serde(rename_all = "kebab-case")]
pub struct Args {
    #[command(subcommand)]
    #[serde(skip)]
    pub(crate) command: Option<Command>,
    /// Raw records: files, folders, patterns ("rows/*.jsonl"), `hub:OWNER/NAME[@REVISION][/FILE]` of a dataset; `-` reads
    /// standard input.
    #[arg(required = true, value_name = "RAW")]
    pub raw: Vec<PathBuf>,
    /// Model whose tokenizer and chat template are used: a Hugging Face folder (weights are not needed), a GGUF file, or
    /// `hub:OWNER/NAME[@REVISION][/FILE]`; `-` takes it from an upstream receipt.
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
    /// Inputs that have changed since a tool wrote them.
    #[command(flatten)]
    #[serde(flatten)]
    pub changed_input: ChangedInput,

    /// Share of the prompts held out to watch the training [default: 0.1, or 0 where files or folders bring their own].
    #[arg(long, value_name = "SHARE", value_parser = below_one, allow_negative_numbers = true, conflicts_with = "valid_file", help_heading = "Splits")]
    pub valid: Option<f64>,
    /// Share of the prompts held out for the last word.
    #[arg(long, value_name = "SHARE", value_parser = below_one, allow_negative_numbers = true, default_value = "0", conflicts_with = "test_file", help_heading = "Splits")]
    pub test: f64,
    /// Raw records that watch the training. A folder with files train…, valid… (or val, dev) and test… is read so as well.
    #[arg(long, value_name = "FILE", help_heading = "Splits")]
    pub valid_file: Vec<PathBuf>,
    /// Raw records for the last word.
    #[arg(long, value_name = "FILE", help_heading = "Splits")]
    pub test_file: Vec<PathBuf>,
    /// Key whose equal values keep rows in one split (a document, a user, a conversation).
    #[arg(long, value_name = "KEY", help_heading = "Splits")]
    pub group: Option<String>,
    /// Keep prompts in one split that share this part of their pieces of five letters, e.g. 0.9. Case, spaces and
    /// punctuation never count.
    #[arg(long, value_name = "SHARE", value_parser = part, help_heading = "Splits")]
    pub near: Option<f64>,
    /// Seed of the split: a prompt's split depends on its text and this alone (of fewer than 30 prompts, on the others too).
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        help_heading = "Splits"
    )]
    pub seed: u64,

    /// Most tokens of a row [default: 2048, or the model's context if that is shorter].
    #[arg(long, value_name = "N", value_parser = length, help_heading = "Rows")]
    pub max_length: Option<usize>,
    /// Rows of more tokens: refuse them, drop the oldest turns of chats, truncate-left or truncate their tokens, or end
    /// with an error.
    #[arg(long, value_name = "HOW", value_parser = ["refuse", "drop-turns", "truncate-left", "truncate", "error"], default_value = "refuse", help_heading = "Rows")]
    pub overlength: String,
    /// Rows that can't be read or have no known keys: end with an error, or skip and count them. A file that is cut off is
    /// an error in any case.
    #[arg(long, value_name = "HOW", value_parser = ["error", "skip"], default_value = "error", help_heading = "Rows")]
    pub on_bad_line: String,
    /// What stands between the values of CSV tables, or of a table in a stream without a name: a character, or `tab`
    /// [default: what their first line has].
    #[arg(long, value_name = "CHAR", value_parser = separator, help_heading = "Rows")]
    pub separator: Option<char>,
    /// Keys that the rows have in place of a layout's, e.g. prompt=question,completion=answer.
    #[arg(long, value_name = "NAME=KEY,…", value_delimiter = ',', value_parser = column, help_heading = "Rows")]
    pub columns: Vec<(String, String)>,
    /// Text that makes the prompt, with {KEY} where a row's value stands, e.g. "{context}\n\n{question}"; \n is a
    /// line break, \t a tab, \\ a backslash.
    #[arg(long, value_name = "TEXT", value_parser = prompt_template, help_heading = "Rows")]
    pub prompt_template: Option<String>,
    /// Keys that are left out as if the rows had them not.
    #[arg(
        long,
        value_name = "KEY,…",
        value_delimiter = ',',
        help_heading = "Rows"
    )]
    pub ignore: Vec<String>,
    /// Share of the rows drawn that come from a source (a file, folder or pattern as it is named above), e.g.
    /// chats.jsonl=0.7; as many rows are drawn as the scarcest source allows, none twice. May be repeated.
    #[arg(long, value_name = "RAW=SHARE", value_parser = weight, help_heading = "Mixture")]
    pub weight: Vec<(PathBuf, f64)>,
    /// Rows that are drawn from a source, by the seed; the others are taken whole, or by weight. May be repeated.
    #[arg(long, value_name = "RAW=N", value_parser = take, help_heading = "Mixture")]
    pub take: Vec<(PathBuf, usize)>,
    /// Write nothing if more than this share of the rows is refused, e.g. 0.05.
    #[arg(long, value_name = "SHARE", value_parser = below_one, allow_negative_numbers = true, help_heading = "Rows")]
    pub max_refused: Option<f64>,
    /// Prepare only the first N rows. A pipe is read to its end all the same: its hash stands in the receipt.
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
    #[arg(long, value_name = "N", value_parser = length, help_heading = "Rows")]
    pub text_block: Option<usize>,

    /// What of a chat is learned: the last answer, all answers, or all messages of some roles (e.g. assistant,tool)
    /// [default: all answers; where a row holds prompt and completion apart, the completion]. A message's own weight,
    /// train or loss of 0 leaves it out.
    #[arg(long, value_name = "WHAT", value_parser = learn, help_heading = "Learning")]
    pub learn: Option<String>,
    /// Messages that hold a control token of the model (such as <|im_end|>), which would end their turn: refuse their
    /// rows, escape it (tokenise its characters) or keep it. Text without a template keeps its own.
    #[arg(long, value_name = "HOW", value_parser = ["refuse", "escape", "keep"], default_value = "refuse", help_heading = "Learning")]
    pub special_in_text: String,

    /// New special tokens, in texts or in a template: with commas between them, or a file with one a line. The dataset carries
    /// the tokenizer that knows them; what is trained on it gets rows for them, which begin as the mean of the others.
    #[arg(long, value_name = "TOKENS|FILE", help_heading = "Template")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_tokens: Vec<String>,
    /// System message for rows that bring none; goes with what is trained into model, GGUF and Modelfile.
    #[arg(long, value_name = "TEXT", help_heading = "Template")]
    pub system: Option<String>,
    /// Put system messages at the start of the first user message, for models whose chats have none.
    #[arg(long, help_heading = "Template")]
    pub system_into_user: bool,
    /// Date that templates write which ask for today's (strftime_now), e.g. 2026-11-27; without it they write their own.
    #[arg(long, value_name = "DATE", value_parser = lora_data::date, help_heading = "Template")]
    pub date: Option<String>,
    /// Jinja chat template in place of the model's own; goes with what is trained into model, GGUF and Modelfile.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "no_chat_template",
        help_heading = "Template"
    )]
    pub template: Option<PathBuf>,
    /// Which of the model's named chat templates is used, where it has several (`default`, `tool_use`, `rag`).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["template", "no_chat_template"], help_heading = "Template")]
    pub template_name: Option<String>,
    /// Join prompt and completion as they are (models without a template are always treated so).
    #[arg(long, help_heading = "Template")]
    pub no_chat_template: bool,
    /// Threads that encode rows [default: all cores].
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Machine")]
    #[serde(skip)]
    pub threads: Option<usize>,
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
    /// Print what a dataset holds: lengths, supervised share, duplicates, refused rows, sources, a histogram.
    Stats(StatsArgs),
}

/// Which dataset is counted.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StatsArgs {
    /// Dataset folder or parquet file; `-` takes it from an upstream receipt.
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Write the histogram of the lengths as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

/// Which rows to print.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ShowArgs {
    /// Dataset folder or parquet file; `-` takes it from an upstream receipt.
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Split to print.
    #[arg(long, value_name = "NAME", default_value = SPLIT)]
    pub(crate) split: String,
    /// Rows to print [default: 3, or 1000 in a page].
    #[arg(short, long = "rows", value_name = "N")]
    pub(crate) n: Option<usize>,
    /// Write the rows as one HTML page to scroll.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
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

/// The split that is printed where nobody names one.
pub(crate) const SPLIT: &str = "train";

const EXAMPLES: &str = "\
Examples:
  lora-prep tasks.jsonl --base data/tiny-chat --out work/dataset
  cat raw.jsonl.gz | lora-prep - --base model.gguf --out work/dataset --valid 0.05 --max-length 2048
  lora-prep corpus.jsonl --base model --out work/text --text-block 256
  lora-prep calls.jsonl --base model --out work/calls --add-tokens '<|call|>,<|result|>'
  lora-prep chats.jsonl notes.jsonl --base model --out work/mixed --weight chats.jsonl=0.7 --weight notes.jsonl=0.3
  lora-prep show work/dataset --split valid -n 5
  lora-prep stats work/dataset --svg lengths.svg";

impl ToolArgs for Args {
    fn check(&self) -> Result<()> {
        let valid = self.valid.unwrap_or(0.0);
        if valid + self.test >= 1.0 {
            return Err(Error::new(format!(
                "--valid {valid} and --test {} leave nothing to train on",
                self.test
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
        Ok(())
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

impl Args {
    /// How the keys of rows are read.
    pub(crate) fn reading(&self) -> Reading {
        let prompt = self.prompt_template.as_ref();
        Reading {
            columns: self.columns.clone(),
            prompt: prompt.and_then(|text| text.parse().ok()),
            ignored: self.ignore.clone(),
        }
    }

    /// What is learned of rows, and how they are changed.
    pub(crate) fn rules(&self) -> Rules {
        let learn = self.learn.as_deref();
        Rules {
            system: self.system.clone(),
            learn: learn.and_then(|text| text.parse().ok()).unwrap_or_default(),
            special_in_text: self.special_in_text.parse().unwrap_or_default(),
            system_into_user: self.system_into_user,
            tools_elsewhere: false,
        }
    }

    /// Rows are drawn of their sources, not all taken.
    pub(crate) fn draws(&self) -> bool {
        !self.weight.is_empty() || !self.take.is_empty()
    }

    /// Threads that encode rows.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(lora_cli::cores)
    }

    /// Bad lines are counted, not errors.
    pub(crate) fn skips_bad_lines(&self) -> bool {
        self.on_bad_line == "skip"
    }

    /// What is done with rows that are too long.
    pub(crate) fn overlength(&self) -> Overlength {
        self.overlength.parse().unwrap_or_default()
    }
}

fn column(text: &str) -> Result<(String, String), String> {
    let (name, key) = text
        .split_once('=')
        .ok_or_else(|| "NAME=KEY is needed, e.g. prompt=question".to_owned())?;
    match lora_data::LAYOUT_KEYS.contains(&name) {
        true => Ok((name.to_owned(), key.to_owned())),
        false => Err(format!(
            "'{name}' is no key of a layout: one of {}",
            lora_data::LAYOUT_KEYS.join(", ")
        )),
    }
}

fn separator(text: &str) -> Result<char, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok('\t'),
        [one] if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r' | 0) => Ok(char::from(*one)),
        _ => Err("one character such as `;`, or `tab`".to_owned()),
    }
}

fn of_source(text: &str) -> Result<(PathBuf, &str), String> {
    let (path, value) = text
        .rsplit_once('=')
        .ok_or_else(|| "RAW=NUMBER is needed, e.g. chats.jsonl=0.7".to_owned())?;
    Ok((path.into(), value))
}

fn weight(text: &str) -> Result<(PathBuf, f64), String> {
    let (path, value) = of_source(text)?;
    match value.parse::<f64>() {
        Ok(share) if share > 0.0 && share.is_finite() => Ok((path, share)),
        _ => Err("a weight is a number above 0".to_owned()),
    }
}

fn take(text: &str) -> Result<(PathBuf, usize), String> {
    let (path, value) = of_source(text)?;
    at_least_one(value).map(|count| (path, count))
}

fn prompt_template(text: &str) -> Result<String, String> {
    // A shell gives \n as two characters.
    let mut made = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        made.push(match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('t')) => '\t',
            ('\\', Some('\\')) => '\\',
            ('\\', _) => {
                return Err(
                    "\\n is a line break and \\t a tab: write \\\\ for a backslash".to_owned(),
                );
            }
            (c, _) => c,
        });
    }
    let text = made;
    text.parse::<PromptTemplate>().map(|_| text)
}

fn learn(text: &str) -> Result<String, String> {
    text.parse::<Learn>().map(|_| text.to_owned())
}

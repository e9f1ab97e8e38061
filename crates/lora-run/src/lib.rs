//! lora-run: executes a pipeline file step by step, and skips what is done already. Knows nothing of models.
mod arguments;
mod attempt;
mod ending;
mod execute;
mod file;
mod guard;
mod hub;
mod live;
mod lockfile;
mod origin;
mod prepare;
mod process;
mod ready;
mod record;
mod report;
mod resolve;
mod run;
mod secret;
mod tools;
mod values;
mod verify;
mod yaml;

pub use guard::enter as enter_guard;

use file::Source;
use lora_cli::{Common, Result, Status, ToolArgs, Ui};
use run::Force;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Runs a pipeline: the steps of a YAML file in order, each one only if something it depends on has changed.
///
/// Step S of pipeline P writes WORK/P/S, with its log in WORK/P/S.log; P.lock beside the file says what was made.
#[derive(Debug, Clone, clap::Parser, serde::Serialize)]
#[command(name = "lora-run", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    #[serde(skip)]
    pub(crate) command: Option<Command>,
    /// The pipeline file.
    #[arg(required = true)]
    pub pipeline: Option<PathBuf>,
    /// Gives a param of the pipeline another value (repeatable).
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, Value)>,
    /// Prints the command lines and what would run, and does nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Runs nothing: hashes all outputs again and everything that they came from; exit 1 if something has changed.
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    pub check: bool,
    /// Runs all steps, or one, although nothing changed.
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "")]
    pub force: Option<String>,
    /// The folder under which outputs, logs and records lie.
    #[arg(long, value_name = "DIR", default_value = "work")]
    pub work: PathBuf,
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

/// What lora-run does beside running a pipeline.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Hash outputs again, everything that they were made from, and so on down to the raw files.
    Verify(verify::VerifyArgs),
}

const EXAMPLES: &str = "Examples:
  lora-run pipelines/finetune.yaml
  lora-run pipelines/finetune.yaml --dry-run
  lora-run pipelines/finetune.yaml --set rank=32 --set lr=1e-4
  lora-run pipelines/finetune.yaml --force train
  lora-run pipelines/finetune.yaml --check
  lora-run verify work/finetune/merge";

impl ToolArgs for Args {
    const OUTPUTS: &'static [&'static str] = &[];

    fn common(&self) -> &Common {
        &self.common
    }
}

/// Runs the tool.
///
/// # Errors
/// When the pipeline is not right (before anything runs), when a step fails, or on Ctrl-C.
pub fn run(args: Args, ui: &Ui) -> Result<Status> {
    if let Some(Command::Verify(args)) = &args.command {
        return verify::paths(ui, args);
    }
    let source = Source::read(args.pipeline.as_deref().unwrap_or(Path::new("")))?;
    let steps = resolve::resolve(&source, &args.set, &args.work)?;
    if args.check {
        return verify::steps(ui, steps.iter());
    }
    let force = match args.force {
        None => Force::Nothing,
        Some(name) if name.is_empty() => Force::All,
        Some(name) => Force::Step(name),
    };
    force.check(&steps)?;
    let mut pins = hub::Pins::new(!args.dry_run);
    let ready = prepare::prepare(&source, steps, &mut pins)?;
    if args.dry_run {
        pins.say_unasked(ui);
        run::dry_run(ui, &ready, &force)
    } else {
        run::run(ui, &source, &ready, &force, &args.work)
    }
}

/// Reads a pipeline and resolves its names, without a look at its tools or inputs: gives the number of its steps.
///
/// # Errors
/// When the file is no pipeline, with line and column.
pub fn check(pipeline: &Path) -> Result<usize> {
    let source = Source::read(pipeline)?;
    let steps = resolve::resolve(&source, &[], Path::new("work"))?;
    Ok(steps.len())
}

/// `KEY=VALUE` of `--set`; the value is read as in the file.
fn key_value(text: &str) -> std::result::Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    let value: Value = yaml::parse(value).map_err(|e| e.message)?;
    if value.is_null() {
        Err("expected KEY=VALUE, not an empty value".to_owned())
    } else {
        Ok((key.to_owned(), value))
    }
}

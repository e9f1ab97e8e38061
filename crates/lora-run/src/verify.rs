//! `lora-run verify` and `--check`: outputs and all that they came from, hashed again.
use crate::resolve::Step;
use lora_cli::{Result, Status, Ui};
use lora_receipt::{Found, State, verify};
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Hashes outputs again, everything that they were made from, and so on down to the raw files.
///
/// Exit 0 if all of it is what the receipts say, 1 if something has changed, is gone, or was made again since it was read.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Outputs of lora tools: folders, or files with a receipt beside them.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  lora-run verify work/finetune/train
  lora-run verify model.gguf adapter && echo as they were made
  lora-run pipelines/finetune.yaml --check";

/// Looks at the outputs that were named.
pub(crate) fn paths(ui: &Ui, args: &VerifyArgs) -> Result<Status> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for path in &args.paths {
        ui.check_interrupt()?;
        add(&mut all, verify(path, &mut seen)?);
    }
    told(ui, &all)
}

/// Looks at the outputs of a pipeline's steps.
pub(crate) fn steps<'a>(ui: &Ui, steps: impl Iterator<Item = &'a Step>) -> Result<Status> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for step in steps {
        ui.check_interrupt()?;
        let found = match step.out.exists() {
            true => verify(&step.out, &mut seen)?,
            false => vec![missing(&step.out)],
        };
        add(&mut all, found);
    }
    told(ui, &all)
}

/// An output that its step has not written, or that is gone.
fn missing(out: &Path) -> Found {
    Found {
        path: out.to_path_buf(),
        tool: None,
        artefact: None,
        read_by: None,
        state: State::Gone,
    }
}

/// Adds what does not stand there already: a base is read by several steps.
fn add(all: &mut Vec<Found>, found: Vec<Found>) {
    for one in found {
        let is_known = |other: &Found| other.path == one.path && other.state == one.state;
        if !all.iter().any(is_known) {
            all.push(one);
        }
    }
}

/// Prints what was found, and whether all is well.
fn told(ui: &Ui, all: &[Found]) -> Result<Status> {
    let header = ["output or input", "made by", "is"].map(str::to_owned);
    let mut rows = vec![header.to_vec()];
    for found in all {
        ui.event(&json!({ "event": "verified", "found": found }));
        let made_by = found.tool.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            found.path.display().to_string(),
            made_by,
            in_words(&found.state),
        ]);
    }
    ui.table(&rows);
    let bad: Vec<&Found> = all.iter().filter(|found| !found.state.is_good()).collect();
    ui.event(&json!({ "event": "verify", "looked_at": all.len(), "not_as_they_were": bad.len() }));
    let Some(first) = bad.first() else {
        return Ok(Status::Done);
    };
    let of = first.read_by.as_ref();
    let of = of.map_or(String::new(), |by| format!(", read by {by}"));
    let are_not = match bad.len() {
        1 => "is not as it was",
        _ => "are not as they were",
    };
    Ok(Status::No(format!(
        "{} of {} {are_not}: {}{of} {}",
        bad.len(),
        all.len(),
        first.path.display(),
        in_words(&first.state)
    )))
}

fn in_words(state: &State) -> String {
    match state {
        State::Intact => "intact".to_owned(),
        State::Changed(why) => format!("changed: {why}"),
        State::MadeAgain => "made again since it was read".to_owned(),
        State::Gone => "is not there".to_owned(),
        State::OnHub => "a commit on the hub".to_owned(),
        State::Piped => "came through a pipe".to_owned(),
    }
}

//! The run itself: takes the steps in order, skipping what is done already.
use crate::attempt::{Attempt, finished_alone};
use crate::ending;
use crate::execute::{Ended, execute, log_of};
use crate::file::Source;
use crate::lockfile::{self, Finished};
use crate::ready::Ready;
use crate::record::{Decision, Definition, Record, decide};
use crate::report::{Row, command_line, summary};
use crate::resolve::Step;
use crate::secret::hide;
use crate::tools::Tool;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result, Status, Ui};
use lora_receipt::{Hashes, Receipt};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Instant;

/// Which steps run although nothing changed.
#[derive(Debug, PartialEq)]
pub(crate) enum Force {
    Nothing,
    All,
    /// By name, or by name with its matrix values.
    Step(String),
}

impl Force {
    fn covers(&self, step: &Step) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Step(name) => step.name == *name || step.id == *name,
        }
    }

    /// Refuses a name that no step has.
    pub(crate) fn check(&self, steps: &[Step]) -> Result<()> {
        match self {
            Self::Step(name) if !steps.iter().any(|step| self.covers(step)) => {
                let names: Vec<_> = steps.iter().map(|step| step.id.as_str()).collect();
                Err(Error::new(format!("--force {name}: there is no such step"))
                    .hint(format!("the steps are {}", names.join(", "))))
            }
            _ => Ok(()),
        }
    }
}

/// Prints what would run and why, without touching anything.
pub(crate) fn dry_run(ui: &Ui, ready: &[Ready], force: &Force) -> Result<Status> {
    let mut hashes = Hashes::of_one_moment();
    let mut running: BTreeSet<&str> = BTreeSet::new();
    for Ready {
        step,
        tool,
        arguments,
    } in ready
    {
        let after = step
            .inputs
            .iter()
            .flat_map(|(_, paths)| paths)
            .filter_map(|input| input.from.as_deref());
        let waits: BTreeSet<&str> = after.filter(|id| running.contains(id)).collect();
        let decision = if !waits.is_empty() {
            Decision::Run(format!(
                "after {}",
                waits.into_iter().collect::<Vec<_>>().join(", ")
            ))
        } else if force.covers(step) {
            Decision::Run("--force".to_owned())
        } else {
            let (definition, _) = Definition::of(step, tool.as_deref(), &mut hashes)?;
            decide(step, &definition, &mut hashes)?
        };
        let (would, reason) = match decision {
            Decision::Skip => ("skip", String::new()),
            Decision::Run(reason) => ("run", reason),
        };
        if would == "run" {
            running.insert(&step.id);
        }
        let line = hide(
            &command_line(step, tool.as_deref(), arguments),
            &step.secrets,
        );
        ui.event(&json!({ "event": "step", "step": step.id, "would": would, "reason": reason, "command": line }));
        let why = if would == "skip" {
            "done already".to_owned()
        } else {
            reason
        };
        ui.out(&format!("# {}: {would} ({why})\n{line}", step.id));
    }
    Ok(Status::Done)
}

/// Runs what has to run; writes the lock when all steps are done.
pub(crate) fn run(
    ui: &Ui,
    source: &Source,
    ready: &[Ready],
    force: &Force,
    work: &Path,
) -> Result<Status> {
    ui.ends_in_its_own_time(); // its steps have something to write
    let folder = work.join(source.name());
    let lock = claim(&folder, &source.name())?;
    crate::origin::check(&folder, &source.path)?;
    let mut rows = Vec::new();
    let mut finished = Vec::new();
    let mut hashes = Hashes::default();
    let mut ended = Ok(Status::Done);
    for ready in ready {
        match take(ui, ready, force, &lock, &mut hashes, &mut rows) {
            Ok(Ok(step)) => finished.push(step),
            Ok(Err(no)) => {
                ended = Ok(no);
                break;
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    let text = summary(&rows, ui.layout());
    if ui.json() {
        ui.say(&text)
    } else {
        ui.out(&text)
    }
    if !matches!(ended, Ok(Status::Done)) {
        return ended;
    }
    let lock = source.path.with_extension("lock");
    if let Err(error) = lockfile::write(&lock, &source.name(), &finished) {
        ui.warn(&error.to_string()); // all outputs are there; only the note about them could not be left
    }
    let told = ending::lines(&finished, &folder, ui.width());
    if ui.json() {
        told.iter().for_each(|line| ui.say(line));
    } else {
        told.iter().for_each(|line| ui.out(line));
    }
    ui.event(
        &json!({ "event": "pipeline", "pipeline": source.name(), "lock": lock, "steps": rows }),
    );
    if let Some(last) = finished.last() {
        ui.event(&last.receipt);
    }
    ended
}

/// Refuses a second run of the same pipeline in the same folder while this one lasts.
fn claim(folder: &Path, pipeline: &str) -> Result<File> {
    let path = folder.join(".lock");
    let failed = || format!("failed to write {}", path.display());
    std::fs::create_dir_all(folder).foreign().context(failed)?;
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .foreign()
        .context(failed)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let error = Error::new(format!(
                "another lora-run is running {pipeline} in {}",
                folder.display()
            ));
            Err(error.hint("wait for it, or give this one a folder of its own with --work"))
        }
        Err(TryLockError::Error(_)) | Ok(()) => Ok(file), // some file systems have no locks
    }
}

/// Takes one step: skips or runs it. The inner error is a step whose honest answer was no.
fn take<'a>(
    ui: &Ui,
    ready: &'a Ready,
    force: &Force,
    lock: &File,
    hashes: &mut Hashes,
    rows: &mut Vec<Row>,
) -> Result<std::result::Result<Finished<'a>, Status>> {
    let Ready { step, tool, .. } = ready;
    ui.check_interrupt()?;
    let (definition, inputs) = Definition::of(step, tool.as_deref(), hashes)?;
    lora_receipt::recover(&step.out)?;
    if finished_alone(step, &definition, hashes)? {
        ui.say(&format!("{}: finished after its run was killed", step.id));
        Record::save(&step.out, &definition, true)?;
        Attempt::remove(step);
    }
    let decision = if force.covers(step) {
        Decision::Run("--force".into())
    } else {
        decide(step, &definition, hashes)?
    };
    let Decision::Run(reason) = decision else {
        Attempt::forget(step, &definition);
        ui.say(&format!("{}: skipped", step.id));
        let receipt = Receipt::load(&step.out)?;
        rows.push(Row::new(step, "skipped", "", 0.0, Some(&receipt)));
        ui.event(&json!({ "event": "step", "step": step.id, "status": "skipped" }));
        return Ok(Ok(Finished {
            step,
            tool: tool.as_deref(),
            definition,
            receipt,
        }));
    };
    let can_resume = tool.as_deref().is_some_and(Tool::can_resume);
    let attempt = Attempt::begin(step, &definition, can_resume, force.covers(step))?;
    let reason = if attempt.resumes {
        format!("{reason}; continues an interrupted run")
    } else {
        reason
    };
    ui.say(&format!("{}: running ({reason})", step.id));
    ui.event(&json!({ "event": "step", "step": step.id, "status": "running", "reason": reason }));
    let started = Instant::now();
    let ended = execute(ui, ready, inputs, lock, attempt.resumes);
    let seconds = started.elapsed().as_secs_f64();
    let mut row = |status, receipt| rows.push(Row::new(step, status, &reason, seconds, receipt));
    match ended {
        Ok(Ended::Done(receipt)) => {
            Record::save(&step.out, &definition, true)?;
            attempt.end();
            row("ran", Some(&receipt));
            ui.event(
                &json!({ "event": "step", "step": step.id, "status": "ran", "seconds": seconds }),
            );
            Ok(Ok(Finished {
                step,
                tool: tool.as_deref(),
                definition,
                receipt: *receipt,
            }))
        }
        Ok(Ended::No(answer)) => {
            let receipt = Receipt::load(&step.out).ok();
            if receipt.is_some() {
                Record::save(&step.out, &definition, false)?;
                attempt.end();
            }
            row("no", receipt.as_ref());
            let log = log_of(step);
            Ok(Err(Status::No(format!(
                "step {}: {answer} (its log: {})",
                step.id,
                log.display()
            ))))
        }
        Err(error) => {
            row(
                if error.is_interrupted() {
                    "stopped"
                } else {
                    "failed"
                },
                None,
            );
            Err(error)
        }
    }
}

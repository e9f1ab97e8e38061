//! The run itself: checks everything first, then takes the steps in order, skipping what is done already.
use crate::arguments;
use crate::attempt::{Attempt, finished_alone};
use crate::ending;
use crate::file::Source;
use crate::lockfile::{self, Finished};
use crate::process::{self, Job, Kind};
use crate::record::{Decision, Definition, Record, decide, read_paths, with_paths, with_suffix};
use crate::report::{Row, command_line, environment, shell_options, summary};
use crate::resolve::{Action, Step};
use crate::secret::{HIDDEN, hide, hide_named, is_secret};
use crate::tools::{self, Tool};
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result, Status, Ui};
use lora_receipt::{Artefact, Draft, Hashes, Input, Receipt, Staged, refuse_overlap};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A step, its tool and its command line: checked, ready to run.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) step: Step,
    pub(crate) tool: Option<Tool>,
    pub(crate) arguments: Vec<String>,
}

/// Checks tools, flags and input paths of all steps before anything runs.
pub(crate) fn prepare(source: &Source, steps: Vec<Step>) -> Result<Vec<Ready>> {
    let mut known: BTreeMap<String, Tool> = BTreeMap::new();
    let mut ready = Vec::new();
    for step in steps {
        for (key, paths) in &step.inputs {
            if let Some(missing) = paths
                .iter()
                .find(|input| input.from.is_none() && !input.path.exists())
            {
                let at = ["steps", step.name.as_str(), "in", key];
                let error =
                    source.error_at(&at, format!("{} does not exist", missing.path.display()));
                return Err(
                    error.hint("a path counts from the folder in which lora-run is started")
                );
            }
        }
        for (key, path) in read_paths(&step, None) {
            if let Err(overlap) = refuse_overlap(&step.out, &path) {
                let at = ["steps", step.name.as_str(), "in", &key];
                let error = source.error_at(&at, overlap);
                return Err(error.hint("an input lies outside of what the step writes, WORK/P/S"));
            }
        }
        let tool = match &step.action {
            Action::Use(name) if known.contains_key(name) => known.get(name).cloned(),
            Action::Use(name) => {
                let tool = tools::find(source, &step, name)?;
                known.insert(name.clone(), tool.clone());
                Some(tool)
            }
            Action::Run(_) => None,
        };
        let arguments = tool
            .as_ref()
            .map_or(Ok(Vec::new()), |tool| tool.arguments(source, &step))?;
        for (key, path) in with_paths(&step, tool.as_ref()) {
            if !path.exists() {
                let at = ["steps", step.name.as_str(), "with", &key];
                let error = source.error_at(&at, format!("{} does not exist", path.display()));
                return Err(
                    error.hint("a path counts from the folder in which lora-run is started")
                );
            }
        }
        ready.push(Ready {
            step,
            tool,
            arguments,
        });
    }
    arguments::check(source, &ready)?;
    Ok(ready)
}

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
    let mut hashes = Hashes::default();
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
            let (definition, _) = Definition::of(step, tool.as_ref(), &mut hashes)?;
            decide(step, &definition, &mut hashes)?
        };
        let (would, reason) = match decision {
            Decision::Skip => ("skip", String::new()),
            Decision::Run(reason) => ("run", reason),
        };
        if would == "run" {
            running.insert(&step.id);
        }
        let line = hide(&command_line(step, tool.as_ref(), arguments), &step.secrets);
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
    let text = summary(&rows, ui.width());
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
    let (definition, inputs) = Definition::of(step, tool.as_ref(), hashes)?;
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
        ui.say(&format!("{}: skipped", step.id));
        let receipt = Receipt::load(&step.out)?;
        rows.push(Row::new(step, "skipped", "", 0.0, Some(&receipt)));
        ui.event(&json!({ "event": "step", "step": step.id, "status": "skipped" }));
        return Ok(Ok(Finished {
            step,
            tool: tool.as_ref(),
            definition,
            receipt,
        }));
    };
    let can_resume = tool.as_ref().is_some_and(Tool::can_resume);
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
                tool: tool.as_ref(),
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

/// How a step ended that did not fail.
enum Ended {
    Done(Box<Receipt>),
    No(String),
}

/// Runs the process of a step and takes its receipt.
fn execute(
    ui: &Ui,
    ready: &Ready,
    inputs: Vec<Input>,
    lock: &File,
    resumes: bool,
) -> Result<Ended> {
    let started = Instant::now();
    let Ready {
        step,
        tool,
        arguments,
    } = ready;
    let resume = resumes.then(|| "--resume".to_owned());
    let arguments: Vec<String> = arguments.iter().cloned().chain(resume).collect();
    let title = command_line(step, tool.as_ref(), &arguments);
    let log = log_of(step);
    let title = hide(&title, &step.secrets);
    keep_log(&log, resumes);
    let job = |command, kind| Job {
        step: &step.id,
        command,
        kind,
        title: &title,
        log: &log,
        lock,
        secrets: &step.secrets,
    };
    let finish = |ended: process::Ended| {
        ui.check_interrupt()?;
        match ended.status.code() {
            Some(0) => Ok(None),
            Some(1) if tool.is_some() => Ok(Some(Ended::No(process::answer(&ended)))),
            Some(130) => Err(Error::interrupted()),
            _ => Err(process::failure(&step.id, &ended, &log)),
        }
    };
    let Action::Run(line) = &step.action else {
        let program = tool
            .as_ref()
            .map(|tool| tool.program.clone())
            .unwrap_or_default();
        let program = std::path::absolute(&program).unwrap_or(program);
        let mut command = Command::new(program);
        command.args(arguments);
        if tool.as_ref().is_some_and(Tool::tells_progress) && !ui.quiet() {
            command.arg("--progress-events");
        }
        if let Some(no) = finish(process::run(ui, job(command, Kind::Tool))?)? {
            return Ok(no);
        }
        let receipt = Receipt::load(&step.out)
            .context(|| format!("step {} ended well, but left no output", step.id))?;
        return Ok(Ended::Done(Box::new(receipt)));
    };
    let staged = Staged::folder(&step.out, true)?;
    let mut command = Command::new("sh");
    command
        .args(shell_options())
        .arg("-c")
        .arg(line)
        .envs(environment(step));
    command.env(
        "OUT",
        std::path::absolute(staged.path()).unwrap_or_else(|_| staged.path().to_path_buf()),
    );
    if let Some(path) = path_with_our_tools() {
        command.env("PATH", path);
    }
    finish(process::run(ui, job(command, Kind::Line))?)?;
    let with: serde_json::Map<_, _> = step
        .with
        .iter()
        .map(|(name, value)| (name.clone(), told(name, value, &step.secrets)))
        .collect();
    let receipt = staged.commit(Draft {
        tool: "sh".into(),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        artefact: Artefact::Files,
        config: json!({ "run": hide_named(line, &step.secrets), "with": with }),
        seed: None,
        inputs,
        results: json!({}),
        measured: json!({}),
        started,
    })?;
    ui.kept_aside(&receipt);
    Ok(Ended::Done(Box::new(receipt)))
}

/// A value as a receipt has it.
fn told(name: &str, value: &serde_json::Value, secrets: &[String]) -> serde_json::Value {
    match value {
        _ if is_secret(name) => HIDDEN.into(),
        serde_json::Value::String(text) => hide_named(text, secrets).into(),
        serde_json::Value::Array(items) => {
            items.iter().map(|item| told("", item, secrets)).collect()
        }
        other => other.clone(),
    }
}

/// Keeps the log of the attempt that is continued, as `STEP.log.1` and so on; a run from the start begins its logs anew.
fn keep_log(log: &Path, resumes: bool) {
    let earlier = |number: usize| with_suffix(log, &format!(".{number}"));
    let first_free = (1..).find(|&number| !earlier(number).exists()).unwrap_or(1);
    if resumes {
        let _ = std::fs::rename(log, earlier(first_free)); // there may be none
    } else {
        for number in 1..first_free {
            let _ = std::fs::remove_file(earlier(number)); // a stale log does no harm
        }
    }
}

/// The PATH with the folder of our tools in front, so that shell lines can call them by name.
fn path_with_our_tools() -> Option<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(
        tools::our_folder()
            .into_iter()
            .chain(std::env::split_paths(&path)),
    )
    .ok()
}

fn log_of(step: &Step) -> std::path::PathBuf {
    with_suffix(&step.out, ".log")
}

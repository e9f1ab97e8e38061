//! Runs one step: a tool's process, which writes its own receipt, or a shell line, whose output becomes one here.
use crate::process::{self, Job, Kind};
use crate::ready::Ready;
use crate::record::with_suffix;
use crate::report::{command_line, environment, shell_options};
use crate::resolve::{Action, Step};
use crate::secret::{HIDDEN, hide, hide_named, is_secret};
use crate::tools::{self, Tool};
use lora_cli::{Context as _, Error, Result, Ui};
use lora_receipt::{Artefact, Draft, Input, Receipt, Staged};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How a step ended that did not fail.
pub(crate) enum Ended {
    Done(Box<Receipt>),
    No(String),
}

/// Runs the process of a step and takes its receipt.
pub(crate) fn execute(
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
    let title = command_line(step, tool.as_deref(), &arguments);
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
        if tool.as_deref().is_some_and(Tool::tells_progress) && !ui.quiet() {
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

pub(crate) fn log_of(step: &Step) -> PathBuf {
    with_suffix(&step.out, ".log")
}

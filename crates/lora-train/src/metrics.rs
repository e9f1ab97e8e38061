//! metrics.jsonl: one line a step and one an evaluation; the same lines go to stdout in JSON mode.
use crate::failure::failed;
use lora_cli::Result;
use lora_training::{Evaluated, StepDone};
use serde::Serialize;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Its name in the output folder.
pub(crate) const FILE_NAME: &str = "metrics.jsonl";

/// One line.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Metric {
    /// A step of the optimiser.
    Step(StepDone),
    /// A pass over the valid split.
    Eval(Evaluated),
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Starts the file; of a run that is continued, keeps the lines up to its checkpoint's step.
    pub(crate) fn open(dir: &Path, step: u64) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let kept = if step == 0 {
            String::new()
        } else {
            lines_until(&path, step)?
        };
        let mut file = File::create(&path).map_err(failed("create", &path))?;
        file.write_all(kept.as_bytes())
            .map_err(failed("write", &path))?;
        Ok(Self { path, file })
    }

    /// Appends a line.
    pub(crate) fn write(&mut self, metric: &Metric) -> Result<()> {
        let line = serde_json::to_string(metric)? + "\n";
        self.file
            .write_all(line.as_bytes())
            .map_err(failed("write", &self.path))
    }
}

fn lines_until(path: &Path, step: u64) -> Result<String> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed("read", path))?,
    };
    let is_before = |line: &&str| {
        serde_json::from_str::<serde_json::Value>(line)
            .is_ok_and(|v| v["step"].as_u64().is_some_and(|s| s <= step))
    };
    Ok(text
        .lines()
        .filter(is_before)
        .map(|line| format!("{line}\n"))
        .collect())
}

//! The open metrics.jsonl: one line a step and one an evaluation; the same lines go to stdout in JSON mode.
use crate::checkpoint::failed;
use lora_cli::Result;
use lora_records::{Metric, metric_lines_until};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The open file.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Starts the file; of a run that is continued, keeps the lines up to its checkpoint's step.
    pub(crate) fn open(dir: &Path, step: u64) -> Result<Self> {
        let path = dir.join(Metric::FILE_NAME);
        let kept = if step == 0 {
            String::new()
        } else {
            metric_lines_until(dir, step)?
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

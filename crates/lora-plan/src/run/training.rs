//! A folder of lora-train: its settings from the receipt, its metrics line by line.
use lora_cli::{Context as _, Error, Result};
use lora_receipt::{FILE_NAME, Receipt};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

const METRICS: &str = "metrics.jsonl";

/// A training as its folder tells it.
#[derive(Debug)]
pub(crate) struct Training {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// None for a run that did not finish.
    pub(crate) receipt: Option<Receipt>,
    /// Steps of the optimiser, in order.
    pub(crate) steps: Vec<StepLine>,
    /// Passes over the valid split, in order.
    pub(crate) evals: Vec<EvalLine>,
}

/// A step's line in metrics.jsonl.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct StepLine {
    pub(crate) step: u64,
    pub(crate) epoch: f64,
    pub(crate) loss: f64,
    pub(crate) grad_norm: f64,
    pub(crate) lr: f64,
}

/// An evaluation's line in metrics.jsonl.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct EvalLine {
    pub(crate) step: u64,
    pub(crate) epoch: f64,
    pub(crate) valid_loss: f64,
    /// None in a run of another tool.
    #[serde(default)]
    pub(crate) token_accuracy: Option<f64>,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Step(StepLine),
    Eval(EvalLine),
}

/// True for a folder that lora-train wrote, finished or not.
pub(crate) fn is_training(folder: &Path) -> bool {
    folder.join(METRICS).is_file()
}

impl Training {
    /// Reads a folder of lora-train.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let receipt = if folder.join(FILE_NAME).is_file() {
            Some(Receipt::load(folder)?)
        } else {
            None
        };
        let path = folder.join(METRICS);
        let text = std::fs::read_to_string(&path)
            .context(|| format!("failed to read {}", path.display()))?;
        let (mut steps, mut evals) = (Vec::new(), Vec::new());
        let count = text.lines().count();
        for (number, line) in text.lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Step(step)) => steps.push(step),
                Ok(Line::Eval(eval)) => evals.push(eval),
                // A run that was killed may have left half a line.
                Err(_) if receipt.is_none() && number + 1 == count => {}
                Err(error) => {
                    return Err(Error::new(format!(
                        "{}, line {}: {error}",
                        path.display(),
                        number + 1
                    ))
                    .hint("expected the lines that lora-train writes"));
                }
            }
        }
        if receipt.is_some() && steps.is_empty() {
            return Err(Error::new(format!(
                "{} holds no step, though the run has finished",
                path.display()
            ))
            .hint("was the copy cut off? train again, or copy the folder again"));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            receipt,
            steps,
            evals,
        })
    }

    /// A setting of the run; null if it was not given or is not known.
    pub(crate) fn setting(&self, flag: &str) -> &Value {
        self.receipt
            .as_ref()
            .map_or(&Value::Null, |receipt| &receipt.config[flag])
    }

    /// A setting that is a number.
    pub(crate) fn number(&self, flag: &str) -> Option<f64> {
        self.setting(flag).as_f64()
    }

    /// A result of the run, from its receipt.
    pub(crate) fn result(&self, name: &str) -> Option<f64> {
        self.receipt.as_ref()?.results[name].as_f64()
    }

    /// The dataset, as the receipt names it.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        self.input("data")
    }

    /// An input, as the receipt names it.
    pub(crate) fn input(&self, name: &str) -> Option<PathBuf> {
        self.receipt
            .as_ref()?
            .inputs
            .iter()
            .find(|input| input.name == name)
            .map(|input| input.path.clone())
    }

    /// Losses of the steps.
    pub(crate) fn losses(&self) -> Vec<f64> {
        self.steps.iter().map(|step| step.loss).collect()
    }
}

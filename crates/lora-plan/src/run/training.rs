//! A folder of lora-train: its settings from the receipt, its metrics line by line.
use lora_cli::{Error, Result};
use lora_receipt::{FILE_NAME, Receipt};
use lora_records::{EvalMetric, Metric, StepMetric, read_metrics};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A training as its folder tells it.
#[derive(Debug)]
pub(crate) struct Training {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// None for a run that did not finish.
    pub(crate) receipt: Option<Receipt>,
    /// Steps of the optimiser, in order.
    pub(crate) steps: Vec<StepMetric>,
    /// Passes over the valid split, in order.
    pub(crate) evals: Vec<EvalMetric>,
}

/// True for a folder that lora-train wrote, finished or not.
pub(crate) fn is_training(folder: &Path) -> bool {
    folder.join(Metric::FILE_NAME).is_file()
}

impl Training {
    /// Reads a folder of lora-train.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let receipt = if folder.join(FILE_NAME).is_file() {
            Some(Receipt::load(folder)?)
        } else {
            None
        };
        let mut steps = Vec::new();
        let mut evals = Vec::new();
        for metric in read_metrics(folder, receipt.is_some())? {
            match metric {
                Metric::Step(step) => steps.push(step),
                Metric::Eval(eval) => evals.push(eval),
            }
        }
        if receipt.is_some() && steps.is_empty() {
            return Err(Error::new(format!(
                "{} holds no step, though the run has finished",
                folder.join(Metric::FILE_NAME).display()
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

    /// What the run measured of itself on its machine, from its receipt.
    pub(crate) fn measured(&self, name: &str) -> Option<f64> {
        self.receipt.as_ref()?.measured[name].as_f64()
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

//! A report of lora-eval, as far as one adapter is concerned.
use lora_receipt::Receipt;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What lora-eval measured of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evaluation {
    /// The report's folder.
    pub(crate) folder: PathBuf,
    /// What it was measured on: content of the dataset, split, supervised tokens.
    pub(crate) measured_on: (String, String, u64),
    /// Mean loss per supervised token of the base.
    pub(crate) base_nll: f64,
    /// Mean loss per supervised token.
    pub(crate) nll: f64,
    /// Difference to the base and its 95 % interval.
    pub(crate) difference: Option<(f64, f64, f64)>,
    /// Share of supervised tokens that were the most probable.
    pub(crate) token_accuracy: f64,
    /// Answers that were exact, and answers.
    pub(crate) exact: Option<(u64, u64)>,
    /// Answers that ran to the limit without ending, and answers.
    pub(crate) endless: Option<(usize, usize)>,
    /// Gates that did not pass, with their reasons.
    pub(crate) failed_gates: Vec<(String, String)>,
}

impl Evaluation {
    /// Reads the report beside a receipt; none if it does not speak of the adapter.
    pub(crate) fn read(receipt: &Receipt, adapter: &Path) -> Option<Self> {
        let is_ours = |model: &Value| {
            model["adapter"]
                .as_str()
                .is_some_and(|path| super::same_place(Path::new(path), adapter))
        };
        Self::of_model(receipt, is_ours)
    }

    /// Reads what a report says of its base.
    pub(crate) fn read_base(receipt: &Receipt) -> Option<Self> {
        Self::of_model(receipt, |model| model["adapter"].is_null())
    }

    fn of_model(receipt: &Receipt, is_ours: impl Fn(&Value) -> bool) -> Option<Self> {
        let folder = receipt.out.clone();
        let report: Value =
            serde_json::from_slice(&std::fs::read(folder.join("report.json")).ok()?).ok()?;
        let models = report["models"].as_array()?;
        let base = models.iter().find(|model| model["adapter"].is_null())?;
        let model = models.iter().find(|model| is_ours(model))?;
        let name = model["name"].as_str()?;
        let difference = &model["difference_to_base"];
        let exact = &model["exact_match"];
        let gates = report["gates"].as_array().into_iter().flatten();
        let failed = gates.filter(|gate| gate["passed"] == false && gate["model"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let data = receipt.inputs.iter().find(|input| input.name == "data")?;
        Some(Self {
            measured_on: (
                data.sha256.clone(),
                text(&report["split"]),
                report["tokens"].as_u64()?,
            ),
            base_nll: base["nll"].as_f64()?,
            nll: model["nll"].as_f64()?,
            difference: (|| {
                Some((
                    difference["nll"].as_f64()?,
                    difference["low"].as_f64()?,
                    difference["high"].as_f64()?,
                ))
            })(),
            token_accuracy: model["token_accuracy"]["rate"].as_f64().unwrap_or(0.0),
            exact: (|| Some((exact["matched"].as_u64()?, exact["rows"].as_u64()?)))(),
            endless: endless(
                &folder,
                name,
                report["generation"]["max_new_tokens"].as_u64()? as usize,
            ),
            failed_gates: failed
                .map(|gate| (text(&gate["gate"]), text(&gate["reason"])))
                .collect(),
            folder,
        })
    }
}

/// Answers of a model in predictions.jsonl that took every token they could have.
fn endless(folder: &Path, name: &str, most: usize) -> Option<(usize, usize)> {
    let text = std::fs::read_to_string(folder.join("predictions.jsonl")).ok()?;
    let answers: Vec<usize> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|row| row["models"][name]["ids"].as_array().map(Vec::len))
        .collect();
    (!answers.is_empty()).then(|| {
        (
            answers.iter().filter(|&&tokens| tokens >= most).count(),
            answers.len(),
        )
    })
}

//! A report of lora-eval, as far as one adapter is concerned.
use lora_cli::Result;
use lora_receipt::Receipt;
use lora_records::{Difference, ModelReport, Prediction, Report, read_predictions};
use std::path::{Path, PathBuf};

/// What lora-eval measured of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evaluation {
    /// The report's folder.
    pub(crate) folder: PathBuf,
    /// What it was measured on: content of the dataset, split, supervised tokens.
    pub(crate) measured_on: (String, String, usize),
    /// Mean loss per supervised token of the base.
    pub(crate) base_nll: f64,
    /// Mean loss per supervised token.
    pub(crate) nll: f64,
    /// Difference to the base and its 95 % interval.
    pub(crate) difference: Option<(f64, f64, f64)>,
    /// What swapping the prompts between rows adds to the loss, and that less what it adds to the base's, if it was
    /// measured.
    pub(crate) prompt_effect: Option<[Interval; 2]>,
    /// Share of supervised tokens that were the most probable.
    pub(crate) token_accuracy: f64,
    /// Answers that were exact, and answers.
    pub(crate) exact: Option<(usize, usize)>,
    /// Answers that ran to the limit without ending, and answers.
    pub(crate) endless: Option<(usize, usize)>,
    /// Gates that did not pass, with their reasons.
    pub(crate) failed_gates: Vec<(String, String)>,
}

/// A difference of losses, and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) nll: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    fn of(difference: Option<&Difference>) -> Option<Self> {
        let difference = difference?;
        Some(Self {
            nll: difference.nll,
            low: difference.low?,
            high: difference.high?,
        })
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nll, low, high } = self;
        write!(f, "{nll:+.4} (95 % interval {low:+.4} to {high:+.4})")
    }
}

impl Evaluation {
    /// Reads the report beside a receipt; none if it does not speak of the adapter.
    pub(crate) fn read(receipt: &Receipt, adapter: &Path) -> Result<Option<Self>> {
        let is_ours = |model: &ModelReport| {
            let path = model.adapter.as_deref();
            path.is_some_and(|path| super::place::same_place(path, adapter))
        };
        Self::of_model(receipt, is_ours)
    }

    /// Reads what a report says of its base.
    pub(crate) fn read_base(receipt: &Receipt) -> Result<Option<Self>> {
        Self::of_model(receipt, |model| model.adapter.is_none())
    }

    fn of_model(receipt: &Receipt, is_ours: impl Fn(&ModelReport) -> bool) -> Result<Option<Self>> {
        let folder = receipt.out.clone();
        let report = Report::read(&folder)?;
        let model = report.models.iter().find(|model| is_ours(model));
        let data = receipt.inputs.iter().find(|input| input.name == "data");
        let (Some(model), Some(base), Some(data)) = (model, report.base_model(), data) else {
            return Ok(None);
        };
        let failed = report
            .gates
            .iter()
            .filter(|gate| !gate.passed && gate.model == model.name);
        let difference = model
            .difference_to_base
            .as_ref()
            .and_then(|difference| Some((difference.nll, difference.low?, difference.high?)));
        let rows = read_predictions(&folder)?;
        Ok(Some(Self {
            measured_on: (data.sha256.clone(), report.split.clone(), report.tokens),
            base_nll: base.nll,
            nll: model.nll,
            difference,
            prompt_effect: Interval::of(model.prompt_effect.as_ref())
                .zip(Interval::of(model.prompt_effect_to_base.as_ref()))
                .map(|(own, to_base)| [own, to_base]),
            token_accuracy: model.token_accuracy.rate,
            exact: model
                .exact_match
                .as_ref()
                .map(|exact| (exact.matched, exact.rows)),
            endless: endless(&rows, &model.name, report.generation.max_new_tokens),
            failed_gates: failed
                .map(|gate| (gate.gate.clone(), gate.reason.clone()))
                .collect(),
            folder,
        }))
    }
}

/// Answers of a model that took every token they could have, and answers; none where nothing was generated.
fn endless(rows: &[Prediction], model: &str, most: usize) -> Option<(usize, usize)> {
    let answers: Vec<usize> = rows
        .iter()
        .filter_map(|row| row.of(model)?.ids.as_ref().map(Vec::len))
        .collect();
    let at_the_limit = answers.iter().filter(|&&tokens| tokens >= most).count();
    (!answers.is_empty()).then_some((at_the_limit, answers.len()))
}

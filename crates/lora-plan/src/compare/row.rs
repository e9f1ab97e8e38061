//! One run as a row of a comparison.
use crate::run::Run;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A figure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A run among others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The shortest name that tells it from the others.
    pub run: String,
    /// Its folder.
    pub folder: String,
    /// It has the lowest loss of all, on the rows that all were measured on.
    pub best: bool,
    /// Base and dataset, if its receipt names them.
    pub inputs: Option<(String, String)>,
    /// Settings that are not the same in all runs.
    pub differs: BTreeMap<String, String>,
    /// Trainable parameters.
    pub trainable: Option<u64>,
    /// Steps of the optimiser that were done.
    pub steps: usize,
    /// Seconds from start to end.
    pub seconds: Option<f64>,
    /// Tokens a second in training.
    pub tokens_per_s: Option<f64>,
    /// Peak resident memory.
    pub peak_bytes: Option<u64>,
    /// Best loss on the valid split during training.
    pub valid_loss: Option<f64>,
    /// lora-eval's difference of the mean loss to the base's.
    pub difference_to_base: Option<Interval>,
    /// Share of exact answers, with Wilson's interval.
    pub exact_match: Option<Interval>,
    /// What it has of another run's gain, if that was asked for.
    pub share: Option<Share>,
}

/// What a run has of another's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// The other run.
    pub of: String,
    /// Of its gain over the base, by the loss; 1 is all of it.
    pub gain: Interval,
    /// Of its trained parameters.
    pub parameters: Option<f64>,
    /// Of its peak memory.
    pub memory: Option<f64>,
}

impl Compared {
    /// True if the runs have other data, so that their losses are not of the same rows.
    pub(super) fn have_other_data(rows: &[Self]) -> bool {
        rows.iter()
            .any(|row| row.differs.contains_key("data (content)"))
    }

    /// Difference to the base with its ends; no number without a report.
    pub(super) fn loss_interval(&self) -> (f64, f64, f64) {
        self.difference_to_base
            .map_or((f64::NAN, f64::NAN, f64::NAN), |i| (i.value, i.low, i.high))
    }
}

/// Settings that change nothing in the result, or that every run has its own of.
const NOT_COMPARED: [&str; 3] = ["threads", "data", "base"];

/// The rows of all runs.
pub(super) fn compared(runs: &[Run]) -> Vec<Compared> {
    let settings: Vec<BTreeMap<String, String>> = runs.iter().map(settings).collect();
    let mut keys: Vec<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| {
        settings
            .iter()
            .any(|s| s.get(*key) != settings[0].get(*key))
    });
    let differs = |own: &BTreeMap<String, String>| {
        keys.iter()
            .map(|key| {
                (
                    (*key).clone(),
                    own.get(*key).cloned().unwrap_or_else(|| "-".to_owned()),
                )
            })
            .collect()
    };
    let names = short_names(runs);
    runs.iter()
        .zip(&settings)
        .zip(names)
        .map(|((run, own), name)| row(run, name, differs(own)))
        .collect()
}

fn row(run: &Run, name: String, differs: BTreeMap<String, String>) -> Compared {
    let training = &run.training;
    let evaluation = run.evaluations.last();
    let input = |name| training.input(name).map(|path| path.display().to_string());
    let evals = training.evals.iter().map(|eval| eval.valid_loss);
    Compared {
        run: name,
        folder: run.name.clone(),
        best: false,
        inputs: input("base").zip(input("data")),
        differs,
        trainable: training.result("trainable_parameters").map(|n| n as u64),
        steps: training.steps.len(),
        seconds: training
            .receipt
            .as_ref()
            .map(|receipt| receipt.wall_seconds),
        tokens_per_s: training.measured("tokens_per_s"),
        peak_bytes: training
            .receipt
            .as_ref()
            .map(|receipt| receipt.peak_rss_bytes)
            .filter(|bytes| *bytes > 0),
        valid_loss: evals.min_by(f64::total_cmp),
        difference_to_base: evaluation
            .and_then(|report| report.difference)
            .map(|(value, low, high)| Interval { value, low, high }),
        exact_match: evaluation
            .and_then(|report| report.exact)
            .map(|(matched, rows)| wilson(matched, rows)),
        share: None,
    }
}

/// A run's settings as text, and the content of its inputs.
fn settings(run: &Run) -> BTreeMap<String, String> {
    let Some(receipt) = &run.training.receipt else {
        return BTreeMap::new();
    };
    let config = receipt.config.as_object().into_iter().flatten();
    let mut all: BTreeMap<String, String> = config
        .filter(|(key, value)| !NOT_COMPARED.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), shown(value)))
        .collect();
    for input in &receipt.inputs {
        all.insert(
            format!("{} (content)", input.name),
            input.sha256.chars().take(8).collect(),
        );
    }
    all
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |x| x.to_string()),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The last parts of the folders that tell them apart.
pub(super) fn short_names(runs: &[Run]) -> Vec<String> {
    let parts: Vec<Vec<&str>> = runs
        .iter()
        .map(|run| {
            run.name
                .split('/')
                .filter(|part| !part.is_empty())
                .collect()
        })
        .collect();
    let last = |parts: &[&str], n: usize| parts[parts.len().saturating_sub(n)..].join("/");
    let longest = parts.iter().map(Vec::len).max().unwrap_or(1);
    let apart = |n: &usize| {
        let mut names: Vec<String> = parts.iter().map(|parts| last(parts, *n)).collect();
        names.sort();
        names.windows(2).all(|pair| pair[0] != pair[1])
    };
    let n = (1..=longest).find(apart).unwrap_or(longest);
    parts.iter().map(|parts| last(parts, n)).collect()
}

/// Wilson's 95 % interval of a share (Wilson 1927), which stays within 0 and 1.
fn wilson(matched: usize, rows: usize) -> Interval {
    const Z: f64 = 1.96;
    let (n, p) = (rows.max(1) as f64, matched as f64 / rows.max(1) as f64);
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    Interval {
        value: p,
        low: ((middle - half) / whole).max(0.0),
        high: ((middle + half) / whole).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::wilson;

    /// Values of R's `prop.test(correct = FALSE)`.
    #[test]
    fn wilsons_interval() {
        let i = wilson(123, 128);
        assert!(
            (i.low - 0.9118).abs() < 1e-3 && (i.high - 0.9832).abs() < 1e-3,
            "{i:?}"
        );
        assert_eq!(wilson(0, 0).value, 0.0);
    }
}

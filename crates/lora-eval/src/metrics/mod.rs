//! Metrics of generated answers: which there are, and which fit a dataset. Each has a file; `metric` is what they have
//! in common.
mod bleu;
mod chrf;
mod command;
mod extract;
mod json;
mod metric;
mod numeric;
mod porter;
mod rouge;
#[cfg(test)]
mod tests;
mod text;
mod tools;

pub(crate) use command::{Asked, Command};
pub(crate) use extract::Extraction;
pub(crate) use metric::{Better, Metric, Scale, Sums};
pub(crate) use rouge::is_readable;

/// The metrics, in the order of their grades.
pub(crate) const OF_CHOICES: [&str; 3] = ["acc", "acc_norm", "acc_bytes"];

/// Metrics of the losses: always measured.
pub(crate) const OF_LOSSES: [&str; 3] = ["loss", "perplexity", "token_accuracy"];

/// Share of references that have to be of a kind for its metrics to be the default.
const KIND: f64 = 0.9;
/// Mean number of words up to which references are short answers, not texts.
const SHORT: f64 = 12.0;

/// All metrics that have a name of their own.
pub(crate) fn all() -> Vec<Box<dyn Metric>> {
    vec![
        Box::new(text::Exact),
        Box::new(text::Normalised),
        Box::new(text::Contains),
        Box::new(text::TokenF1),
        Box::new(rouge::RougeL { stemmed: false }),
        Box::new(rouge::RougeL { stemmed: true }),
        Box::new(bleu::Bleu),
        Box::new(chrf::ChrF),
        Box::new(numeric::Numeric),
        Box::new(json::Valid),
        Box::new(json::Fields),
        Box::new(tools::ToolCalls { arguments: false }),
        Box::new(tools::ToolCalls { arguments: true }),
    ]
}

/// The names of all metrics, those of the losses first.
pub(crate) fn names() -> Vec<String> {
    let of_answers = all();
    let of_answers = of_answers.iter().map(|metric| metric.name().to_owned());
    OF_LOSSES
        .map(str::to_owned)
        .into_iter()
        .chain(of_answers)
        .collect()
}

/// Those of the given names, each once, in the order of [`all`]; exact match is always among them.
pub(crate) fn chosen(names: &[String]) -> Vec<Box<dyn Metric>> {
    let is_wanted = |name: &str| name == "exact_match" || names.iter().any(|wanted| wanted == name);
    all()
        .into_iter()
        .filter(|metric| is_wanted(metric.name()))
        .collect()
}

/// What fits these references: tool calls, JSON, numbers, short answers or texts.
pub(crate) fn fitting(references: &[&str]) -> Vec<String> {
    let count = |is: &dyn Fn(&str) -> bool| references.iter().filter(|r| is(r)).count() as f64;
    let are = |is: &dyn Fn(&str) -> bool| {
        !references.is_empty() && count(is) >= KIND * references.len() as f64
    };
    let words: usize = references.iter().map(|r| text::words(r).count()).sum();
    let names: &[&str] = if are(&tools::is_tool_call) {
        &["json_fields", "tool_name", "tool_call"]
    } else if are(&|r| json::parsed(r).is_some()) {
        &["json_valid", "json_fields"]
    } else if are(&|r| r.parse::<f64>().is_ok() || r.contains("####")) {
        &["numeric"]
    } else if words as f64 <= SHORT * references.len() as f64 {
        &["normalized_match", "token_f1"]
    } else {
        &["token_f1", "rouge_l", "chrf"]
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

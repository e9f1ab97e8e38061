//! report.html: the report as one page for people, without scripts and without anything that is loaded from elsewhere.
//!
//! Whatever comes from data goes through [`lora_cli::html::text`]; the page's own policy forbids scripts besides.
mod charts;
mod examples;
mod shown;
mod tables;

pub(crate) use shown::Page;

use lora_cli::html::{page, section, text};
use lora_receipt::Receipt;
use lora_records::{Metric, Report, read_metrics};

/// Name of the page in the report's folder.
pub(crate) const FILE_NAME: &str = "report.html";

impl Page<'_> {
    /// The whole page.
    pub(crate) fn html(&self) -> String {
        let report = self.report;
        let title = format!("{} on {}", adapters(report), report.data.display());
        let mut body = format!("<h1>{}</h1>\n", text(&title));
        body += &format!("<p class=\"verdict\">{}</p>\n", text(&verdict(report)));
        body += &format!(
            "<p class=\"about\">{} rows of split {}, {} supervised tokens; base {}</p>\n",
            report.rows,
            text(&report.split),
            report.tokens,
            text(&report.base.display().to_string())
        );
        body += &section("Gates", &tables::gates(report));
        body += &section("Figures", &tables::figures(report));
        body += &section("Forgetting", &tables::guard(report));
        body += &section("Slices", &tables::slices(report));
        body += &section("Training", &self.curves());
        body += &section("Distributions", &charts::distributions(self.measured));
        body += &section("Examples", &examples::examples(self));
        body += &section("Where it comes from", &self.origin());
        page(&title, &body, None)
    }

    /// The loss curves of each adapter that brings its metrics.
    fn curves(&self) -> String {
        let mut shown = String::new();
        for model in &self.report.models {
            let Some(folder) = &model.adapter else {
                continue;
            };
            let metrics = read_metrics(folder, true).unwrap_or_default();
            let train: Vec<(f64, f64)> = metrics
                .iter()
                .filter_map(|metric| match metric {
                    Metric::Step(step) => Some((step.step as f64, step.loss)),
                    Metric::Eval(_) => None,
                })
                .collect();
            let valid: Vec<(f64, f64)> = metrics
                .iter()
                .filter_map(|metric| match metric {
                    Metric::Eval(eval) => Some((eval.step as f64, eval.valid_loss)),
                    Metric::Step(_) => None,
                })
                .collect();
            if !train.is_empty() {
                shown += &charts::curves(&model.name, &train, &valid);
            }
        }
        shown
    }

    /// The configuration, and the receipts of what was measured.
    fn origin(&self) -> String {
        let config = serde_json::to_string_pretty(self.config).unwrap_or_default();
        let mut shown = format!(
            "<details><summary>Configuration</summary><pre>{}</pre></details>\n",
            text(&config)
        );
        let inputs = self.loaded.inputs.iter();
        let rows = inputs.map(|input| {
            let receipt = Receipt::load(&input.path).ok();
            let made = receipt.map_or_else(String::new, |receipt| {
                let from = receipt.inputs.iter().map(|input| {
                    format!(
                        "{} {} ({})",
                        input.name,
                        input.path.display(),
                        short(&input.sha256)
                    )
                });
                let from: Vec<String> = from.collect();
                format!(
                    "{} {} from {}",
                    receipt.tool,
                    receipt.tool_version,
                    from.join(", ")
                )
            });
            vec![
                text(&input.name),
                text(&input.path.display().to_string()),
                format!("<code>{}</code>", text(short(&input.sha256))),
                text(&made),
            ]
        });
        shown += &tables::table(&["input", "path", "sha256", "made by"], rows);
        shown
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

fn adapters(report: &Report) -> String {
    let names: Vec<&str> = report
        .models
        .iter()
        .skip(1)
        .map(|model| model.name.as_str())
        .collect();
    match names.is_empty() {
        true => "The base".to_owned(),
        false => names.join(", "),
    }
}

/// The report in a sentence.
fn verdict(report: &Report) -> String {
    let failed = report.gates.iter().filter(|gate| !gate.passed).count();
    let gates = match (report.gates.len(), failed) {
        (0, _) => String::new(),
        (all, 0) => format!(" All {all} gates held."),
        (all, failed) => format!(" {failed} of {all} gates did not hold."),
    };
    let of_models = report.models.iter().skip(1).map(|model| {
        let of = |wanted: lora_records::Verdict| -> Vec<&str> {
            let tested = model.metrics.iter().filter(|figure| {
                figure
                    .against_base
                    .as_ref()
                    .is_some_and(|change| change.verdict == wanted)
            });
            tested.map(|figure| figure.metric.as_str()).collect()
        };
        let (better, worse) = (
            of(lora_records::Verdict::Better),
            of(lora_records::Verdict::Worse),
        );
        match (better.is_empty(), worse.is_empty()) {
            (true, true) => format!("{} can't be told from the base.", model.name),
            (false, true) => format!(
                "{} is better than the base by {}.",
                model.name,
                better.join(", ")
            ),
            (true, false) => format!(
                "{} is worse than the base by {}.",
                model.name,
                worse.join(", ")
            ),
            (false, false) => format!(
                "{} is better than the base by {}, worse by {}.",
                model.name,
                better.join(", "),
                worse.join(", ")
            ),
        }
    });
    let sentences: Vec<String> = of_models.collect();
    match sentences.is_empty() {
        true => format!("The base alone was measured.{gates}"),
        false => sentences.join(" ") + &gates,
    }
}

//! The metrics of answers as tables: each with its interval, what chance reaches, and the verdict against the base.
use lora_cli::Layout;
use lora_records::{Change, Figure, MetricChange, ModelReport, Report};

/// Metrics that the first table shows.
const SHOWN: [&str; 3] = ["loss", "perplexity", "token_accuracy"];

/// The table of answers' metrics, the slices, and what the verdicts were corrected for; nothing where there is none.
pub(crate) fn lines(report: &Report, layout: Layout) -> Vec<String> {
    let mut lines = Vec::new();
    let rows = answers(report);
    if rows.len() > 1 {
        lines.extend(layout.table(&rows));
    }
    if report.tests > 1 && rows.len() > 1 {
        let about = format!(
            "verdicts at 5 %, corrected for {} comparisons (Holm); chance: the same answers against what other prompts expect",
            report.tests
        );
        lines.extend(layout.paragraph(&about));
    }
    for (column, rows) in slices(report) {
        lines.extend(layout.paragraph(&format!("by {column}:")));
        lines.extend(layout.table(&rows));
    }
    lines
}

fn answers(report: &Report) -> Vec<Vec<String>> {
    let head = [
        "metric",
        "model",
        "value",
        "95 % interval",
        "chance",
        "− base",
        "verdict",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let names = report
        .models
        .first()
        .into_iter()
        .flat_map(|model| &model.metrics);
    for name in names
        .map(|figure| &figure.metric)
        .filter(|name| !SHOWN.contains(&name.as_str()))
    {
        for (at, model) in report.models.iter().enumerate() {
            let Some(figure) = model.figure(name) else {
                continue;
            };
            let label = if at == 0 { name.as_str() } else { "" };
            rows.push(cells(label, model, figure));
        }
        rows.extend(between(report, name));
    }
    rows
}

fn cells(label: &str, model: &ModelReport, figure: &Figure) -> Vec<String> {
    let chance = figure.chance.as_ref();
    let change = figure.against_base.as_ref();
    vec![
        label.to_owned(),
        model.name.clone(),
        format!("{:.4}", figure.value),
        interval(figure.low, figure.high, 4),
        chance.map_or_else(String::new, |chance| format!("{:.4}", chance.value)),
        change.map_or_else(String::new, |change| format!("{:+.4}", change.value)),
        change.map_or_else(String::new, |change| change.verdict.words().to_owned()),
    ]
}

/// Adapters against each other.
fn between(report: &Report, name: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for comparison in &report.comparisons {
        let of = |found: &&MetricChange| found.metric == name;
        let Some(Change {
            value,
            low,
            high,
            verdict,
            ..
        }) = comparison
            .metrics
            .iter()
            .find(of)
            .map(|found| &found.change)
        else {
            continue;
        };
        rows.push(vec![
            String::new(),
            format!("{} − {}", comparison.second, comparison.first),
            format!("{value:+.4}"),
            interval(*low, *high, 4),
            String::new(),
            String::new(),
            verdict.words().to_owned(),
        ]);
    }
    rows
}

fn interval(low: Option<f64>, high: Option<f64>, digits: usize) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("{low:.digits$} to {high:.digits$}"),
        _ => "?".to_owned(),
    }
}

/// One table a column: a row for each value and model, with all metrics but the perplexity.
fn slices(report: &Report) -> Vec<(&str, Vec<Vec<String>>)> {
    let mut tables: Vec<(&str, Vec<Vec<String>>)> = Vec::new();
    let of_base = report
        .models
        .first()
        .into_iter()
        .flat_map(|model| &model.metrics);
    let names = of_base.map(|figure| figure.metric.as_str());
    let names: Vec<&str> = names.filter(|name| *name != "perplexity").collect();
    for slice in &report.slices {
        if tables
            .last()
            .is_none_or(|(column, _)| *column != slice.column)
        {
            let head = [slice.column.as_str(), "prompts", "model"];
            let head = head.iter().chain(&names).map(|name| (*name).to_owned());
            tables.push((&slice.column, vec![head.collect()]));
        }
        let Some((_, rows)) = tables.last_mut() else {
            continue;
        };
        for model in &slice.models {
            let cell = |name: &&str| {
                let found = model.metrics.iter().find(|figure| figure.metric == **name);
                found.map_or_else(String::new, |f| {
                    format!("{:.3} ({})", f.value, interval(f.low, f.high, 3))
                })
            };
            let label = [
                slice.value.clone(),
                slice.prompts.to_string(),
                model.name.clone(),
            ];
            rows.push(label.into_iter().chain(names.iter().map(cell)).collect());
        }
    }
    tables
}

//! Gates, figures, guard and slices as tables.
use lora_cli::html::text;
use lora_records::{Figure, Report};

/// A table of cells that are markup already; nothing without rows.
pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<String> = rows
        .map(|cells| {
            let cells: String = cells
                .iter()
                .map(|cell| format!("<td>{cell}</td>"))
                .collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head: String = head
        .iter()
        .map(|name| format!("<th scope=\"col\">{}</th>", text(name)))
        .collect();
    format!(
        "<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        rows.concat()
    )
}

pub(crate) fn gates(report: &Report) -> String {
    let rows = report.gates.iter().map(|gate| {
        let (class, word) = if gate.passed {
            ("better", "held")
        } else {
            ("worse", "did not hold")
        };
        vec![
            format!("<span class=\"{class}\">{word}</span>"),
            text(&gate.gate),
            text(&gate.model),
            text(&gate.reason),
        ]
    });
    table(&["", "gate", "model", "why"], rows)
}

/// Each metric of each model, with a bar of its interval on the metric's own scale.
pub(crate) fn figures(report: &Report) -> String {
    let names = report
        .models
        .first()
        .into_iter()
        .flat_map(|model| &model.metrics);
    let mut rows = Vec::new();
    for name in names.map(|figure| figure.metric.as_str()) {
        let all = report
            .models
            .iter()
            .filter_map(|model| Some((model, model.figure(name)?)));
        let all: Vec<_> = all.collect();
        let least = all
            .iter()
            .filter_map(|(_, f)| f.low)
            .fold(f64::INFINITY, f64::min);
        let most = all
            .iter()
            .filter_map(|(_, f)| f.high)
            .fold(f64::NEG_INFINITY, f64::max);
        for (at, (model, figure)) in all.iter().enumerate() {
            let change = figure.against_base.as_ref();
            rows.push(vec![
                if at == 0 { text(name) } else { String::new() },
                text(&model.name),
                format!("{:.4}", figure.value),
                bar(figure, least, most),
                figure
                    .chance
                    .as_ref()
                    .map_or_else(String::new, |c| format!("{:.4}", c.value)),
                change.map_or_else(String::new, |change| format!("{:+.4}", change.value)),
                change.map_or_else(String::new, |change| {
                    let class = match change.verdict {
                        lora_records::Verdict::Better => "better",
                        lora_records::Verdict::Worse => "worse",
                        lora_records::Verdict::CantTell => "unsure",
                    };
                    format!(
                        "<span class=\"{class}\">{}</span>",
                        text(change.verdict.words())
                    )
                }),
            ]);
        }
    }
    let mut shown = table(
        &[
            "metric",
            "model",
            "value",
            "95 % interval",
            "chance",
            "− base",
            "verdict",
        ],
        rows.into_iter(),
    );
    if report.tests > 1 {
        shown += &format!(
            "<p class=\"about\">Verdicts at 5 %, corrected for {} comparisons (Holm). Chance: the same answers against what \
             other prompts expect. Rows of one prompt are one piece of evidence.</p>\n",
            report.tests
        );
    }
    let verdicts = report
        .comparisons
        .iter()
        .map(|c| format!("<p>{}</p>\n", text(&c.verdict)));
    shown + &verdicts.collect::<String>()
}

/// The interval as text, and as a bar between the least and the most of all models.
fn bar(figure: &Figure, least: f64, most: f64) -> String {
    let (Some(low), Some(high)) = (figure.low, figure.high) else {
        return String::new();
    };
    let words = format!("{low:.4} to {high:.4}");
    let width = most - least;
    if !width.is_finite() || width <= 0.0 {
        return words;
    }
    let at = |x: f64| 100.0 * (x - least) / width;
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect x=\"{:.2}\" y=\"3\" width=\"{:.2}\" height=\"2\"/><rect x=\"{:.2}\" y=\"0\" width=\"1\" height=\"8\"/></svg> {words}",
        at(low),
        (at(high) - at(low)).max(0.5),
        at(figure.value).min(99.0)
    )
}

pub(crate) fn guard(report: &Report) -> String {
    let Some(guard) = &report.guard else {
        return String::new();
    };
    let rows = guard.models.iter().map(|model| {
        let d = model.difference_to_base.as_ref();
        vec![
            text(&model.name),
            format!("{:.4}", model.nll),
            d.map_or_else(String::new, |d| format!("{:+.4}", d.nll)),
            d.and_then(|d| Some(format!("{:+.4} to {:+.4}", d.low?, d.high?)))
                .unwrap_or_default(),
        ]
    });
    let about = format!(
        "<p class=\"about\">{} rows of {}: the loss may rise by {} nats a token.</p>\n",
        guard.rows,
        text(&guard.data),
        guard.max_drop
    );
    about + &table(&["model", "loss", "− base", "95 % interval"], rows)
}

pub(crate) fn slices(report: &Report) -> String {
    let mut shown = String::new();
    let mut columns: Vec<&str> = report
        .slices
        .iter()
        .map(|slice| slice.column.as_str())
        .collect();
    columns.dedup();
    for column in columns {
        let of = report.slices.iter().filter(|slice| slice.column == column);
        let rows = of.flat_map(|slice| {
            slice.models.iter().flat_map(move |model| {
                model.metrics.iter().map(move |figure| {
                    let interval = figure.low.zip(figure.high);
                    vec![
                        text(&slice.value),
                        slice.prompts.to_string(),
                        text(&model.name),
                        text(&figure.metric),
                        format!("{:.4}", figure.value),
                        interval.map_or_else(String::new, |(low, high)| {
                            format!("{low:.4} to {high:.4}")
                        }),
                    ]
                })
            })
        });
        shown += &format!("<details><summary>by {}</summary>\n", text(column));
        shown += &table(
            &[
                column,
                "prompts",
                "model",
                "metric",
                "value",
                "95 % interval",
            ],
            rows,
        );
        shown += "</details>\n";
    }
    shown
}

//! Curves and histograms as SVG, drawn from numbers alone.
use crate::measured::Measured;
use lora_cli::html::text;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 44.0;
/// Points of a curve: a long run is thinned out.
const MOST_POINTS: usize = 800;
const BINS: usize = 20;

/// The loss of a run: of each step, and on the valid split.
pub(crate) fn curves(name: &str, train: &[(f64, f64)], valid: &[(f64, f64)]) -> String {
    let all = || train.iter().chain(valid).filter(|(_, y)| y.is_finite());
    let last = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let most = all().map(|(_, y)| *y).fold(0.0, f64::max).max(1e-9);
    let place = |(x, y): (f64, f64)| {
        let across = MARGIN + (WIDTH - MARGIN - 8.0) * x / last;
        let down = 8.0 + (HEIGHT - MARGIN) * (1.0 - y / most);
        format!("{across:.1},{down:.1}")
    };
    let line = |points: &[(f64, f64)], class: &str| {
        let step = points.len().div_ceil(MOST_POINTS).max(1);
        let shown = points.iter().step_by(step).filter(|(_, y)| y.is_finite());
        let shown: Vec<String> = shown.map(|point| place(*point)).collect();
        format!(
            "<polyline class=\"{class}\" points=\"{}\"/>",
            shown.join(" ")
        )
    };
    let bottom = 8.0 + HEIGHT - MARGIN;
    format!(
        "<figure><figcaption>{}: loss by step, of the steps and (thick) on the valid split</figcaption>\n\
         <svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"loss curve\">\
         <path class=\"axis\" d=\"M{MARGIN} 8V{bottom}H{WIDTH}\"/>\
         <text x=\"4\" y=\"16\">{most:.2}</text><text x=\"4\" y=\"{bottom}\">0</text>\
         <text x=\"{MARGIN}\" y=\"{:.0}\">0</text><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{last} steps</text>{}{}</svg></figure>\n",
        text(name),
        bottom + 16.0,
        WIDTH - 4.0,
        bottom + 16.0,
        line(train, "train"),
        line(valid, "valid"),
    )
}

/// How losses of rows and lengths of answers are spread, each model beside the others.
pub(crate) fn distributions(models: &[Measured]) -> String {
    let losses = models.iter().map(|model| {
        let rows = model.losses.iter().filter(|loss| loss.tokens > 0);
        (
            model.name.as_str(),
            rows.map(|loss| loss.nll / loss.tokens as f64).collect(),
        )
    });
    let lengths = models.iter().map(|model| {
        let rows = model.answers.iter();
        (
            model.name.as_str(),
            rows.map(|answer| answer.ids.len() as f64).collect(),
        )
    });
    histograms("loss of a row, nats a token", &losses.collect::<Vec<_>>())
        + &histograms("length of an answer, tokens", &lengths.collect::<Vec<_>>())
}

fn histograms(what: &str, models: &[(&str, Vec<f64>)]) -> String {
    let values = || models.iter().flat_map(|(_, values)| values);
    let most = values().copied().fold(0.0, f64::max);
    if values().next().is_none() || most <= 0.0 {
        return String::new();
    }
    let mut shown = format!(
        "<figure><figcaption>{}, 0 to {most:.2}</figcaption>\n",
        text(what)
    );
    for (name, values) in models {
        let mut bins = [0usize; BINS];
        for value in values {
            let bin = (value / most * BINS as f64) as usize;
            bins[bin.min(BINS - 1)] += 1;
        }
        let tallest = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
        let bars = bins.iter().enumerate().map(|(at, count)| {
            let height = 40.0 * *count as f64 / tallest;
            format!(
                "<rect x=\"{}\" y=\"{:.1}\" width=\"9\" height=\"{height:.1}\"/>",
                at * 10,
                40.0 - height
            )
        });
        shown += &format!(
            "<div class=\"histogram\"><span>{}</span><svg viewBox=\"0 0 200 40\" role=\"img\" aria-label=\"histogram\">{}</svg></div>\n",
            text(name),
            bars.collect::<String>()
        );
    }
    shown + "</figure>\n"
}

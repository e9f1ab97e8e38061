//! A chart as an SVG document: axes, round numbers, lines in colours that colour-blind people can tell apart.
use super::Chart;
use super::scale::{Scale, label};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Left, right, top, bottom.
const MARGINS: [f64; 4] = [64.0, 20.0, 40.0, 52.0];
/// Okabe and Ito's colours.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

pub(super) fn draw(chart: &Chart) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let [left, right, top, bottom] = MARGINS;
    let (w, h) = (WIDTH - left - right, HEIGHT - top - bottom);
    let mut text = |x: f64, y: f64, anchor: &str, more: &str, words: &str| {
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{}</text>", escaped(words));
    };
    text(left, 22.0, "start", " font-size=\"15\"", &chart.title);
    text(left + w / 2.0, HEIGHT - 12.0, "middle", "", &chart.x);
    let sideways = format!(" transform=\"rotate(-90 14 {:.1})\"", top + h / 2.0);
    text(14.0, top + h / 2.0, "middle", &sideways, &chart.y);
    let x = Scale::holding(chart.points().map(|p| p.0), false);
    let y = Scale::holding(chart.points().map(|p| p.1), chart.log_y);
    if let (Some(x), Some(y)) = (x, y) {
        let place = |(px, py): (f64, f64)| (left + x.place(px) * w, top + (1.0 - y.place(py)) * h);
        for tick in x.ticks(8) {
            let at = left + x.place(tick) * w;
            text(at, top + h + 18.0, "middle", "", &label(tick));
        }
        for tick in y.ticks(7) {
            let at = top + (1.0 - y.place(tick)) * h;
            text(left - 6.0, at + 4.0, "end", "", &label(tick));
        }
        for tick in y.ticks(7) {
            let at = top + (1.0 - y.place(tick)) * h;
            let _ = writeln!(svg, "<path d=\"M{left} {at:.1}h{w}\" stroke=\"#ddd\"/>");
        }
        let _ = writeln!(svg, "<path d=\"M{left} {top}v{h}h{w}\" fill=\"none\" stroke=\"#444\"/>");
        for (number, line) in chart.lines.iter().enumerate() {
            let points: Vec<String> = chart.drawable(line).map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let colour = COLOURS[number % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
                points.join(" ")
            );
        }
        // The legend lies in the upper corner that the lines leave free.
        let is_above = |at: f64| at < top + 0.4 * h;
        let placed: Vec<(f64, f64)> = chart.points().map(place).filter(|&(_, at)| is_above(at)).collect();
        let right = placed.iter().filter(|(at, _)| *at > left + w / 2.0).count();
        legend(&mut svg, chart, if 2 * right > placed.len() { left + 12.0 } else { left + w - 18.0 });
    }
    svg + "</svg>\n"
}

/// Names of the lines beside a stroke of their colour, which begins at `x`: to its right in the left half, else to its left.
fn legend(svg: &mut String, chart: &Chart, x: f64) {
    let (anchor, words) = if x < WIDTH / 2.0 { ("start", x + 24.0) } else { ("end", x - 6.0) };
    for (number, line) in chart.lines.iter().enumerate() {
        let (at, colour) = (MARGINS[2] + 14.0 + 16.0 * number as f64, COLOURS[number % COLOURS.len()]);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{words:.1}\" y=\"{at:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at - 4.0,
            escaped(&line.name)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

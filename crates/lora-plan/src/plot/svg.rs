//! A chart as an SVG document: axes, round numbers, lines in colours that colour-blind people can tell apart.
use super::chart::Chart;
use super::scale::{Scale, label};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
/// Without the legend, which lies below.
const HEIGHT: f64 = 420.0;
/// Left, right, top, bottom.
const MARGINS: [f64; 4] = [64.0, 20.0, 40.0, 52.0];
/// Okabe and Ito's colours; lines beyond them are dashed, those beyond that dotted.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];
const DASHES: [&str; 3] = ["", " stroke-dasharray=\"8 4\"", " stroke-dasharray=\"2 3\""];
/// A wide character of the text and of the title.
const CHARACTER: f64 = 7.0;
const TITLE_CHARACTER: f64 = 8.5;
/// A line of the legend, and the room above it.
const LEGEND: f64 = 18.0;
const ABOVE: f64 = 8.0;

pub(super) fn draw(chart: &Chart) -> String {
    let [left, right, top, bottom] = MARGINS;
    let (w, h) = (WIDTH - left - right, HEIGHT - top - bottom);
    let height = HEIGHT + Legend::of(chart, w).height();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let title = shortened(&chart.title, (WIDTH - left) / TITLE_CHARACTER);
    text(&mut svg, (left, 22.0), "start", " font-size=\"15\"", &title);
    text(
        &mut svg,
        (left + w / 2.0, HEIGHT - 12.0),
        "middle",
        "",
        &chart.x,
    );
    let sideways = format!(" transform=\"rotate(-90 14 {:.1})\"", top + h / 2.0);
    let y = if chart.log_y {
        format!("{}, logarithmic", chart.y)
    } else {
        chart.y.clone()
    };
    text(&mut svg, (14.0, top + h / 2.0), "middle", &sideways, &y);
    let x = Scale::holding(chart.points().map(|p| p.0), false);
    let y = Scale::holding(chart.points().map(|p| p.1), chart.log_y).map(Scale::with_room);
    if let (Some(x), Some(y)) = (x, y) {
        axes(&mut svg, &x, &y);
        for (number, line) in chart.lines.iter().enumerate() {
            let place =
                |(px, py): (f64, f64)| (left + x.place(px) * w, top + (1.0 - y.place(py)) * h);
            let points: Vec<String> = chart
                .drawable(line)
                .map(place)
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" {} stroke-width=\"1.8\"/>",
                points.join(" "),
                stroke(number)
            );
        }
        Legend::of(chart, w).draw(chart, &mut svg);
    }
    svg + "</svg>\n"
}

/// Round numbers beside both axes, and where they lie.
fn axes(svg: &mut String, x: &Scale, y: &Scale) {
    let [left, right, top, bottom] = MARGINS;
    let (w, h) = (WIDTH - left - right, HEIGHT - top - bottom);
    for tick in x.ticks(8) {
        text(
            svg,
            (left + x.place(tick) * w, top + h + 18.0),
            "middle",
            "",
            &label(tick),
        );
    }
    for tick in y.ticks(7) {
        let at = top + (1.0 - y.place(tick)) * h;
        text(svg, (left - 6.0, at + 4.0), "end", "", &label(tick));
        let _ = writeln!(svg, "<path d=\"M{left} {at:.1}h{w}\" stroke=\"#ddd\"/>");
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{left} {top}v{h}h{w}\" fill=\"none\" stroke=\"#444\"/>"
    );
}

/// Names of the lines beside a stroke of their colour, below the chart, where no line can run through them: in as many
/// columns as the longest name allows.
struct Legend {
    rows: usize,
    /// Pixels of a column.
    width: f64,
}

/// Pixels of a stroke in the legend, and up to its name.
const STROKE: f64 = 24.0;
const TO_NAME: f64 = STROKE + 6.0;

impl Legend {
    fn of(chart: &Chart, w: f64) -> Self {
        let longest = chart
            .lines
            .iter()
            .map(|line| line.name.chars().count())
            .max()
            .unwrap_or(0);
        let columns = ((w / (TO_NAME + CHARACTER * longest as f64)) as usize).clamp(1, 4);
        Self {
            rows: chart.lines.len().div_ceil(columns),
            width: w / columns as f64,
        }
    }

    fn height(&self) -> f64 {
        ABOVE + LEGEND * self.rows as f64
    }

    fn draw(&self, chart: &Chart, svg: &mut String) {
        for (number, line) in chart.lines.iter().enumerate() {
            let x = MARGINS[0] + self.width * (number / self.rows.max(1)) as f64;
            let y = HEIGHT + ABOVE + LEGEND * (number % self.rows.max(1)) as f64;
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {y:.1}h{STROKE}\" {} stroke-width=\"3\"/>",
                stroke(number)
            );
            let name = shortened(&line.name, (self.width - TO_NAME) / CHARACTER);
            text(svg, (x + TO_NAME, y + 4.0), "start", "", &name);
        }
    }
}

/// What tells a line from the others.
fn stroke(number: usize) -> String {
    let dashes = DASHES[number / COLOURS.len() % DASHES.len()];
    format!("stroke=\"{}\"{dashes}", COLOURS[number % COLOURS.len()])
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{}</text>",
        escaped(words)
    );
}

/// At most so many characters; of a longer text the end, which is where names differ.
fn shortened(words: &str, most: f64) -> String {
    let (length, most) = (words.chars().count(), most as usize);
    if length <= most {
        words.to_owned()
    } else {
        format!(
            "…{}",
            words.chars().skip(length - most + 1).collect::<String>()
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

//! A chart as text: one mark a line of the chart, one character a cell.
use super::chart::{Chart, Line};
use super::scale::{Scale, label};
use lora_cli::wrapped;
use unicode_width::UnicodeWidthStr as _;

/// The mark of a single line; several have letters.
const ONE: char = '•';

/// The mark of a line among several.
fn letter(number: usize) -> char {
    ('a'..='z').cycle().nth(number).unwrap_or(ONE)
}

/// The narrowest chart, axis and labels aside.
const LEAST_COLUMNS: usize = 10;

/// Draws within `width` × `height` characters, labels included; the legend lies below and keeps to the width too.
pub(super) fn draw(chart: &Chart, width: usize, height: usize) -> Vec<String> {
    let x = Scale::holding(chart.points().map(|p| p.0), false);
    let y = Scale::holding(chart.points().map(|p| p.1), chart.log_y);
    let (Some(x), Some(y)) = (x, y) else {
        let mut text = wrapped(&chart.title, width);
        text.push("(nothing to draw)".to_owned());
        return text;
    };
    let rows = height.saturating_sub(4).max(4);
    let labels: Vec<(usize, String)> = y
        .ticks((rows / 3).max(3))
        .into_iter()
        .map(|t| (row_of(&y, t, rows), label(t)))
        .collect();
    let margin = labels
        .iter()
        .map(|(_, text)| text.chars().count())
        .max()
        .unwrap_or(1);
    let columns = width.saturating_sub(margin + 3).max(LEAST_COLUMNS);
    let mut cells = vec![vec![' '; columns]; rows];
    for (number, line) in chart.lines.iter().enumerate() {
        let mark = if chart.lines.len() == 1 {
            ONE
        } else {
            letter(number)
        };
        mark_line(chart, line, mark, (&x, &y), &mut cells);
    }
    let logarithmic = if chart.log_y { ", logarithmic" } else { "" };
    let title = format!("{} ({}{logarithmic})", chart.title, chart.y);
    let mut text = wrapped(&title, width);
    for (number, row) in cells.iter().enumerate() {
        let tick = labels
            .iter()
            .find(|(at, _)| *at == number)
            .map_or("", |(_, text)| text);
        let axis = if tick.is_empty() { '│' } else { '┤' };
        let row: String = row.iter().collect();
        text.push(format!("{tick:>margin$} {axis}{}", row.trim_end()));
    }
    text.push(format!("{:margin$} └{}", "", "─".repeat(columns)));
    text.extend(
        ticks_below(&x, columns, &chart.x)
            .into_iter()
            .map(|line| format!("{:margin$}  {line}", "")),
    );
    if chart.lines.len() > 1 {
        text.extend(
            legend(chart, columns)
                .into_iter()
                .map(|line| format!("{:margin$}  {line}", "")),
        );
    }
    text
}

/// Marks and the lines that they stand for, as many beside each other as fit; a name that is too long is wrapped.
fn legend(chart: &Chart, columns: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for (number, line) in chart.lines.iter().enumerate() {
        let entry = format!("{} {}", letter(number), line.name);
        match rows.last_mut() {
            Some(row) if row.width() + 3 + entry.width() <= columns => {
                *row += &format!("   {entry}");
            }
            _ if entry.width() <= columns => rows.push(entry),
            _ => {
                let name = wrapped(&line.name, columns.saturating_sub(2));
                let mark = std::iter::once(letter(number)).chain(std::iter::repeat(' '));
                rows.extend(
                    name.iter()
                        .zip(mark)
                        .map(|(part, mark)| format!("{mark} {part}")),
                );
            }
        }
    }
    rows
}

fn row_of(y: &Scale, value: f64, rows: usize) -> usize {
    ((1.0 - y.place(value)) * (rows - 1) as f64)
        .round()
        .clamp(0.0, (rows - 1) as f64) as usize
}

/// Marks each column that the line crosses at the line's height there.
fn mark_line(
    chart: &Chart,
    line: &Line,
    mark: char,
    (x, y): (&Scale, &Scale),
    cells: &mut [Vec<char>],
) {
    let (rows, columns) = (cells.len(), cells[0].len());
    let column = |value: f64| (x.place(value) * (columns - 1) as f64).round() as usize;
    let points: Vec<(f64, f64)> = chart.drawable(line).collect();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let (c0, c1) = (column(x0), column(x1));
        for c in c0..=c1.max(c0) {
            let share = if c1 == c0 {
                1.0
            } else {
                (c - c0) as f64 / (c1 - c0) as f64
            };
            cells[row_of(y, y0 + share * (y1 - y0), rows)][c.min(columns - 1)] = mark;
        }
    }
    for (px, py) in points {
        cells[row_of(y, py, rows)][column(px).min(columns - 1)] = mark;
    }
}

/// Round numbers below the axis, and what they are: beside them if there is room, else below.
fn ticks_below(x: &Scale, columns: usize, name: &str) -> Vec<String> {
    let mut line: Vec<char> = vec![' '; columns];
    let mut free = 0;
    for tick in x.ticks(6) {
        let text = label(tick);
        let at = (x.place(tick) * (columns - 1) as f64).round() as usize;
        let start = at.saturating_sub(text.chars().count() / 2);
        if start >= free && start + text.chars().count() <= columns {
            text.chars()
                .enumerate()
                .for_each(|(i, c)| line[start + i] = c);
            free = start + text.chars().count() + 1;
        }
    }
    let ticks = line.into_iter().collect::<String>().trim_end().to_owned();
    if ticks.chars().count() + 2 + name.chars().count() <= columns {
        return vec![format!("{ticks}  {name}")];
    }
    let below = wrapped(name, columns);
    std::iter::once(ticks)
        .chain(below.iter().map(|line| format!("{line:>columns$}")))
        .collect()
}

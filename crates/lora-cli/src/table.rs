//! Figures for people: aligned tables that keep to a width, wrapped text, sizes and times.
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns between two cells.
const GAP: usize = 2;
/// The least that a table or a wrapped line is laid out for.
const LEAST_WIDTH: usize = 20;

/// Rows as aligned columns, two spaces apart; the first row is the header. Columns whose every cell below the header
/// starts with a digit or sign are aligned to the right. Each line ends with a newline.
pub fn table<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    table_within(rows, usize::MAX)
}

/// As [`table`], at most `width` columns of the terminal wide: long cells are wrapped, and columns that don't fit beside
/// the others follow below, behind the first column once more.
pub fn table_within<S: AsRef<str>>(rows: &[Vec<S>], width: usize) -> String {
    let rows: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.iter().map(AsRef::as_ref).collect())
        .collect();
    let columns = columns(&rows, width.max(LEAST_WIDTH));
    let parts = parts(&columns, width.max(LEAST_WIDTH));
    let shown: Vec<String> = parts.iter().map(|part| part_of(&rows, part)).collect();
    shown.join("\n")
}

/// Rows as a Markdown table; the first row is the header. Figures are aligned to the right, as [`table`] does.
pub fn markdown<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    let rows: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.iter().map(AsRef::as_ref).collect())
        .collect();
    let columns = columns(&rows, usize::MAX);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cell = |column: &Column| {
            let words = row.get(column.index).copied().unwrap_or_default();
            words.replace('|', "\\|").replace('\n', "<br>")
        };
        text += &line(columns.iter().map(cell).collect());
        if number == 0 {
            let rule = |column: &Column| if column.right { "---:" } else { "---" };
            text += &line(columns.iter().map(|c| rule(c).to_owned()).collect());
        }
    }
    text
}

/// How a column is laid out.
#[derive(Debug, Clone, Copy)]
struct Column {
    index: usize,
    width: usize,
    right: bool,
}

fn columns(rows: &[Vec<&str>], width: usize) -> Vec<Column> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let natural = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    // The first column stands in every part, so it leaves more than half of the width to the others.
    let first = if count > 1 {
        natural(0).min(width / 5 * 2)
    } else {
        natural(0).min(width)
    };
    let column = |index: usize| {
        let mut below = rows
            .iter()
            .skip(1)
            .filter_map(|row| row.get(index))
            .filter(|cell| !cell.is_empty())
            .peekable();
        let most = if index == 0 {
            first
        } else {
            width - first - GAP
        };
        Column {
            index,
            width: natural(index).min(most),
            right: below.peek().is_some() && below.all(|cell| is_figure(cell)),
        }
    };
    (0..count).map(column).collect()
}

/// The columns that stand beside each other, the first one in each part.
fn parts(columns: &[Column], width: usize) -> Vec<Vec<Column>> {
    let Some((first, others)) = columns.split_first() else {
        return Vec::new();
    };
    let mut parts = vec![vec![*first]];
    let mut used = first.width;
    for column in others {
        let more = GAP + column.width;
        match parts.last_mut() {
            Some(part) if part.len() == 1 || used + more <= width => {
                part.push(*column);
                used += more;
            }
            _ => {
                parts.push(vec![*first, *column]);
                used = first.width + more;
            }
        }
    }
    parts
}

/// Some columns of all rows.
fn part_of(rows: &[Vec<&str>], columns: &[Column]) -> String {
    let mut text = String::new();
    for row in rows {
        let cell = |column: &Column| row.get(column.index).copied().unwrap_or_default();
        let cells: Vec<Vec<String>> = columns
            .iter()
            .map(|column| wrapped(cell(column), column.width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for line in 0..height {
            let mut shown = String::new();
            for (column, lines) in columns.iter().zip(&cells) {
                let words = lines.get(line).map_or("", String::as_str);
                let padding = " ".repeat(column.width.saturating_sub(words.width()));
                if column.right {
                    shown += &format!("{padding}{words}  ");
                } else {
                    shown += &format!("{words}{padding}  ");
                }
            }
            text += shown.trim_end();
            text.push('\n');
        }
    }
    text
}

fn is_figure(text: &str) -> bool {
    text == "-"
        || text
            .trim_start_matches(['+', '-', '−'])
            .starts_with(|c: char| c.is_ascii_digit())
}

/// Text in lines of at most `width` columns, broken between words, and inside a word only where it alone is too wide.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        if !line.is_empty() && line.width() + 1 + word.width() <= width {
            line.push(' ');
            line += &word;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while word.width() > width {
            let rest = word.split_off(fitting(&word, width));
            lines.push(std::mem::replace(&mut word, rest));
        }
        line = word;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Bytes of the longest start of `word` that fits into `width` columns, at least one character; it ends behind a mark
/// between parts of a path or of a list if one stands in its second half.
fn fitting(word: &str, width: usize) -> usize {
    let mut used = 0;
    let mut behind_mark = None;
    for (at, character) in word.char_indices() {
        used += character.width().unwrap_or(0);
        if used > width && at > 0 {
            return behind_mark.unwrap_or(at);
        }
        if 2 * used > width && "/,;@=".contains(character) {
            behind_mark = Some(at + character.len_utf8());
        }
    }
    word.len()
}

/// Bytes as people read them, in decimal units: `4.1 MB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Seconds as people read them: `0.4 s`, `41 s`, `3 min 05 s`, `2 h 10 min`.
pub fn human_seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    fn tables_in_markdown() {
        let rows = [
            vec!["run", "loss"],
            vec!["a|b", "0.25"],
            vec!["two\nlines", "-"],
        ];
        let want = "| run | loss |\n| --- | ---: |\n| a\\|b | 0.25 |\n| two<br>lines | - |\n";
        assert_eq!(markdown(&rows), want);
    }
}

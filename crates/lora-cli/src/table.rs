//! Figures for people: aligned tables, sizes and times.

/// Rows as aligned columns, two spaces apart; the first row is the header. Columns whose every cell below the header
/// starts with a digit or sign are aligned to the right. Each line ends with a newline.
pub fn table<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: usize, column: usize| rows[row].get(column).map_or("", AsRef::as_ref);
    let layout: Vec<(usize, bool)> = (0..columns)
        .map(|column| {
            let width = (0..rows.len())
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0);
            let mut below = (1..rows.len())
                .map(|row| cell(row, column))
                .filter(|text| !text.is_empty())
                .peekable();
            (width, below.peek().is_some() && below.all(is_figure))
        })
        .collect();
    let mut text = String::new();
    for row in 0..rows.len() {
        let mut line = String::new();
        for (column, &(width, right)) in layout.iter().enumerate() {
            let cell = cell(row, column);
            let padding = " ".repeat(width - cell.chars().count());
            line += &if right {
                format!("{padding}{cell}  ")
            } else {
                format!("{cell}{padding}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn is_figure(text: &str) -> bool {
    text == "-"
        || text
            .trim_start_matches(['+', '-', '−'])
            .starts_with(|c: char| c.is_ascii_digit())
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

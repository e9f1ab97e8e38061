//! The table of a comparison: a row a run, its results, what it cost and the settings that differ.
use super::row::{Compared, Interval};
use lora_cli::{human_bytes, human_seconds};
use lora_core::thousands;

/// What stands for a fact that a run has not.
const NONE: &str = "-";

/// A fact of each run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
}

/// A fact of one run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// For people.
    pub(super) text: String,
    /// What it is sorted by, if not by its text.
    pub(super) key: Option<f64>,
}

impl Cell {
    fn new(text: String, key: f64) -> Self {
        Self {
            text,
            key: Some(key),
        }
    }
}

/// Every column; the lowest loss is marked in the first.
pub(super) fn columns(rows: &[Compared]) -> Vec<Column> {
    let mut columns = vec![names(rows)];
    columns.extend(results(rows));
    columns.extend(settings(rows));
    columns.extend(costs(rows));
    columns
}

/// The same as rows of text, the head first.
pub(super) fn cells(rows: &[Compared]) -> Vec<Vec<String>> {
    let columns = columns(rows);
    let head = columns.iter().map(|column| column.name.clone()).collect();
    let row = |number: usize| {
        columns
            .iter()
            .map(move |column| column.cells[number].text.clone())
    };
    std::iter::once(head)
        .chain((0..rows.len()).map(|number| row(number).collect()))
        .collect()
}

/// The runs.
pub(super) fn names(rows: &[Compared]) -> Column {
    let name = |row: &Compared| match row.best {
        true => format!("{} *", row.run),
        false => row.run.clone(),
    };
    let cell = |row| Cell {
        text: name(row),
        key: None,
    };
    Column {
        name: "run".to_owned(),
        cells: rows.iter().map(cell).collect(),
    }
}

/// Settings that are not the same in all runs.
pub(super) fn settings(rows: &[Compared]) -> Vec<Column> {
    let keys = rows.first().into_iter().flat_map(|row| row.differs.keys());
    let of = |key: &String| {
        let own = |row: &Compared| row.differs.get(key).cloned().unwrap_or_default();
        let cell = |row| Cell {
            key: own(row).parse().ok(),
            text: own(row),
        };
        Column {
            name: key.clone(),
            cells: rows.iter().map(cell).collect(),
        }
    };
    keys.map(of).collect()
}

/// A fact; none where no run has it.
fn facts(
    name: &str,
    rows: &[Compared],
    fact: impl Fn(&Compared) -> Option<Cell>,
) -> Option<Column> {
    let none = || Cell {
        text: NONE.to_owned(),
        key: None,
    };
    let all: Vec<Option<Cell>> = rows.iter().map(fact).collect();
    all.iter().any(Option::is_some).then(|| Column {
        name: name.to_owned(),
        cells: all
            .into_iter()
            .map(|cell| cell.unwrap_or_else(none))
            .collect(),
    })
}

/// What came out.
pub(super) fn results(rows: &[Compared]) -> Vec<Column> {
    let share = |of: fn(&Compared) -> Option<f64>| {
        move |row: &Compared| of(row).map(|x| Cell::new(format!("{:.1}", 100.0 * x), x))
    };
    let all = [
        facts("loss − base (95 %)", rows, |row| {
            row.difference_to_base.map(|i| interval(i, 1.0, 4))
        }),
        facts("exact match % (95 %)", rows, |row| {
            row.exact_match.map(|i| interval(i, 100.0, 1))
        }),
        facts("valid loss, best", rows, |row| {
            let loss = row.valid_loss?;
            Some(Cell::new(format!("{loss:.4}"), loss))
        }),
        facts("share of the gain % (95 %)", rows, |row| {
            row.share
                .as_ref()
                .map(|share| interval(share.gain, 100.0, 1))
        }),
        facts(
            "of the parameters %",
            rows,
            share(|row| row.share.as_ref()?.parameters),
        ),
        facts(
            "of the memory %",
            rows,
            share(|row| row.share.as_ref()?.memory),
        ),
    ];
    all.into_iter().flatten().collect()
}

/// What it cost.
pub(super) fn costs(rows: &[Compared]) -> Vec<Column> {
    let all = [
        facts("trainable", rows, |row| {
            let count = row.trainable?;
            Some(Cell::new(thousands(count), count as f64))
        }),
        facts("steps", rows, |row| {
            Some(Cell::new(row.steps.to_string(), row.steps as f64))
        }),
        facts("time", rows, |row| {
            let seconds = row.seconds?;
            Some(Cell::new(human_seconds(seconds), seconds))
        }),
        facts("tokens/s", rows, |row| {
            let rate = row.tokens_per_s?;
            Some(Cell::new(format!("{rate:.0}"), rate))
        }),
        facts("peak memory", rows, |row| {
            let bytes = row.peak_bytes?;
            Some(Cell::new(human_bytes(bytes), bytes as f64))
        }),
    ];
    all.into_iter().flatten().collect()
}

fn interval(i: Interval, times: f64, digits: usize) -> Cell {
    let Interval { value, low, high } = i;
    let text = format!(
        "{:.digits$} ({:.digits$} to {:.digits$})",
        times * value,
        times * low,
        times * high
    );
    Cell::new(text, value)
}

//! `--html`: a comparison as one page. Its only script is the one that sorts its tables.
use super::notes::notes;
use super::row::Compared;
use super::table::{self, Cell, Column};
use crate::plot::Chart;
use lora_cli::html;

const SORT: &str = include_str!("sort.js");

/// The whole page.
pub(super) fn html(rows: &[Compared], chart: &Chart) -> String {
    let title = format!("{} runs compared", rows.len());
    let mut body = format!("<h1>{title}</h1>\n");
    for note in notes(rows) {
        body += &format!("<p>{}</p>\n", html::text(&note));
    }
    let with_names = |columns: Vec<Column>| {
        let all = [table::names(rows)].into_iter().chain(columns);
        sortable(&all.collect::<Vec<_>>(), rows.len())
    };
    let mut outcome = table::results(rows);
    outcome.extend(table::costs(rows));
    body += &html::section("Results and costs", &with_names(outcome));
    let settings = table::settings(rows);
    if !settings.is_empty() {
        body += &html::section("What differed", &with_names(settings));
    }
    let drawing = format!("<figure class=\"plot\">{}</figure>\n", chart.svg());
    body += &html::section("Curves", &drawing);
    html::page(&title, &body, Some(SORT))
}

/// A table that a click on a head sorts.
fn sortable(columns: &[Column], rows: usize) -> String {
    let head: String = columns
        .iter()
        .map(|column| {
            let name = html::text(&column.name);
            format!("<th scope=\"col\"><button type=\"button\">{name}</button></th>")
        })
        .collect();
    let cell = |cell: &Cell| {
        let key = cell.key.map(|key| format!(" data-key=\"{key}\""));
        format!(
            "<td{}>{}</td>",
            key.unwrap_or_default(),
            html::text(&cell.text)
        )
    };
    let row = |number: usize| {
        let cells: String = columns
            .iter()
            .map(|column| cell(&column.cells[number]))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = (0..rows).map(row).collect();
    format!(
        "<div class=\"wide\" tabindex=\"0\"><table class=\"sortable\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )
}

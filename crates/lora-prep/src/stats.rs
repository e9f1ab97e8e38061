//! What a dataset holds, counted: lengths, supervised share, duplicates, refused rows, sources, and a histogram.
use crate::args::StatsArgs;
use crate::source::SOURCE;
use lora_cli::{Error, Result, Status, Ui, artefact_input};
use lora_data::{Example, Manifest, Split, read_column};
use lora_receipt::Artefact;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

/// Bars of the histogram, and the most characters of one.
const BARS: usize = 16;
const WIDTH: usize = 50;

/// Prints the counts of every split.
pub(crate) fn stats(args: &StatsArgs, ui: &Ui) -> Result<Status> {
    let data = artefact_input(&args.data, Artefact::Dataset)?;
    let mut seen = HashSet::new();
    let mut lengths = Vec::new();
    let header =
        "split|source|rows|prompts|tokens|supervised|duplicates|min|10 %|50 %|90 %|99 %|max";
    let mut table = vec![header.split('|').map(str::to_owned).collect()];
    for name in splits(&data)? {
        let split = Split::read(&data, &name)?;
        lengths.extend(split.lengths());
        let all: Vec<&Example> = split.examples.iter().collect();
        let repeated: Vec<bool> = all
            .iter()
            .map(|row| !seen.insert(row.input_ids.clone()))
            .collect();
        let mut parts = vec![(None, (0..all.len()).collect::<Vec<_>>())];
        parts.extend(of_sources(&data, &name)?);
        for (source, places) in parts {
            let rows: Vec<&Example> = places.iter().map(|at| all[*at]).collect();
            let duplicates = places.iter().filter(|at| repeated[**at]).count();
            let figures = Figures::of(&rows, duplicates);
            ui.event(&json!({"event": "stats", "split": name, "source": source, "figures": figures.json()}));
            table.push(figures.line(&name, source.as_deref()));
        }
    }
    ui.table(&table);
    refused(&data, ui);
    let histogram = Histogram::of(&lengths);
    ui.event(&json!({"event": "histogram", "bars": histogram.bars}));
    ui.out("");
    ui.out("tokens a row:");
    histogram.lines().iter().for_each(|line| ui.out(line));
    if let Some(file) = &args.svg {
        std::fs::write(file, histogram.svg()).map_err(|error| {
            Error::foreign(error).context(format!("failed to write {}", file.display()))
        })?;
    }
    Ok(Status::Done)
}

/// The splits of a folder, train first; of a file its name.
fn splits(data: &Path) -> Result<Vec<String>> {
    if data.is_file() {
        let stem = data.file_stem().unwrap_or_default();
        return Ok(vec![stem.to_string_lossy().into_owned()]);
    }
    let is_there = |name: &&str| data.join(format!("{name}.parquet")).is_file();
    let names = ["train", "valid", "test"].into_iter();
    let there: Vec<String> = names.filter(is_there).map(str::to_owned).collect();
    match there.is_empty() {
        true => Err(Error::new(format!("{}: there is no split", data.display()))
            .hint("a dataset folder is made by lora-prep")),
        false => Ok(there),
    }
}

/// The places of each source's rows, where the dataset keeps sources.
fn of_sources(data: &Path, split: &str) -> Result<Vec<(Option<String>, Vec<usize>)>> {
    // A dataset of one source has no such column.
    let Ok(column) = read_column(data, split, SOURCE) else {
        return Ok(Vec::new());
    };
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, source) in column.iter().enumerate() {
        let source = source.as_str().unwrap_or_default().to_owned();
        places.entry(source).or_default().push(at);
    }
    Ok(places
        .into_iter()
        .map(|(name, at)| (Some(name), at))
        .collect())
}

/// Rows that lora-prep refused, by reason.
fn refused(data: &Path, ui: &Ui) {
    // A file, or a folder of somebody else, has no such record.
    let Ok(manifest) = Manifest::read(data) else {
        return;
    };
    let refused: usize = manifest.refused.values().sum();
    ui.event(&json!({"event": "refused-rows", "rows": refused, "read": manifest.rows_read, "reasons": manifest.refused}));
    ui.out("");
    ui.out(&format!(
        "refused {refused} of {} rows that were read",
        manifest.rows_read
    ));
    for (reason, rows) in &manifest.refused {
        ui.out(&format!("  {rows} {reason}"));
    }
}

/// What is counted of some rows.
struct Figures {
    rows: usize,
    prompts: usize,
    tokens: usize,
    supervised: usize,
    duplicates: usize,
    /// Smallest, tenth, half, nine tenths, 99 of 100, largest.
    quantiles: [usize; 6],
}

impl Figures {
    fn of(rows: &[&Example], duplicates: usize) -> Self {
        let mut lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        lengths.sort_unstable();
        let last = lengths.len().saturating_sub(1) as f64;
        let quantile = |share: f64| lengths.get((share * last).round() as usize).copied();
        let prompts: HashSet<&str> = rows.iter().map(|row| row.group.as_str()).collect();
        Self {
            rows: rows.len(),
            prompts: prompts.len(),
            tokens: lengths.iter().sum(),
            supervised: rows.iter().map(|row| row.supervised()).sum(),
            duplicates,
            quantiles: [0.0, 0.1, 0.5, 0.9, 0.99, 1.0].map(|share| quantile(share).unwrap_or(0)),
        }
    }

    fn json(&self) -> Value {
        let [min, p10, p50, p90, p99, max] = self.quantiles;
        json!({
            "rows": self.rows, "prompts": self.prompts, "tokens": self.tokens, "supervised_tokens": self.supervised,
            "duplicates": self.duplicates,
            "length": {"min": min, "p10": p10, "p50": p50, "p90": p90, "p99": p99, "max": max},
        })
    }

    fn line(&self, split: &str, source: Option<&str>) -> Vec<String> {
        let share = 100.0 * self.supervised as f64 / self.tokens.max(1) as f64;
        let mut line = vec![split.to_owned(), source.unwrap_or("all").to_owned()];
        line.extend([self.rows, self.prompts, self.tokens].map(|n| n.to_string()));
        line.push(format!("{} ({share:.0} %)", self.supervised));
        line.push(self.duplicates.to_string());
        line.extend(self.quantiles.map(|n| n.to_string()));
        line
    }
}

/// How many rows have how many tokens: from, to, rows.
struct Histogram {
    bars: Vec<(usize, usize, usize)>,
}

impl Histogram {
    fn of(lengths: &[usize]) -> Self {
        let least = lengths.iter().copied().min().unwrap_or(0);
        let most = lengths.iter().copied().max().unwrap_or(0);
        let width = (most - least + 1).div_ceil(BARS).max(1);
        let mut bars: Vec<(usize, usize, usize)> = (0..(most - least + 1).div_ceil(width))
            .map(|bar| (least + bar * width, least + (bar + 1) * width - 1, 0))
            .collect();
        for length in lengths {
            bars[(length - least) / width].2 += 1;
        }
        Self { bars }
    }

    fn most(&self) -> usize {
        self.bars.iter().map(|bar| bar.2).max().unwrap_or(0).max(1)
    }

    fn lines(&self) -> Vec<String> {
        let digits = self.bars.last().map_or(1, |bar| bar.1.to_string().len());
        let line = |(from, to, rows): &(usize, usize, usize)| {
            let bar = "█".repeat((rows * WIDTH).div_ceil(self.most()));
            format!("  {from:>digits$}–{to:<digits$} {bar} {rows}")
        };
        self.bars.iter().map(line).collect()
    }

    fn svg(&self) -> String {
        let height = 24 * self.bars.len() + 40;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<text x=\"8\" y=\"20\">tokens a row</text>\n"
        );
        for (at, (from, to, rows)) in self.bars.iter().enumerate() {
            let (y, length) = (34 + 24 * at, rows * 420 / self.most());
            // Writing into memory can't fail.
            let _ = writeln!(
                svg,
                "<text x=\"110\" y=\"{}\" text-anchor=\"end\">{from}–{to}</text>\
                 <rect x=\"118\" y=\"{y}\" width=\"{length}\" height=\"18\" fill=\"#4477aa\"/>\
                 <text x=\"{}\" y=\"{}\">{rows}</text>",
                y + 13,
                124 + length,
                y + 13
            );
        }
        svg + "</svg>\n"
    }
}

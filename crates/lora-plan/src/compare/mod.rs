//! `lora-plan compare`: runs side by side. What differs in their settings, what they cost, what came out.
mod gain;
mod notes;
mod page;
mod row;
mod table;

pub use row::{Compared, Interval, Share};

use crate::plot::{Chart, Line, thinned};
use crate::run::{Run, find};
use crate::show::tagged;
use lora_cli::{Context as _, Error, Foreign as _, Layout, Result, Status, Ui};
use notes::notes;
use std::path::PathBuf;

/// Compare runs: settings that differ, cost, results with their 95 % intervals, and the loss curves.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct CompareArgs {
    /// Adapter folders of lora-train, or folders of steps (with all trainings in them).
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Also draw the loss curves into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Also write a page with the curves and sortable tables: one file that loads nothing.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show each run's gain over the base as a share of this run's (full fine-tuning, say), beside its share of the
    /// parameters and of the memory.
    #[arg(long, value_name = "RUN")]
    pub gain_of: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  lora-plan compare work/sweep
  lora-plan compare adapter-r8 adapter-r16 --svg loss.svg
  lora-plan compare work/sweep --html sweep.html
  lora-plan compare work/lora-vs-full --gain-of full
  lora-plan compare work/sweep --json | jq '[.run, .valid_loss]'";

/// Reads the runs at all paths; warns of what is not as its tool wrote it.
///
/// # Errors
/// When a path holds no training, or when a file there can't be read.
pub fn compare(paths: &[PathBuf], ui: &Ui) -> Result<(Vec<Compared>, Chart)> {
    let mut runs = Vec::new();
    for path in paths {
        let found = find(path)?;
        found.damage().iter().for_each(|line| ui.warn(line));
        let found = found.runs;
        if found.is_empty() {
            return Err(Error::new(format!(
                "{} holds no finished step of lora-train",
                path.display()
            )));
        }
        runs.extend(found);
    }
    let rows = row::compared(&runs);
    let order = ranking(&rows);
    let mut rows: Vec<Compared> = order.iter().map(|&at| rows[at].clone()).collect();
    if rows.len() > 1 && common_loss(&rows).is_some() {
        rows[0].best = true;
    }
    let mut places: Vec<(usize, Run)> = runs.into_iter().enumerate().collect();
    places.sort_by_key(|(at, _)| order.iter().position(|ranked| ranked == at));
    let runs: Vec<Run> = places.into_iter().map(|(_, run)| run).collect();
    Ok((rows, curves(&runs)))
}

/// Where each run stands, the one with the lowest loss first: by lora-eval's difference to the base where all runs have
/// one, else by the loss on the valid split. Runs with other data can't be ranked: they stay as they were named.
fn ranking(rows: &[Compared]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    if let Some(loss) = common_loss(rows) {
        order.sort_by(|&a, &b| loss(&rows[a]).total_cmp(&loss(&rows[b])));
    }
    order
}

/// The loss that all runs have of the same rows.
fn common_loss(rows: &[Compared]) -> Option<fn(&Compared) -> f64> {
    let measured = |row: &Compared| row.difference_to_base.is_some();
    let held_out = |row: &Compared| row.valid_loss.is_some();
    if Compared::have_other_data(rows) {
        None
    } else if rows.iter().all(measured) {
        Some(|row| row.loss_interval().0)
    } else if rows.iter().all(held_out) {
        Some(|row| row.valid_loss.unwrap_or(f64::INFINITY))
    } else {
        None
    }
}

pub(crate) fn run(args: &CompareArgs, ui: &Ui) -> Result<Status> {
    let (mut rows, chart) = compare(&args.runs, ui)?;
    if let Some(whole) = &args.gain_of {
        gain::shares(&mut rows, whole)?;
    }
    rows.iter().for_each(|row| ui.event(&tagged("run", row)));
    shown(&rows, &chart, ui.layout())
        .iter()
        .for_each(|line| ui.out(line));
    if let Some(path) = &args.svg {
        chart.write_svg(path)?;
        ui.say(&format!("wrote {}", path.display()));
    }
    if let Some(path) = &args.html {
        std::fs::write(path, page::html(&rows, &chart))
            .foreign()
            .context(|| format!("failed to write {}", path.display()))?;
        ui.say(&format!("wrote {}", path.display()));
    }
    Ok(Status::Done)
}

/// Valid losses; where nothing was held out, train losses.
fn curves(runs: &[Run]) -> Chart {
    let held_out = runs.iter().all(|run| run.training.evals.len() > 1);
    let points = |run: &Run| -> Vec<(f64, f64)> {
        if held_out {
            run.training
                .evals
                .iter()
                .map(|eval| (eval.step as f64, eval.valid_loss))
                .collect()
        } else {
            let steps: Vec<_> = run
                .training
                .steps
                .iter()
                .map(|step| (step.step as f64, step.loss))
                .collect();
            thinned(&steps, 60)
        }
    };
    let names = row::short_names(runs);
    let mut lines: Vec<Line> = runs
        .iter()
        .zip(names)
        .map(|(run, name)| Line {
            name,
            points: points(run),
        })
        .collect();
    if let ([run], true) = (runs, held_out) {
        let steps: Vec<_> = run
            .training
            .steps
            .iter()
            .map(|step| (step.step as f64, step.loss))
            .collect();
        lines = vec![
            Line {
                name: "train".to_owned(),
                points: thinned(&steps, 60),
            },
            Line {
                name: "valid".to_owned(),
                points: points(run),
            },
        ];
    }
    let title = match (held_out, runs.len()) {
        (true, 1) => "loss",
        (true, _) => "loss on the valid split",
        (false, _) => "train loss",
    };
    let smallest = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|p| p.1)
        .fold(f64::INFINITY, f64::min);
    let largest = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|p| p.1)
        .fold(0.0, f64::max);
    Chart {
        title: title.to_owned(),
        x: "step".to_owned(),
        y: "nats per supervised token".to_owned(),
        log_y: smallest > 0.0 && largest > 20.0 * smallest,
        lines,
    }
}

/// Everything for people, at most `width` columns wide: the table of a row a run, the curves, and what can be said of the
/// results.
fn shown(rows: &[Compared], chart: &Chart, layout: Layout) -> Vec<String> {
    let mut lines = layout.table(&table::cells(rows));
    if !layout.is_markdown() {
        lines.push(String::new());
    }
    lines.extend(layout.drawn(chart.text(layout.width().min(WIDEST_CHART), 18)));
    lines.push(String::new());
    for note in notes(rows) {
        lines.extend(layout.paragraph(&note));
    }
    lines
}

/// A wider chart shows no more.
const WIDEST_CHART: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::Line;
    use std::collections::BTreeMap;

    /// A run of a sweep as pipelines name them.
    fn run(number: u32) -> Compared {
        let loss = f64::from(number) - 9.5;
        let differs: BTreeMap<String, String> = (0..9)
            .map(|key| {
                (
                    format!("a-setting-{key}"),
                    format!("value {number} of {key}"),
                )
            })
            .collect();
        Compared {
            run: format!("train@base=data/tiny-chat,targets=all-linear,rank={number},lr=0.005"),
            folder: format!("work/sweep/train@rank={number}"),
            best: number == 0,
            inputs: Some(("data/tiny-chat".to_owned(), "work/sweep/prep".to_owned())),
            differs,
            trainable: Some(1_234_567),
            steps: 2680,
            seconds: Some(71.0),
            tokens_per_s: Some(812.0),
            peak_bytes: Some(50_000_000),
            valid_loss: Some(0.1234),
            difference_to_base: Some(Interval {
                value: loss,
                low: loss - 0.6,
                high: loss + 0.6,
            }),
            exact_match: Some(Interval {
                value: 0.961,
                low: 0.91,
                high: 0.98,
            }),
            share: None,
        }
    }

    /// Runs are rows: nothing is wider than the terminal, and the best is the first of each part, marked.
    #[test]
    fn a_sweep_keeps_to_every_width() {
        for runs in [1, 2, 6, 16] {
            let rows: Vec<Compared> = (0..runs).map(run).collect();
            let chart = Chart {
                title: "loss on the valid split".to_owned(),
                x: "step".to_owned(),
                y: "nats per supervised token".to_owned(),
                log_y: true,
                lines: rows
                    .iter()
                    .map(|row| Line {
                        name: row.run.clone(),
                        points: vec![(1.0, 3.0), (2680.0, 0.01)],
                    })
                    .collect(),
            };
            for width in [40, 60, 80, 100, 200] {
                let lines = shown(&rows, &chart, Layout::within(width));
                for line in &lines {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                }
                let text = lines.concat().replace(' ', "");
                assert!(
                    text.contains("rank=0,lr=0.005*") || width < 200 || runs == 1,
                    "{lines:#?}"
                );
                assert!(
                    text.contains("1min11s") && text.contains("96.1"),
                    "{lines:#?}"
                );
            }
        }
    }

    #[test]
    fn the_lowest_loss_is_the_first_and_other_data_are_not_ranked() {
        let rows = [run(3), run(0), run(2)];
        assert_eq!(ranking(&rows), [1, 2, 0]);
        let mut unmeasured = rows.clone();
        unmeasured[0].difference_to_base = None;
        unmeasured[2].valid_loss = Some(0.01);
        assert_eq!(ranking(&unmeasured), [2, 0, 1], "by the loss that all have");
        let mut other = rows;
        other[0]
            .differs
            .insert("data (content)".to_owned(), "1".to_owned());
        assert_eq!(ranking(&other), [0, 1, 2]);
    }
    /// The words that make a page run something, as names, settings and values of runs.
    #[test]
    fn nothing_of_a_run_is_markup_in_the_page() {
        const HOSTILE: &str =
            "</script><img src=x onerror=\"alert(1)\">'javascript:alert(2)'<svg onload=alert(3)>";
        let mut rows: Vec<Compared> = (0..3).map(run).collect();
        for row in &mut rows {
            row.run = format!("{} {HOSTILE}", row.run);
            row.folder = HOSTILE.to_owned();
            row.inputs = Some((HOSTILE.to_owned(), HOSTILE.to_owned()));
            row.differs.insert(HOSTILE.to_owned(), HOSTILE.to_owned());
        }
        let line = |row: &Compared| Line {
            name: row.run.clone(),
            points: vec![(1.0, 3.0), (2.0, 1.0)],
        };
        let chart = Chart {
            title: HOSTILE.to_owned(),
            x: HOSTILE.to_owned(),
            y: HOSTILE.to_owned(),
            log_y: false,
            lines: rows.iter().map(line).collect(),
        };
        let page = page::html(&rows, &chart);
        assert_eq!(page.matches("<script").count(), 1, "the one that sorts");
        for markup in ["<img", "<svg o", "onerror=\"", "</script><"] {
            assert!(!page.contains(markup), "{markup}: {page}");
        }
        assert!(page.contains("&lt;img"), "shown as text: {page}");
        assert!(
            page.contains("data-key=\"-9.5\""),
            "sorted by its number: {page}"
        );
    }
}

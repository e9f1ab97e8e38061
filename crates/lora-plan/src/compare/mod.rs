//! `lora-plan compare`: runs side by side. What differs in their settings, what they cost, what came out.
mod row;

pub use row::{Compared, Interval};

use crate::plot::{Chart, Line, thinned};
use crate::run::{Run, find, quoted};
use crate::show::tagged;
use lora_cli::{Error, Result, Status, Ui, human_bytes, human_seconds, table};
use lora_core::thousands;
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
}

const EXAMPLES: &str = "\
Examples:
  lora-plan compare work/sweep
  lora-plan compare adapter-r8 adapter-r16 --svg loss.svg
  lora-plan compare work/sweep --json | jq '[.run, .valid_loss]'";

/// Reads the runs at all paths.
///
/// # Errors
/// When a path holds no training, or when a file there is damaged.
pub fn compare(paths: &[PathBuf]) -> Result<(Vec<Compared>, Chart)> {
    let mut runs = Vec::new();
    for path in paths {
        let found = find(path)?.runs;
        if found.is_empty() {
            return Err(Error::new(format!(
                "{} holds no finished step of lora-train",
                path.display()
            )));
        }
        runs.extend(found);
    }
    Ok((row::compared(&runs), curves(&runs)))
}

pub(crate) fn run(args: &CompareArgs, ui: &Ui) -> Result<Status> {
    let (rows, chart) = compare(&args.runs)?;
    rows.iter().for_each(|row| ui.event(&tagged("run", row)));
    ui.out(&table(&cells(&rows)));
    chart.text(90, 18).iter().for_each(|line| ui.out(line));
    ui.out("");
    notes(&rows).iter().for_each(|line| ui.out(line));
    if let Some(path) = &args.svg {
        chart.write_svg(path)?;
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

/// A column a run: there are more facts than runs.
fn cells(rows: &[Compared]) -> Vec<Vec<String>> {
    let line = |name: &str, value: &dyn Fn(&Compared) -> String| -> Vec<String> {
        std::iter::once(name.to_owned())
            .chain(rows.iter().map(value))
            .collect()
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut all = vec![line("", &|row| row.run.clone())];
    for key in rows.first().into_iter().flat_map(|row| row.differs.keys()) {
        all.push(line(key, &|row| {
            row.differs.get(key).cloned().unwrap_or_default()
        }));
    }
    let interval = |i: Option<Interval>, times: f64, digits: usize| {
        i.map(|i| {
            format!(
                "{:.digits$} ({:.digits$} to {:.digits$})",
                times * i.value,
                times * i.low,
                times * i.high
            )
        })
    };
    all.extend([
        line("trainable", &|row| or_dash(row.trainable.map(thousands))),
        line("steps", &|row| row.steps.to_string()),
        line("time", &|row| or_dash(row.seconds.map(human_seconds))),
        line("tokens/s", &|row| {
            or_dash(row.tokens_per_s.map(|t| format!("{t:.0}")))
        }),
        line("peak memory", &|row| {
            or_dash(row.peak_bytes.map(human_bytes))
        }),
        line("valid loss, best", &|row| {
            or_dash(row.valid_loss.map(|loss| format!("{loss:.4}")))
        }),
        line("loss − base (95 %)", &|row| {
            or_dash(interval(row.difference_to_base, 1.0, 4))
        }),
        line("exact match % (95 %)", &|row| {
            or_dash(interval(row.exact_match, 100.0, 1))
        }),
    ]);
    all.retain(|line| line.iter().skip(1).any(|cell| cell != "-"));
    all
}

/// What can be said of the results together.
fn notes(rows: &[Compared]) -> Vec<String> {
    let mut notes = Vec::new();
    let differs = |key: &str| rows.iter().any(|row| row.differs.contains_key(key));
    if differs("data (content)") {
        notes.push(
            "The runs have other data: their valid losses are not on the same rows.".to_owned(),
        );
        return notes;
    }
    let mut measured: Vec<&Compared> = rows
        .iter()
        .filter(|row| row.difference_to_base.is_some())
        .collect();
    measured.sort_by(|a, b| a.loss_interval().0.total_cmp(&b.loss_interval().0));
    let [best, next, ..] = &measured[..] else {
        return notes;
    };
    let apart = best.loss_interval().2 < next.loss_interval().1;
    notes.push(if apart {
        format!(
            "{} has the lowest loss; its interval lies below that of {}.",
            best.run, next.run
        )
    } else {
        format!(
            "The intervals of {} and {} overlap: these figures alone don't tell which is better.",
            best.run, next.run
        )
    });
    if let (false, Some((base, data))) = (apart, &best.inputs) {
        notes.push(format!(
            "A paired test does: lora-eval --base {} --data {} --adapter {} --adapter {} --out ab",
            quoted(base),
            quoted(data),
            quoted(&best.folder),
            quoted(&next.folder)
        ));
    }
    notes
}

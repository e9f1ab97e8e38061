//! `lora-plan doctor`: what a run's files show to be wrong, with the evidence, the change to try and its command.
//!
//! `series` reads the loss curve, `patient` gathers what the questions need; `learning`, `stability`, `data`, `answers`
//! and `outputs` ask them. A healthy run gets no finding.
mod answers;
mod data;
mod finding;
mod learning;
mod outputs;
mod patient;
mod series;
mod stability;

pub use finding::{Cause, Change, Finding};

use crate::run::{Failure, Found, FreeNames, Run, find};
use crate::show::tagged;
use lora_cli::{Result, Status, Ui, wrapped};
use patient::Patient;
use std::path::{Path, PathBuf};

/// Look at finished or failed runs and name what went wrong, with the evidence and what to try.
///
/// Reads receipts, metrics, reports and the dataset's rows; trains nothing. Findings come in the order of the likely
/// effect of mending them; a healthy run gets none.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct DoctorArgs {
    /// An adapter folder of lora-train, or a pipeline's folder of steps; may be repeated.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Exit 1 if there is a finding.
    #[arg(long)]
    pub check: bool,
}

const EXAMPLES: &str = "\
Examples:
  lora-plan doctor work/finetune
  lora-plan doctor adapter --check
  lora-plan doctor adapter --json | jq -r 'select(.event == \"finding\") | .cause'";

/// What was found in one run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Diagnosis {
    /// The run.
    pub run: String,
    /// In the order of likely effect.
    pub findings: Vec<Finding>,
}

/// Examines what lies at a path.
///
/// # Errors
/// When there is no training, or when a file there can't be read.
pub fn diagnose(path: &Path) -> Result<Vec<Diagnosis>> {
    diagnose_beside(path, &mut FreeNames::default())
}

/// Examines what lies at a path, where commands of other reports have taken some names.
fn diagnose_beside(path: &Path, names: &mut FreeNames) -> Result<Vec<Diagnosis>> {
    let found = find(path)?;
    let mut all: Vec<Diagnosis> = found.runs.iter().map(examine).collect();
    let mut findings: Vec<Finding> = found.failures.iter().map(failed).collect();
    findings.extend(damaged(&found));
    if !findings.is_empty() {
        all.insert(
            0,
            Diagnosis {
                run: path.display().to_string(),
                findings,
            },
        );
    }
    let changes = all
        .iter_mut()
        .flat_map(|diagnosis| &mut diagnosis.findings)
        .flat_map(|finding| &mut finding.changes);
    changes
        .filter_map(|change| change.command.as_mut())
        .for_each(|command| command.name_output(names));
    Ok(all)
}

fn examine(run: &Run) -> Diagnosis {
    let patient = Patient::of(run);
    let questions = [
        learning::findings,
        stability::findings,
        data::findings,
        answers::findings,
        outputs::findings,
    ];
    let mut findings: Vec<Finding> = questions.iter().flat_map(|ask| ask(&patient)).collect();
    findings.extend(unfinished(run));
    findings.sort_by_key(|finding| finding.cause);
    let there: Vec<Cause> = findings.iter().map(|finding| finding.cause).collect();
    let has = |cause| there.contains(&cause);
    // A loss that nothing can lower, or that has no answers in it, says nothing about the rate; and what a rate that is
    // too high does to the loss is explained by it: neither a higher one nor more steps would help.
    let broken = has(Cause::RateTooHigh);
    let without_prompts = has(Cause::AllEqual);
    if without_prompts || broken || has(Cause::MaskCoversAnswer) || has(Cause::PromptInLoss) {
        findings
            .retain(|finding| !matches!(finding.cause, Cause::NotLearning | Cause::NothingToLearn));
    }
    if without_prompts {
        findings.retain(|finding| finding.cause != Cause::AnswersOfOtherPrompts);
    }
    if has(Cause::MaskCoversAnswer) {
        findings.retain(|finding| finding.cause != Cause::AllEqual);
    }
    if broken {
        findings.retain(|finding| finding.cause != Cause::StoppedEarly);
    }
    Diagnosis {
        run: run.name.clone(),
        findings,
    }
}

/// What the figures of all runs beside it may rest on.
fn damaged(found: &Found) -> Option<Finding> {
    let damage = found.damage();
    let mut finding = Finding::new(Cause::Damaged, "files are not what their tool wrote");
    for line in &damage {
        finding = finding.seen(line.clone());
    }
    let finding = finding.attempt(
        "make the output again, or copy it again; what is said below was read as it lies there now",
        None,
    );
    (!damage.is_empty()).then_some(finding)
}

fn unfinished(run: &Run) -> Option<Finding> {
    if run.training.receipt.is_some() {
        return None;
    }
    let last = run
        .training
        .steps
        .last()
        .map_or("no step is done".to_owned(), |step| {
            format!("{} steps are done", step.step)
        });
    Some(
        Finding::new(Cause::Unfinished, "the run did not finish")
            .seen(format!("{} has no receipt; {last}", run.name))
            .attempt(
                "the command that started it, with --resume, goes on from its last checkpoint",
                None,
            ),
    )
}

fn failed(failure: &Failure) -> Finding {
    let log = failure.log.display();
    let mut finding = Finding::new(Cause::Failed, format!("step {} failed", failure.step))
        .seen(format!("{log}:"));
    for line in &failure.lines {
        finding = finding.seen(line.clone());
    }
    finding.attempt(
        "do what the hint says, then run the pipeline again: finished steps are skipped",
        None,
    )
}

pub(crate) fn run(args: &DoctorArgs, ui: &Ui) -> Result<Status> {
    let (mut findings, mut names) = (0, FreeNames::default());
    for path in &args.runs {
        for diagnosis in diagnose_beside(path, &mut names)? {
            findings += diagnosis.findings.len();
            show(&diagnosis, ui);
        }
    }
    match findings {
        0 => ui.say("nothing to report"),
        _ if args.check => return Ok(Status::No(format!("{findings} findings"))),
        _ => {}
    }
    Ok(Status::Done)
}

fn show(diagnosis: &Diagnosis, ui: &Ui) {
    for finding in &diagnosis.findings {
        let mut event = tagged("finding", finding);
        event.insert("run".to_owned(), diagnosis.run.clone().into());
        ui.event(&event);
    }
    lines(diagnosis, ui.width())
        .iter()
        .for_each(|line| ui.out(line));
}

/// The findings for people, at most `width` columns wide (but for a word of a command that is longer).
fn lines(diagnosis: &Diagnosis, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if !diagnosis.findings.is_empty() {
        lines.extend(hanging("", "", &format!("{}:", diagnosis.run), width));
    }
    for (number, finding) in diagnosis.findings.iter().enumerate() {
        lines.push(String::new());
        let title = format!("{}. {}", number + 1, finding.title);
        lines.extend(hanging("", "   ", &title, width));
        for evidence in &finding.evidence {
            lines.extend(hanging("     ", "       ", evidence, width));
        }
        for change in &finding.changes {
            lines.extend(hanging("   → ", "     ", &change.what, width));
            let command = change.command.iter();
            let parts = command.flat_map(|command| command.broken(width.saturating_sub(5)));
            lines.extend(parts.map(|part| format!("     {part}")));
        }
    }
    if !diagnosis.findings.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Text behind an indent, its further lines behind another of at least that width.
fn hanging(first: &str, rest: &str, text: &str, width: usize) -> Vec<String> {
    let most = first.chars().count().max(rest.chars().count());
    let indents = std::iter::once(first).chain(std::iter::repeat(rest));
    indents
        .zip(wrapped(text, width.saturating_sub(most)))
        .map(|(indent, part)| format!("{indent}{part}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::CommandLine;

    #[test]
    fn findings_keep_to_every_width_and_commands_can_be_pasted() {
        let command = "lora-train --base data/tiny-chat --data work/finetune/prep --rank 16 --targets 'q_proj, v_proj' \
                       --lr 2e-4 --epochs 3 --batch 8 --seed 7 --out work/finetune/train-2";
        let finding = Finding::new(
            Cause::RateTooHigh,
            "a title that is so long that no narrow terminal holds it",
        )
        .seen("evidence with some figures, 1.2345 of 6.789, and more words than sixty columns hold")
        .attempt(
            "--lr 2e-4: what usually works with models of this size, and the reason of it",
            Some(CommandLine::new(command.to_owned())),
        );
        let diagnosis = Diagnosis {
            run: "work/finetune/train".to_owned(),
            findings: vec![finding.clone(), finding],
        };
        for width in [40, 60, 80, 100, 200] {
            let lines = lines(&diagnosis, width);
            for line in &lines {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let text = lines.join("\n");
            let start = text.find("lora-train").unwrap();
            let pasted = text[start..].split("\n\n").next().unwrap();
            let joined = pasted.replace(" \\\n", " ");
            let words = |text: &str| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(words(&joined), words(command), "{width}");
        }
    }
}

//! lora-eval: the loss of a base model and of adapters on it over one split, greedy answers, and gates on both.
//!
//! This file holds the order of the work; each part has its own file.
mod args;
mod bound;
mod choices;
mod compare;
mod control;
mod device;
mod distributions;
mod estimate;
mod figures;
mod gates;
mod generation;
mod grade;
mod guard;
mod html;
mod judged;
mod load;
mod measure;
mod measured;
mod metrics;
mod metrics_table;
mod paired;
mod plan;
mod question;
mod references;
mod report;
mod samples;
mod scores;
mod slices;
mod statistics;
mod table;
mod trained_rows;
mod verdicts;
mod without_answers;
mod write;

pub use lora_records::Report;

pub use args::{Args, Rows};
pub use bound::{Bound, Order};

use choices::Choices;
use control::Swapped;
use figures::Ground;
use lora_cli::{Common, Result, Status, ToolArgs, Ui};
use measured::Measured;
use std::time::Instant;

impl ToolArgs for Args {
    const WITHOUT_EFFECT: &'static [&'static str] = &["threads", "batch-tokens"];

    fn check(&self) -> Result<()> {
        check_arguments(self)
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// Measures, writes the report, then judges: a gate that does not pass is [`Status::No`], with the report in place.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    check_arguments(&args)?;
    load::resolve_pipes(&mut args)?;
    let output = write::stage(&args)?;
    let mut loaded = load::load(&args, ui)?;
    let mut guarded = guard::Guarded::open(&args, &mut loaded)?;
    slices::check(&args.slice, &loaded)?;
    let plan = plan::plan(&args, &loaded, ui)?;
    let choices = Choices::of(&args, &loaded)?;
    let grading = grade::grading(&args, &loaded, &plan, ui)?;
    let prompts = grade::prompts(&loaded);

    let (mut route, device) = device::route(&args, &loaded, ui)?;
    let mut measured = Vec::new();
    let swapped = gates::asks_for_lower_loss(&args).then(|| Swapped::of(&loaded, &prompts));
    for model in loaded.models() {
        let mut found = Measured {
            name: model.name.clone(),
            losses: scores::score(&mut *route, &loaded, &model, args.batch_tokens, ui)?,
            answers: generation::answer(&mut *route, &loaded, &model, &plan, ui)?,
            grades: Vec::new(),
            swapped: Vec::new(),
        };
        if let Some(swapped) = &swapped {
            found.swapped = swapped.score(&mut *route, &model, args.batch_tokens, ui)?;
        }
        if let Some(guarded) = &mut guarded {
            guarded.score(&mut *route, &model, args.batch_tokens, ui)?;
        }
        grading.grade(&mut found, &loaded, &plan)?;
        if let Some(choices) = &choices {
            let grades = choices.grade(&mut *route, &model, args.batch_tokens, ui)?;
            found.grades.extend(grades);
        }
        measured.push(found);
    }

    let mut measures = grading.measures();
    measures.extend(choices.iter().flat_map(|_| Choices::measures()));
    let ground = Ground {
        measures: &measures,
        prompts: &prompts,
    };
    let mut report = report::build(&args, &loaded, &plan, ground, &measured);
    report.slices = slices::slices(&args.slice, &loaded, ground, &measured)?;
    report.guard = guarded.as_ref().map(guard::Guarded::report);
    report.gates = gates::judge(&args, &report);
    let vocabulary = loaded.base.checkpoint().config().vocab_size;
    let guard = report.guard.iter();
    let of_guard: Vec<_> = guard
        .flat_map(|guard| guard::judge(guard, vocabulary))
        .collect();
    report.gates.extend(of_guard);
    report.passed = report.gates.iter().all(|gate| gate.passed);
    table::show(&report, ui);
    let about = write::About {
        report: &report,
        measures: &measures,
        device,
        started,
    };
    let receipt = write::commit(output, &args, &loaded, &plan, &measured, about)?;
    ui.receipt(&receipt);
    Ok(gates::status(&report))
}

/// What is wrong with the flags, before any file is opened.
fn check_arguments(args: &Args) -> Result<()> {
    gates::check_arguments(args)?;
    grade::check_arguments(args)
}

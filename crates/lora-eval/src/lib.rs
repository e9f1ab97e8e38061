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
mod inputs;
mod judged;
mod measure;
mod measured;
mod metrics;
mod metrics_table;
mod output;
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

pub use lora_records::Report;

pub use args::{Args, Rows};
pub use bound::{Bound, Order};

use choices::Choices;
use control::Swapped;
use figures::Ground;
use lora_cli::{Common, Result, Status, ToolArgs, Ui};
use measured::Measured;

impl ToolArgs for Args {
    const WITHOUT_EFFECT: &'static [&'static str] = &["threads"];

    fn check(&self) -> Result<()> {
        gates::check_arguments(self)?;
        grade::check_arguments(self)
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// Measures, writes the report, then judges: a gate that does not pass is [`Status::No`], with the report in place.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    inputs::resolve(&mut args)?;
    let output = output::stage(&args)?;
    let mut loaded = inputs::load(&args, ui)?;
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
        generation::warn_of_nothing_taken(&found.name, &found.answers, ui);
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
    let made = output::Made {
        report: &report,
        measures: &measures,
        measured: &measured,
        device,
    };
    output::commit(output, &args, &loaded, &plan, made, ui)?;
    Ok(gates::status(&report))
}

//! lora-eval: the loss of a base model and of adapters on it over one split, greedy answers, and gates on both.
//!
//! This file holds the order of the work; each part has its own file.
mod args;
mod compare;
mod device;
mod distributions;
mod gates;
mod generation;
mod load;
mod measured;
mod report;
mod scores;
mod statistics;
mod table;
mod write;

pub use lora_records::Report;

pub use args::{Args, Rows};

use lora_cli::{Result, Status, Ui};
use std::time::Instant;

/// Measures, writes the report, then judges: a gate that does not pass is [`Status::No`], with the report in place.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    gates::check_arguments(&args)?;
    load::resolve_pipes(&mut args)?;
    let output = write::stage(&args)?;
    let loaded = load::load(&args, ui)?;
    let plan = generation::plan(&args, &loaded, ui)?;

    let (mut route, device) = device::route(&args, &loaded, ui)?;
    let mut measured = Vec::new();
    for model in loaded.models() {
        let losses = scores::score(&mut *route, &loaded, &model, args.batch_tokens, ui)?;
        let answers = generation::answer(&mut *route, &loaded, &model, &plan, ui)?;
        measured.push(measured::Measured {
            name: model.name.clone(),
            losses,
            answers,
        });
    }

    let mut report = report::build(&args, &loaded, &plan, &measured);
    report.gates = gates::judge(&args, &report);
    report.passed = report.gates.iter().all(|gate| gate.passed);
    table::show(&report, ui);
    let about = write::About {
        report: &report,
        device,
        started,
    };
    let receipt = write::commit(output, &args, &loaded, &plan, &measured, about)?;
    ui.receipt(&receipt);
    Ok(gates::status(&report))
}

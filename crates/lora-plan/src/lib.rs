//! lora-plan: what a LoRA run will be, before anything is trained. So far: its parameters.
//!
//! `args` is the command line; `shape` turns what was named into a decoder's shape, `known` holds the shapes of well-known
//! models; `params` counts, `show` prints.
mod args;
mod known;
mod params;
mod shape;
mod show;

pub use args::{Args, Command, ParamsArgs};
pub use known::{KNOWN, Known};
pub use params::{Count, ModuleCount, OverviewRow, Params, RANKS, TARGETS, count};
pub use shape::Shape;

use lora_cli::{Result, Status, Ui};

/// Runs the tool.
pub fn run(args: Args, ui: &Ui) -> Result<Status> {
    match &args.command {
        Command::Params(params) => run_params(params, ui),
    }
}

fn run_params(args: &ParamsArgs, ui: &Ui) -> Result<Status> {
    let started = std::time::Instant::now();
    let (shape, config) = (shape::resolve(&args.model)?, args.config()?);
    let params = params::count(&shape, &config)?;
    show::show(&params, ui);
    if let Some(out) = &args.out {
        ui.receipt(&show::write(&params, args, &shape, out, started)?);
    }
    Ok(Status::Done)
}

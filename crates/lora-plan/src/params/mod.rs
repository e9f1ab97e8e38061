//! `lora-plan params`: the parameters that a LoRA setting trains.
mod args;
pub(crate) mod count;
mod show;

pub use args::ParamsArgs;

use crate::model::shape;
use lora_cli::{Result, Status, Ui};
use std::time::Instant;

pub(crate) fn run(args: &ParamsArgs, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    let mut shape = shape::resolve(&args.model)?;
    let config = args.lora_config(&shape)?;
    // Tokens may have been added to the base before the adapter was trained.
    shape.config.vocab_size = shape.config.vocab_size.max(args.rows_of_config(&config)?);
    let params = count::count(&shape, &config)?;
    show::show(&params, ui);
    if let Some(out) = &args.out {
        ui.receipt(&show::write(&params, args, &shape, out, started)?);
    }
    Ok(Status::Done)
}

//! `lora-plan params`: the parameters that a LoRA setting trains.
mod args;
pub(crate) mod count;
mod output;
mod show;

pub use args::ParamsArgs;

use crate::model::shape;
use lora_cli::{Result, Status, Ui};

pub(crate) fn run(args: &ParamsArgs, ui: &Ui) -> Result<Status> {
    let mut shape = shape::resolve(&args.model)?;
    let config = args.lora_config(&shape)?;
    // Tokens may have been added to the base before the adapter was trained.
    shape.config.vocab_size = shape.config.vocab_size.max(args.rows_of_config(&config)?);
    let params = count::count(&shape, &config)?;
    show::show(&params, ui);
    if let Some(out) = &args.out {
        output::write(&params, args, &shape, out, ui)?;
    }
    Ok(Status::Done)
}

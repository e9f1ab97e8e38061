//! lora-train: fine-tunes a base model on a prepared dataset and writes a PEFT adapter (or, with `--method full`, all
//! weights).
//!
//! Reading order: [`Args`] is the command line; `setup` opens what it names; `recipe` is the training loop, readable end
//! to end over the small trait `Trainable`; `schedule`, `batches`, `gate`, `checkpoint`, `metrics` and `card` are its
//! parts.
mod args;
mod batches;
mod card;
mod checkpoint;
mod evaluate;
mod finish;
mod full;
mod gate;
mod lora_args;
mod memory;
mod metrics;
mod profile;
mod recipe;
mod schedule;
mod setup;
mod trainable;

pub use args::{Args, Decay, Method, RouteKind, WeightDtype};
pub use schedule::Schedule;

use lora_cli::{Result, Status, Ui};
use std::time::Instant;

/// Trains, then puts the finished folder in place; an interrupted or failed run leaves its checkpoints in `OUT.partial`.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    args.resolve()?;
    let inputs = setup::Inputs::open(&mut args)?;
    let data = setup::load_data(&args, &inputs)?;
    let mut model = setup::trainable(&args, &inputs, &data, ui)?;
    let mut staged = setup::stage(&args)?;
    let outcome = recipe::train(&args, &inputs, &data, &mut *model, &mut staged, ui)?;
    if args.profile {
        profile::show(&*model, &outcome, args.threads(), ui);
    }
    let receipt = finish::finish(&args, &inputs, &*model, &outcome, staged, started)?;
    ui.receipt(&receipt);
    Ok(Status::Done)
}

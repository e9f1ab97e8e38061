//! lora-train: fine-tunes a base model on a prepared dataset and writes a PEFT adapter (or, with `--method full`, all
//! weights).
//!
//! Reading order: [`Args`] is the command line; `inputs` and `data` open what it names; `model` builds what trains; `chat` is what goes with it of the rows' chats; the
//! training itself is `lora_training`'s, which `train` runs and `show` follows; `finish` and `card` write what is left.
mod adapter_flags;
mod args;
mod balance;
mod card;
mod chat;
mod choices;
mod data;
mod device;
mod failure;
mod inputs;
mod memory;
mod metrics;
mod model;
mod output;
mod profile;
mod settings;
mod show;
mod tokens;
mod train;
mod values;

pub use args::Args;
pub use choices::{Decay, Method, RouteKind, WeightDtype};

use lora_cli::{Result, Status, Ui};

/// Trains, then puts the finished folder in place; an interrupted or failed run leaves its checkpoints in `OUT.partial`.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    args.resolve()?;
    output::check(&args)?;
    let inputs = inputs::Inputs::open(&mut args, ui)?;
    balance::resolve(&mut args, inputs.config(), ui)?;
    let rows = data::load(&args, &inputs)?;
    chat::say(&args, &inputs, &rows, ui)?;
    let mut model = model::build(&args, &inputs, &rows, ui)?;
    args.device = model.device; // what was taken: other devices give other bytes
    let mut staged = output::stage(&args, ui)?;
    chat::write(&args, &inputs, &rows, staged.path())?;
    let outcome = train::train(&args, &inputs, &rows, &mut model, &mut staged, ui)?;
    if args.profile
        && let Some(profile) = model.trainable.profile()
    {
        match model.trainable.product_peak() {
            Ok(peak) => {
                let peak = peak.unwrap_or_else(|| profile::cpu_peak(args.threads()));
                profile::show(profile, outcome.profiled, peak, ui);
            }
            // What was learned is not lost for it.
            Err(why) => ui.warn(&format!(
                "no profile: there is nothing to compare with ({why})"
            )),
        }
    }
    let trained = output::Trained {
        model: &model,
        outcome: &outcome,
        chat: chat::result(&rows),
    };
    output::finish(&args, &inputs, &trained, staged, ui)?;
    Ok(Status::Done)
}

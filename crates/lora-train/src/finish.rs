//! The end of a run: the best model in place, the card, the receipt.
use crate::args::{Args, Method};
use crate::card;
use crate::checkpoint::{failed, remove, state_file};
use crate::recipe::Outcome;
use crate::setup::Inputs;
use crate::trainable::Trainable;
use lora_cli::Result;
use lora_receipt::{Artefact, Draft, Receipt, Staged};
use std::time::Instant;

/// Writes what OUT holds (the best parameters, or the last where nothing was held out) and puts it in place.
pub(crate) fn finish(
    args: &Args,
    inputs: &Inputs,
    model: &dyn Trainable,
    outcome: &Outcome,
    staged: Staged,
    started: Instant,
) -> Result<Receipt> {
    let dir = staged.path();
    model.save(outcome.best.as_deref().unwrap_or(model.params()), dir)?;
    let card = dir.join("README.md");
    std::fs::write(&card, card::render(args, outcome, model)).map_err(failed("write", &card))?;
    remove(&dir.join("checkpoints").join("best"))?; // it is what the folder itself holds
    remove(&state_file(dir))?; // last, so that a run that fails here can still be continued
    let draft = Draft {
        tool: env!("CARGO_PKG_NAME").to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact: if args.method == Method::Full {
            Artefact::Model
        } else {
            Artefact::Adapter
        },
        config: serde_json::to_value(args)?,
        seed: Some(args.seed),
        inputs: inputs.hashes.clone(),
        results: results(outcome, model),
        measured: measured(outcome, model),
        started,
    };
    Ok(staged.commit(draft)?)
}

fn results(outcome: &Outcome, model: &dyn Trainable) -> serde_json::Value {
    let state = &outcome.state;
    serde_json::json!({
        "steps": state.step,
        "planned_steps": outcome.total_steps,
        "epochs": state.epoch,
        "stopped_early": state.stopped_early,
        "trainable_parameters": model.params().len(),
        "first_loss": state.first_loss,
        "last_loss": state.last_loss,
        "valid_loss": state.valid_loss,
        "best_valid_loss": state.best.map(|best| best.loss),
        "best_step": state.best.map(|best| best.step),
        "tokens": state.tokens,
        "computed_tokens": state.computed_tokens,
        "supervised_tokens": state.supervised_tokens,
    })
}

/// What another machine, or the same at another time, would say otherwise.
fn measured(outcome: &Outcome, model: &dyn Trainable) -> serde_json::Value {
    let state = &outcome.state;
    serde_json::json!({
        "memory": model.memory(),
        "tokens_per_s": state.tokens as f64 / state.step_seconds.max(1e-9),
    })
}

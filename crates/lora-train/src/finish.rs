//! The end of a run: the best model in place, the card, the receipt.
use crate::args::Args;
use crate::card;
use crate::choices::Method;
use crate::failure::{explain, failed};
use crate::inputs::{Inputs, Start};
use crate::model::Model;
use crate::tokens;
use lora_cli::Foreign as _;
use lora_cli::Result;
use lora_receipt::{Artefact, Draft, Receipt, Staged};
use lora_training::{Outcome, needed_to_resume};
use std::time::Instant;

/// What came out of the training.
pub(crate) struct Trained<'a> {
    pub(crate) model: &'a Model<'a>,
    pub(crate) outcome: &'a Outcome,
    /// The chats that go with it, for the receipt.
    pub(crate) chat: serde_json::Value,
}

/// Writes what OUT holds (the best parameters, or the last where nothing was held out) and puts it in place.
pub(crate) fn finish(
    args: &Args,
    inputs: &Inputs,
    trained: &Trained<'_>,
    staged: Staged,
    started: Instant,
) -> Result<Receipt> {
    let dir = staged.path();
    let Trained { model, outcome, .. } = trained;
    let weights = &model.trainable;
    let params = outcome.best.as_deref().unwrap_or(weights.params());
    weights.save(params, dir).map_err(explain)?;
    let card = dir.join("README.md");
    std::fs::write(
        &card,
        card::render(args, outcome, &model.summary, &tokens::named(inputs)),
    )
    .map_err(failed("write", &card))?;
    if let Start::Weights(base) = &inputs.base {
        base.checkpoint().check_unchanged()?;
    }
    let mut results = results(trained);
    let added = tokens::named(inputs);
    if !added.is_empty() {
        results["added_tokens"] = added.into();
    }
    let draft = Draft {
        tool: env!("CARGO_PKG_NAME").to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact: if args.method == Method::Full {
            Artefact::Model
        } else {
            Artefact::Adapter
        },
        config: serde_json::to_value(args).foreign()?,
        seed: Some(args.seed),
        inputs: inputs.hashes.clone(),
        results,
        measured: measured(outcome, model),
        started,
    };
    Ok(staged.commit_without(draft, &needed_to_resume())?)
}

fn results(trained: &Trained<'_>) -> serde_json::Value {
    let Trained { model, outcome, .. } = trained;
    let state = &outcome.state;
    serde_json::json!({
        "steps": state.step,
        "planned_steps": outcome.total_steps,
        "epochs": state.epoch,
        "stopped_early": state.stopped_early,
        "trainable_parameters": model.trainable.params().len(),
        "device": device(model),
        "first_loss": state.first_loss,
        "last_loss": state.last_loss,
        "valid_loss": state.valid_loss,
        "best_valid_loss": state.best.map(|best| best.loss),
        "best_step": state.best.map(|best| best.step),
        "tokens": state.tokens,
        "computed_tokens": state.computed_tokens,
        "supervised_tokens": state.supervised_tokens,
        "chat": trained.chat,
    })
}

/// Where it was computed: on another card, or by another version of its libraries, bytes may differ.
fn device(model: &Model<'_>) -> serde_json::Value {
    match &model.gpu {
        None => model.device.to_string().into(),
        Some((identity, _)) => serde_json::json!({
            "kind": "cuda",
            "card": identity.name,
            "driver": identity.driver,
        }),
    }
}

/// What another machine, or the same at another time, would say otherwise.
fn measured(outcome: &Outcome, model: &Model<'_>) -> serde_json::Value {
    let state = &outcome.state;
    serde_json::json!({
        "memory": model.memory,
        "gpu_memory": model.gpu.as_ref().map(|(_, memory)| serde_json::json!({
            "kept_layers": memory.kept_layers,
            "recomputed_layers": memory.recomputed_layers,
            "held_bytes": memory.held_bytes,
            "step_bytes": memory.step_bytes,
        })),
        "tokens_per_s": state.tokens as f64 / state.step_seconds.max(1e-9),
    })
}

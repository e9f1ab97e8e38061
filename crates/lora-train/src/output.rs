//! Where the run writes, what an earlier run has left there, and its end: the best model in place, the card, the receipt.
use crate::args::Args;
use crate::card;
use crate::choices::Method;
use crate::failure::{explain, failed};
use crate::inputs::{Inputs, Start};
use crate::model::Model;
use crate::tokens;
use lora_cli::{Error, Result, Ui, commit_without, draft};
use lora_receipt::{Artefact, Draft, Staged, partial_path};
use lora_training::{Outcome, has_checkpoint, needed_to_resume, tidy};

/// Refuses what would be refused in the end, before anything is opened: a finished or an interrupted run in the way.
pub(crate) fn check(args: &Args) -> Result<()> {
    lora_receipt::recover(&args.out)?;
    let (out, partial) = (args.out.display(), partial_path(&args.out));
    let is_interrupted = has_checkpoint(&partial);
    let is_finished = args.out.join(lora_receipt::FILE_NAME).is_file();
    if args.resume && is_finished && !partial.exists() {
        return Err(
            Error::new(format!("{out} is finished: there is nothing to resume")).hint(go_on(args)),
        );
    }
    let partial = partial.display();
    if args.resume && is_finished && is_interrupted && !args.force {
        return Err(Error::new(format!(
            "{out} is finished, and {partial} holds an interrupted run"
        ))
        .hint(format!(
            "--resume --force continues that run and lets it replace {out} in the end"
        )));
    }
    if is_interrupted && !args.resume && !args.force {
        return Err(Error::new(format!("{partial} holds an interrupted run"))
            .hint("--resume continues it, --force starts over and throws its checkpoints away"));
    }
    Ok(())
}

/// How a finished run is trained further.
fn go_on(args: &Args) -> String {
    let out = args.out.display();
    let (flag, keeps) = match args.method {
        Method::Lora => (
            "--adapter",
            " (it keeps its rank, alpha and targets: leave those flags out)",
        ),
        Method::Full => ("--base", ""),
    };
    format!(
        "to train it further: {flag} {out} --out ANOTHER, without --resume{keeps}; to train it anew: --force without --resume, which replaces it"
    )
}

/// The output folder; an interrupted run in it is continued with --resume, thrown away with --force.
pub(crate) fn stage(args: &Args, ui: &Ui) -> Result<Staged> {
    check(args)?;
    if args.resume {
        let partial = partial_path(&args.out);
        let was_there = partial.exists();
        let mut staged = Staged::resume_folder(&args.out, args.force)?;
        if has_checkpoint(staged.path()) {
            staged.keep_partial();
            tidy(staged.path()).map_err(explain)?;
            return Ok(staged);
        }
        let partial = partial.display();
        ui.warn(&if was_there {
            format!("--resume: {partial} holds no checkpoint yet: starting from the beginning")
        } else {
            format!("--resume: there is no {partial} to continue: starting from the beginning")
        });
    }
    Ok(Staged::folder(&args.out, args.force)?)
}

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
    ui: &Ui,
) -> Result<()> {
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
    let artefact = match args.method {
        Method::Full => Artefact::Model,
        Method::Lora => Artefact::Adapter,
    };
    let draft = Draft {
        results,
        measured: measured(outcome, model),
        ..draft::<Args>(ui, args, artefact, inputs.hashes.clone())?
    };
    commit_without(ui, staged, draft, &needed_to_resume())
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

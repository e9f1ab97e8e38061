//! The run itself: what the flags ask for, followed by progress and metrics.jsonl.
use crate::args::Args;
use crate::choices::Method;
use crate::data::Rows;
use crate::failure::{explain, explain_not_finite};
use crate::inputs::Inputs;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::show::Show;
use lora_cli::{Result, Ui};
use lora_receipt::Staged;
use lora_training::{Checkpoints, Data, Error, Outcome, Resumed, State, Trainer, has_checkpoint};

/// Trains to the end, from the start or from the checkpoint that `staged` holds.
pub(crate) fn train(
    args: &Args,
    inputs: &Inputs,
    rows: &Rows,
    model: &mut Model<'_>,
    staged: &mut Staged,
    ui: &Ui,
) -> Result<Outcome> {
    ui.say(&model.summary);
    let data = Data {
        train: &rows.train,
        valid: rows.valid.as_deref(),
    };
    let checkpoints = Checkpoints {
        folder: staged.path().to_path_buf(),
        fingerprint: inputs.fingerprint(args)?,
    };
    let mut trainer = Trainer::new(args.train_config(), data, &mut *model.trainable)
        .map_err(explain)?
        .with_checkpoints(checkpoints);
    let mut lines = None;
    if args.resume && has_checkpoint(staged.path()) {
        staged.keep_partial();
        let resumed = trainer.resume().map_err(explain)?;
        say_what_is_damaged(&resumed, ui);
        lines = resumed.kept;
    }
    let metrics = Metrics::open(staged.path(), &lines.unwrap_or_default())?;
    ui.ends_in_its_own_time();
    let mut show = Show::new(ui, staged, metrics);
    let ended = trainer.run(&mut show);
    let failure = show.into_failure();
    match ended {
        Ok(outcome) => {
            if let Some(failure) = failure {
                return Err(failure);
            }
            say_what_was_shared(&outcome.state, ui);
            Ok(outcome)
        }
        Err(error) => {
            say_what_is_kept(&error, staged, failure.is_some(), ui);
            Err(failure.unwrap_or_else(|| why(error, args, inputs, staged)))
        }
    }
}

/// Why the run failed; what is not finite is traced to its cause.
fn why(error: Error, args: &Args, inputs: &Inputs, staged: &Staged) -> lora_cli::Error {
    if !matches!(error, Error::NotFinite { .. }) {
        return explain(error);
    }
    let flag = match args.method {
        Method::Lora => "--adapter",
        Method::Full => "--base",
    };
    let kept = ["best", "last"].map(|name| staged.path().join("checkpoints").join(name));
    let kept = kept.iter().find(|folder| folder.is_dir());
    let go_on = kept.map(|folder| format!("{flag} {}", folder.display()));
    explain_not_finite(error, inputs.first_not_finite(), go_on.as_deref())
}

fn say_what_was_shared(state: &State, ui: &Ui) {
    if state.computed_tokens < state.tokens {
        let saved = 100.0 * (1.0 - state.computed_tokens as f64 / state.tokens as f64);
        ui.say(&format!(
            "examples of a batch that begin alike shared that beginning: {saved:.0} % fewer tokens to compute"
        ));
    }
}

fn say_what_is_damaged(resumed: &Resumed, ui: &Ui) {
    let next = match resumed.kept {
        Some(_) => "going on from the checkpoint before it",
        None => "no whole one is left: starting from the beginning",
    };
    let last = resumed.damaged.len().saturating_sub(1);
    for (index, damaged) in resumed.damaged.iter().enumerate() {
        let then = if index == last { next } else { "damaged" };
        ui.warn(&format!("{damaged}: {then}"));
    }
}

fn say_what_is_kept(error: &Error, staged: &Staged, has_failed: bool, ui: &Ui) {
    let kept = staged.path().display();
    match error {
        Error::Interrupted { step } if *step > 0 && !has_failed => ui.say(&format!(
            "stopped after step {step}: the same command with --resume continues it"
        )),
        _ if !has_checkpoint(staged.path()) => {}
        // The same steps would end in the same way.
        Error::NotFinite { .. } => ui.say(&format!("{kept} keeps the checkpoints so far")),
        _ => ui.say(&format!(
            "{kept} keeps the checkpoints so far: --resume continues from them, --force starts over"
        )),
    }
}

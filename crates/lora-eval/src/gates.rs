//! The gates: what they need, what they say, and the exit status that follows.
use crate::bound::Bound;
use crate::judged::judged_bound;
use crate::metrics::{self, OF_CHOICES, OF_LOSSES};
use crate::samples;
use crate::verdicts::{beats_base, exact_enough, loss_below};
use crate::without_answers::{refuse_gates, refuse_settings};
use crate::{Args, Rows};
use lora_cli::{Error, Result, Status};
use lora_records::{GateResult, ModelReport, Report};

/// Refuses gates that can't be judged, before any file is opened.
pub(crate) fn check_arguments(args: &Args) -> Result<()> {
    let fail = |message: &str, hint: &str| Err(Error::new(message).hint(hint));
    if args.must_beat_base && args.adapter.is_empty() {
        return fail(
            "--must-beat-base needs an adapter",
            "name one: --adapter DIR",
        );
    }
    if args.guard.is_some() && args.adapter.is_empty() {
        return fail("--guard needs an adapter", "name one: --adapter DIR");
    }
    args.sampling.check()?;
    if args.samples > 1 && args.sampling.temperature == 0.0 {
        return fail(
            "--samples has no effect without --temperature",
            "greedy answers are all the same: --temperature 0.8",
        );
    }
    if args.generate == Rows::First(0) {
        refuse_gates(args, "turned off by --generate 0")
            .and_then(|()| refuse_settings(args))
            .map_err(|error| error.hint("leave --generate 0 out"))?;
    }
    args.gates
        .iter()
        .try_for_each(|gate| check_bound(args, gate))?;
    for (name, value) in [
        ("--limit", args.limit),
        ("--threads", args.threads),
        ("--max-new-tokens", args.max_new_tokens),
        ("--batch-tokens", Some(args.batch_tokens)),
        ("--samples", Some(args.samples)),
    ] {
        if value == Some(0) {
            return Err(Error::new(format!("{name} must be at least 1")));
        }
    }
    Ok(())
}

fn check_bound(args: &Args, gate: &Bound) -> Result<()> {
    let is_command = |name: &str| {
        let mut commands = args.metric_command.iter();
        commands.any(|text| metrics::Command::parse(text).is_ok_and(|command| command.name == name))
    };
    let of_samples = samples::Of::all(args.samples)
        .into_iter()
        .map(samples::Of::name);
    let of_choices = args.choices.iter().flat_map(|_| OF_CHOICES);
    let known: Vec<String> = metrics::names()
        .into_iter()
        .chain(of_samples)
        .chain(of_choices.map(str::to_owned))
        .collect();
    if !known.contains(&gate.metric) && !is_command(&gate.metric) {
        return Err(Error::new(format!(
            "--gate {gate}: there is no metric `{}`",
            gate.metric
        ))
        .hint(format!("metrics are {}", known.join(", "))));
    }
    if gate.is_to_base && args.adapter.is_empty() {
        return Err(
            Error::new(format!("--gate {gate} needs an adapter")).hint("name one: --adapter DIR")
        );
    }
    Ok(())
}

/// Metrics that gates name, so that they are measured.
pub(crate) fn metrics(args: &Args) -> impl Iterator<Item = &str> {
    args.gates.iter().map(|gate| gate.metric.as_str())
}

/// True if a gate asks for a lower loss: then it has to be told what the prompts do to it.
pub(crate) fn asks_for_lower_loss(args: &Args) -> bool {
    let is_lower = |gate: &Bound| OF_LOSSES.contains(&gate.metric.as_str());
    args.must_beat_base || args.max_nll.is_some() || args.gates.iter().any(is_lower)
}

/// Judges all gates: on the adapters, or on the base where there is none.
pub(crate) fn judge(args: &Args, report: &Report) -> Vec<GateResult> {
    let judged = if report.models.len() > 1 {
        &report.models[1..]
    } else {
        &report.models[..]
    };
    judged
        .iter()
        .flat_map(|model| of_model(args, report, model))
        .collect()
}

fn of_model(args: &Args, report: &Report, model: &ModelReport) -> Vec<GateResult> {
    let mut gates = Vec::new();
    let mut gate = |name: &str, (passed, reason): (bool, String)| {
        gates.push(GateResult {
            gate: name.to_owned(),
            model: model.name.clone(),
            passed,
            reason,
        });
    };
    if args.must_beat_base {
        gate("must-beat-base", beats_base(model));
    }
    if let Some(most) = args.max_nll {
        gate("max-nll", loss_below(report, model, most));
    }
    if let Some(least) = args.min_exact_match {
        gate("min-exact-match", exact_enough(model, least));
    }
    for bound in &args.gates {
        gate(&bound.to_string(), judged_bound(bound, model));
    }
    gates
}

/// Done, or no with the reasons of every gate that did not pass.
pub(crate) fn status(report: &Report) -> Status {
    let failed: Vec<String> = report
        .gates
        .iter()
        .filter(|gate| !gate.passed)
        .map(|gate| format!("{} ({}): {}", gate.gate, gate.model, gate.reason))
        .collect();
    if failed.is_empty() {
        Status::Done
    } else {
        Status::No(failed.join("; "))
    }
}

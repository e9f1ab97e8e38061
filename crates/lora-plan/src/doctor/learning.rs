//! Does it learn? A loss that does not fall, and why: rate, warm-up, scaling, modules, or nothing left to learn.
use super::data::show_rows;
use super::finding::{Cause, Finding};
use super::patient::Patient;
use super::series::median;
use crate::run::train_again;
use lora_core::thousands;

/// A base that starts below this loss (nats a token) knows the answers.
const KNOWN: f64 = 0.1;
/// AdamW moves a weight by about its rate a step. Runs that learned something moved each by more than this in all.
const LEAST_WAY: f64 = 2e-3;
/// A scaling s below this makes the adapter a whisper.
const LEAST_SCALING: f64 = 0.05;

/// All findings about learning.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(curve) = patient.curve else {
        return Vec::new();
    };
    let explained = [
        warmup(patient),
        rate_too_low(patient),
        scaled_away(patient),
        few_modules(patient),
    ];
    let mut found: Vec<Finding> = explained.into_iter().flatten().collect();
    if !curve.is_flat() || patient.diverges() {
        if found.is_empty() {
            found.extend(stopped_early(patient));
        }
    } else if curve.head < KNOWN {
        found.push(nothing_to_learn(patient));
    } else if found.is_empty() {
        found.push(not_learning(patient));
    }
    found
}

/// The fall of the train loss, as evidence.
fn fall(patient: &Patient<'_>) -> Option<String> {
    let curve = patient.curve?;
    Some(format!(
        "train loss {:.4} over the first steps, {:.4} over the last (± {:.4} by the noise between steps)",
        curve.head, curve.tail, curve.error
    ))
}

fn norms(patient: &Patient<'_>) -> String {
    let norms: Vec<f64> = patient
        .run
        .training
        .steps
        .iter()
        .map(|step| step.grad_norm)
        .collect();
    format!("median gradient norm {:.2e}", median(&norms))
}

fn rate_too_low(patient: &Patient<'_>) -> Option<Finding> {
    let training = &patient.run.training;
    let way: f64 = training.steps.iter().map(|step| step.lr).sum();
    let peak = training
        .steps
        .iter()
        .map(|step| step.lr)
        .fold(0.0, f64::max);
    let curve = patient.curve?;
    if way >= LEAST_WAY || curve.fallen() > 0.2 || curve.head < KNOWN {
        return None;
    }
    let (rate, rule) = patient.usual_rate();
    let peak = training.number("lr").unwrap_or(peak);
    if rate <= 2.0 * peak {
        return None; // the steps are too few, not the rate too low
    }
    Some(
        Finding::new(
            Cause::RateTooLow,
            format!("the learning rate {peak:e} is too low to learn anything"),
        )
        .seen_if(fall(patient))
        .seen(format!(
            "AdamW moves a weight by about the rate a step: at most {way:.1e} in all {} steps",
            training.steps.len()
        ))
        .seen(norms(patient))
        .attempt(
            format!("--lr {rate:e}: {} ({})", rule.says, rule.source),
            train_again(training, &[("lr", Some(format!("{rate:e}")))]),
        ),
    )
}

fn warmup(patient: &Patient<'_>) -> Option<Finding> {
    let training = &patient.run.training;
    let (peak, warmup) = (training.number("lr")?, training.number("warmup")?);
    let reached = training
        .steps
        .iter()
        .map(|step| step.lr)
        .fold(0.0, f64::max);
    if reached > 0.6 * peak || warmup < training.steps.len() as f64 {
        return None;
    }
    Some(
        Finding::new(
            Cause::WarmupNeverEnds,
            "the warm-up takes longer than the run",
        )
        .seen(format!(
            "{} steps, a warm-up of {warmup}",
            training.steps.len()
        ))
        .seen(format!(
            "the learning rate reached {reached:.1e} of {peak:e}"
        ))
        .seen_if(fall(patient))
        .attempt(
            "--warmup 0.03: a share of the run, whatever its length",
            train_again(training, &[("warmup", Some("0.03".to_owned()))]),
        ),
    )
}

fn scaled_away(patient: &Patient<'_>) -> Option<Finding> {
    let training = &patient.run.training;
    let (rank, alpha) = (training.number("rank")?, training.number("alpha")?);
    let rslora = training.setting("rslora").as_bool().unwrap_or(false);
    let scaling = alpha / if rslora { rank.sqrt() } else { rank };
    let curve = patient.curve?;
    if scaling >= LEAST_SCALING || curve.fallen() > 0.5 {
        return None;
    }
    Some(
        Finding::new(
            Cause::ScaledAway,
            format!("the adapter's output is scaled by {scaling:.1e} only"),
        )
        .seen(format!("alpha {alpha} at rank {rank}"))
        .seen_if(fall(patient))
        .attempt(
            format!("--alpha {rank}: alpha = rank scales by 1 (Hu et al. 2021, section 4.1)"),
            train_again(training, &[("alpha", Some(rank.to_string()))]),
        ),
    )
}

fn few_modules(patient: &Patient<'_>) -> Option<Finding> {
    let (training, curve) = (&patient.run.training, patient.curve?);
    let adapter = patient.adapter.as_ref()?;
    let kinds = adapter.kinds.join(", ");
    let misses_attention =
        adapter.has_attention && !(adapter.has("q_proj") && adapter.has("v_proj"));
    let poor = misses_attention || adapter.layers.0 * 2 < adapter.layers.1;
    if !poor || curve.fallen() > 0.6 {
        return None;
    }
    let rule = "q and v at least, then k and o, then gate, up and down (Hu et al. 2021, section 7.1; QLoRA, figure 2)";
    Some(
        Finding::new(Cause::FewModules, "too few modules carry an adapter")
            .seen(format!(
                "{} modules ({kinds}) in {} of {} layers, {} trainable parameters",
                adapter.modules,
                adapter.layers.0,
                adapter.layers.1,
                thousands(adapter.parameters)
            ))
            .seen_if(fall(patient))
            .attempt(
                format!("--targets all: {rule}"),
                train_again(training, &[("targets", Some("all".to_owned()))]),
            ),
    )
}

fn nothing_to_learn(patient: &Patient<'_>) -> Finding {
    Finding::new(Cause::NothingToLearn, "the base knows the answers already")
        .seen_if(fall(patient))
        .attempt(
            "measure the base: if its answers are right, it needs no adapter",
            patient.evaluate_base(),
        )
}

fn not_learning(patient: &Patient<'_>) -> Finding {
    let training = &patient.run.training;
    let rate = training.number("lr").unwrap_or(0.0);
    let more = format!("{:e}", rate * 5.0);
    Finding::new(Cause::NotLearning, "the loss does not fall")
        .seen_if(fall(patient))
        .seen(norms(patient))
        .attempt(
            format!("--lr {more}: five times the rate"),
            train_again(training, &[("lr", Some(more))]),
        )
        .attempt(
            "look at what is learned: rows with their supervised tokens marked",
            training.data().map(|data| show_rows(&data)),
        )
}

fn stopped_early(patient: &Patient<'_>) -> Option<Finding> {
    let training = &patient.run.training;
    let [.., before, last] = &training.evals[..] else {
        return None;
    };
    let gained = (before.valid_loss - last.valid_loss) / before.valid_loss.max(1e-9);
    let least = if last.epoch < 2.0 { 0.05 } else { 0.1 }; // the rate falls to 0, and the gains with it
    if gained < least || before.valid_loss - last.valid_loss < 0.1 {
        return None;
    }
    let epochs = format!("{}", (2.0 * last.epoch).ceil());
    Some(
        Finding::new(Cause::StoppedEarly, "the run ended while it still learned")
            .seen(format!(
                "valid loss {:.4} after step {}, {:.4} after the last, {}: {:.0} % less",
                before.valid_loss,
                before.step,
                last.valid_loss,
                last.step,
                100.0 * gained
            ))
            .attempt(
                format!("--epochs {epochs} --patience 3: twice as long, and an end when the valid loss rises"),
                train_again(
                    training,
                    &[("steps", None), ("epochs", Some(epochs.clone())), ("patience", Some("3".to_owned()))],
                ),
            ),
    )
}

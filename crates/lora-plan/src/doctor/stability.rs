//! Is it stable, and does it generalise? Spikes, divergence, clipping; a valid loss that rises while the train loss falls.
use super::finding::{Cause, Finding};
use super::patient::Patient;
use super::series::{Curve, mean, median, relapses, spikes};
use crate::run::train_again;
use lora_core::thousands;

/// A valid loss has risen if it lies above its best by this share and by so many nats.
const RISEN: (f64, f64) = (0.05, 0.03);

/// A rate so many times the usual one is suspicious.
const MUCH_HIGHER: f64 = 4.0;

/// A rate so many times the usual one explains a loss that stands still.
const FAR_HIGHER: f64 = 10.0;

/// All findings about stability and overfitting.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let unstable = rate_too_high(patient);
    let clipped = if unstable.is_none() {
        clipped(patient)
    } else {
        None
    };
    let overfitting = if unstable.is_none() {
        overfitting(patient)
    } else {
        None
    };
    [unstable, clipped, overfitting]
        .into_iter()
        .flatten()
        .collect()
}

/// Steps whose gradient was scaled down, and steps.
fn clipped_steps(patient: &Patient<'_>) -> Option<(usize, usize, f64)> {
    let clip = patient
        .run
        .training
        .number("clip")
        .filter(|clip| *clip > 0.0)?;
    let norms: Vec<f64> = patient
        .run
        .training
        .steps
        .iter()
        .map(|step| step.grad_norm)
        .collect();
    Some((
        norms.iter().filter(|norm| **norm > clip).count(),
        norms.len(),
        median(&norms) / clip,
    ))
}

fn rate_too_high(patient: &Patient<'_>) -> Option<Finding> {
    let (training, curve) = (&patient.run.training, patient.curve?);
    let losses = training.losses();
    let (spikes, relapses) = (spikes(&losses), relapses(&losses));
    let many = (losses.len() / 50).max(3);
    let rate = training.number("lr").unwrap_or(0.0);
    let (usual, rule) = patient.usual_rate();
    // A single batch may be harder than the others; with a rate far above the usual one it is the rate.
    let relapses = if rate >= MUCH_HIGHER * usual {
        relapses
    } else {
        Vec::new()
    };
    let stuck = match rate / usual {
        times if times >= FAR_HIGHER => stuck(patient).or_else(|| stands(&losses)),
        times if times >= MUCH_HIGHER => stuck(patient),
        _ => None,
    };
    if !patient.diverges() && spikes.len() < many && relapses.len() < many && stuck.is_none() {
        return None;
    }
    let (lower, why) = if usual < 0.7 * rate {
        (usual, format!("{} ({})", rule.says, rule.source))
    } else {
        (rate / 5.0, "a fifth of the rate".to_owned())
    };
    let lower = format!("{lower:e}");
    let title = if stuck.is_some() {
        format!("the learning rate {rate:e} has broken the adapter: it is stuck")
    } else {
        format!("training is unstable at the learning rate {rate:e}")
    };
    let mut finding = Finding::new(Cause::RateTooHigh, title).seen_if(stuck);
    if patient.diverges() {
        finding = finding.seen(format!(
            "train loss {:.3} over the first steps, {:.3} at its lowest, {:.3} over the last",
            curve.head, curve.lowest, curve.tail
        ));
    }
    if !spikes.is_empty() {
        finding = finding.seen(format!(
            "the loss spikes to twice its median before and more at step {}",
            steps(&spikes)
        ));
    }
    if !relapses.is_empty() {
        finding = finding.seen(format!(
            "the loss jumps back above where it was at step {}",
            steps(&relapses)
        ));
    }
    if rate >= MUCH_HIGHER * usual {
        finding = finding.seen(format!(
            "the rate is {:.0} times the usual one",
            rate / usual
        ));
    }
    let clipped = clipped_steps(patient).map(|(n, of, times)| {
        format!("{n} of {of} steps clipped, the median gradient {times:.1} times the limit")
    });
    Some(
        finding
            .seen_if(clipped)
            .attempt(
                format!("--lr {lower}: {why}"),
                train_again(training, &[("lr", Some(lower))]),
            )
            .attempt(
                "--warmup 0.1: a slower start",
                train_again(training, &[("warmup", Some("0.1".to_owned()))]),
            ),
    )
}

/// A model that gives the same answer whatever it is asked: its accuracy never moves, and its loss hardly.
fn stuck(patient: &Patient<'_>) -> Option<String> {
    let evals = &patient.run.training.evals;
    let first = evals.first()?.token_accuracy?;
    let same = evals.iter().all(|eval| eval.token_accuracy == Some(first));
    (evals.len() >= 3 && same && first < 0.9).then(|| {
        format!(
            "token accuracy on the held-out rows is {:.2} % at each of {} evaluations: the answer is the same whatever \
             is asked",
            100.0 * first,
            evals.len()
        )
    })
}

/// A loss that has hardly moved since the middle of the run, far from zero.
fn stands(losses: &[f64]) -> Option<String> {
    const FAR: f64 = 1.0;
    const HARDLY: f64 = 0.15;
    let half = Curve::of(&losses[losses.len() / 2..])?;
    (half.fallen() < HARDLY && half.tail > FAR).then(|| {
        format!(
            "train loss {:.2} in the middle of the run, {:.2} at its end: it stands still",
            half.head, half.tail
        )
    })
}

/// Some of the steps, and how many there are.
fn steps(at: &[usize]) -> String {
    let some: Vec<String> = at.iter().take(4).map(|at| (at + 1).to_string()).collect();
    if at.len() > some.len() {
        format!("{} … ({} in all)", some.join(", "), at.len())
    } else {
        some.join(", ")
    }
}

fn clipped(patient: &Patient<'_>) -> Option<Finding> {
    let (clipped, steps, times) = clipped_steps(patient)?;
    if steps < 20 || clipped * 10 < steps * 9 || times < 5.0 {
        return None;
    }
    let training = &patient.run.training;
    let accumulation = training.number("accumulation").unwrap_or(1.0) * 4.0;
    Some(
        Finding::new(
            Cause::Clipped,
            "nearly every step is clipped, so the direction follows single batches",
        )
        .seen(format!(
            "{clipped} of {steps} steps clipped, the median gradient {times:.1} times the limit"
        ))
        .attempt(
            format!("--accumulation {accumulation}: gradients of more rows vary less"),
            train_again(
                training,
                &[("accumulation", Some(accumulation.to_string()))],
            ),
        ),
    )
}

fn overfitting(patient: &Patient<'_>) -> Option<Finding> {
    let training = &patient.run.training;
    let best = training
        .evals
        .iter()
        .min_by(|a, b| a.valid_loss.total_cmp(&b.valid_loss))?;
    let last = training.evals.last()?;
    let rise = last.valid_loss - best.valid_loss;
    if rise < RISEN.1 || rise < RISEN.0 * best.valid_loss {
        return None;
    }
    let around = |step: u64| {
        let near = training
            .steps
            .iter()
            .filter(|line| line.step.abs_diff(step) <= 5);
        mean(&near.map(|line| line.loss).collect::<Vec<_>>())
    };
    let (then, now) = (around(best.step), around(last.step));
    if now > 1.05 * then {
        return None; // both rise: that is no overfitting
    }
    let rank = training.number("rank").map_or(16, |rank| rank as usize);
    let capacity = patient.run.dataset.as_ref().and_then(|data| {
        let parameters = training.result("trainable_parameters")? as u64;
        Some(format!(
            "{} trainable parameters (rank {rank}) for {} rows with {} supervised tokens, each seen {:.1} times",
            thousands(parameters),
            data.train.rows,
            thousands(data.train.supervised as u64),
            last.epoch
        ))
    });
    Some(changes(
        Finding::new(Cause::Overfitting, "the run learns its rows by heart")
            .seen(format!(
                "valid loss {:.4} after step {} (epoch {:.1}), {:.4} at the end; train loss {then:.4} then, {now:.4} at the end",
                best.valid_loss, best.step, best.epoch, last.valid_loss
            ))
            .seen_if(capacity)
            .seen("the folder holds the adapter of the best step; checkpoints/last holds the last one"),
        patient,
        best.epoch,
        rank,
    ))
}

/// What helps against overfitting, the surest first.
fn changes(finding: Finding, patient: &Patient<'_>, best_epoch: f64, rank: usize) -> Finding {
    let training = &patient.run.training;
    let set = |flag: &'static str, value: String| (flag, Some(value));
    let epochs = format!("{}", best_epoch.ceil().max(1.0));
    let shorter = train_again(
        training,
        &[
            ("steps", None),
            set("epochs", epochs.clone()),
            set("patience", "2".to_owned()),
        ],
    );
    let mut finding = finding.attempt(
        format!("--epochs {epochs} --patience 2: stop where it was best"),
        shorter,
    );
    if rank > 8 {
        let lower = (rank / 4).max(8).to_string();
        let command = train_again(
            training,
            &[set("rank", lower.clone()), set("alpha", lower.clone())],
        );
        finding = finding.attempt(
            format!("--rank {lower}: fewer parameters can hold less by heart"),
            command,
        );
    }
    if training.number("dropout").is_none_or(|p| p < 0.05) {
        let command = train_again(training, &[set("dropout", "0.05".to_owned())]);
        finding = finding.attempt(
            "--dropout 0.05: light dropout helps below 500 rows",
            command,
        );
    }
    finding.attempt(
        "more rows, or more different ones: nothing helps as much",
        None,
    )
}

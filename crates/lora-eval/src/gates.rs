//! The gates: what they need, what they say, and the exit status that follows.
use crate::{Args, Rows};
use lora_cli::{Error, Result, Status};
use lora_records::{Difference, GateResult, ModelReport, Report};

/// Refuses gates that can't be judged, before any file is opened.
pub(crate) fn check_arguments(args: &Args) -> Result<()> {
    let fail = |message: &str, hint: &str| Err(Error::new(message).hint(hint));
    if args.must_beat_base && args.adapter.is_empty() {
        return fail(
            "--must-beat-base needs an adapter",
            "name one: --adapter DIR",
        );
    }
    if args.max_nll.is_some_and(|x| !x.is_finite() || x < 0.0) {
        return fail(
            "--max-nll is no loss",
            "it is a mean loss in nats a token, e.g. --max-nll 1.5",
        );
    }
    if args
        .min_exact_match
        .is_some_and(|x| !(0.0..=1.0).contains(&x))
    {
        return fail(
            "--min-exact-match is a share between 0 and 1",
            "90 % is --min-exact-match 0.9",
        );
    }
    if args.min_exact_match.is_some() && args.generate == Rows::First(0) {
        return fail(
            "--min-exact-match needs generated answers",
            "leave --generate 0 out",
        );
    }
    for (name, value) in [
        ("--limit", args.limit),
        ("--threads", args.threads),
        ("--max-new-tokens", args.max_new_tokens),
        ("--batch-tokens", Some(args.batch_tokens)),
    ] {
        if value == Some(0) {
            return Err(Error::new(format!("{name} must be at least 1")));
        }
    }
    Ok(())
}

/// Judges all gates: on the adapters, or on the base where there is none.
pub(crate) fn judge(args: &Args, report: &Report) -> Vec<GateResult> {
    let judged = if report.models.len() > 1 {
        &report.models[1..]
    } else {
        &report.models[..]
    };
    let mut gates = Vec::new();
    for model in judged {
        let mut gate = |name: &str, (passed, reason): (bool, String)| {
            gates.push(GateResult {
                gate: name.to_owned(),
                model: model.name.clone(),
                passed,
                reason,
            });
        };
        if args.must_beat_base {
            gate(
                "must-beat-base",
                beats_base(model.difference_to_base.as_ref()),
            );
        }
        if let Some(most) = args.max_nll {
            gate(
                "max-nll",
                (
                    model.nll <= most,
                    format!(
                        "loss {:.4}, at most {most} wanted, over {} rows{}",
                        model.nll,
                        report.rows,
                        little(report.rows)
                    ),
                ),
            );
        }
        if let Some(least) = args.min_exact_match {
            gate("min-exact-match", exact_enough(model, least));
        }
    }
    gates
}

/// An adapter beats the base if the whole 95 % interval of the paired difference lies below zero.
fn beats_base(difference: Option<&Difference>) -> (bool, String) {
    let Some(d) = difference else {
        return (false, "there is no base to compare with".to_owned());
    };
    let (Some(low), Some(high)) = (d.low, d.high) else {
        return (
            false,
            format!(
                "loss − base {:+.4}, but one prompt says nothing about the noise",
                d.nll
            ),
        );
    };
    let passed = high < 0.0;
    let verdict = match (passed, d.nll < 0.0) {
        (true, _) => "below the base",
        (false, true) => "below the base, but within the noise",
        (false, false) => "not below the base",
    };
    (
        passed,
        format!(
            "loss − base {:+.4}, 95 % interval {low:+.4} to {high:+.4} over {} prompts{}: {verdict}",
            d.nll,
            d.prompts,
            little(d.prompts)
        ),
    )
}

fn exact_enough(model: &ModelReport, least: f64) -> (bool, String) {
    match &model.exact_match {
        None => (false, "no answer was generated".to_owned()),
        Some(m) => {
            let mut reason = format!(
                "{} of {} answers exact ({:.1} %), {:.1} % wanted",
                m.matched,
                m.rows,
                m.rate * 100.0,
                least * 100.0
            );
            if let (Some(low), Some(high), Some(prompts)) = (m.low, m.high, m.prompts) {
                let (low, high) = (low * 100.0, high * 100.0);
                reason +=
                    &format!("; 95 % interval {low:.1} to {high:.1} % over {prompts} prompts");
                reason += little(prompts);
            }
            (m.rate >= least, reason)
        }
    }
}

/// What is to be said of a gate on few prompts.
fn little(prompts: usize) -> &'static str {
    const FEW: usize = 10;
    match prompts {
        0 | 1 => ", which is one prompt and proves next to nothing",
        2..FEW => ", which are few and prove little",
        _ => "",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(nll: f64, half: Option<f64>) -> Difference {
        Difference {
            nll,
            standard_error: None,
            low: half.map(|h| nll - h),
            high: half.map(|h| nll + h),
            prompts: 10,
        }
    }

    #[test]
    fn to_beat_the_base_is_more_than_noise() {
        assert!(beats_base(Some(&difference(-0.5, Some(0.1)))).0);
        assert!(!beats_base(Some(&difference(-0.5, Some(0.6)))).0);
        assert!(!beats_base(Some(&difference(0.5, Some(0.1)))).0);
        assert!(!beats_base(Some(&difference(0.0, Some(0.0)))).0);
        assert!(!beats_base(Some(&difference(-0.5, None))).0);
    }
}

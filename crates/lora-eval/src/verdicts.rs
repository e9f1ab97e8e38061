//! What a gate says of one model, in words that tell what was compared. Noise passes none of them: a share of right
//! answers has to be above what the answers reach on other prompts, and a lower loss has to need its prompts.
use crate::statistics::TAIL;
use lora_records::{Difference, Figure, ModelReport, Report};

/// Prompts from which on a gate that is not met beyond noise is not met.
const FEW: usize = 10;

/// An adapter beats the base if the whole 95 % interval of the paired difference lies below zero, and if that is more than
/// the form of the answers.
pub(crate) fn beats_base(model: &ModelReport) -> (bool, String) {
    let Some(d) = &model.difference_to_base else {
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
    let is_below = high < 0.0;
    let verdict = match (is_below, d.nll < 0.0) {
        (true, _) => "below the base",
        (false, true) => "below the base, but within the noise",
        (false, false) => "not below the base",
    };
    let mut reason = format!(
        "loss − base {:+.4}, 95 % interval {low:+.4} to {high:+.4} over {} prompts{}: {verdict}",
        d.nll,
        d.prompts,
        little(d.prompts)
    );
    let form = form_alone(model);
    if let Some(words) = form.as_ref().filter(|_| is_below) {
        reason += &format!("; {words}");
    } else if is_below {
        reason += &prompts_count(model);
    }
    (is_below && form.is_none(), reason)
}

/// Why a low loss is no answer to the prompts: completions fit other rows' prompts as well, or less badly than the base
/// finds. None where they don't, and where no prompts could be swapped.
pub(crate) fn form_alone(model: &ModelReport) -> Option<String> {
    let effect = model.prompt_effect.as_ref()?;
    let is_above_zero = effect.low.is_some_and(|low| low > 0.0);
    if !is_above_zero {
        return Some(format!(
            "but with the prompts swapped between rows its loss changes by {} only: what got better is the form of the \
             answers, not what they say to their prompts",
            shown(effect)
        ));
    }
    let to_base = model.prompt_effect_to_base.as_ref()?;
    to_base.high.filter(|&high| high < 0.0).map(|_| {
        format!(
            "but the prompts help it less than they help the base: with prompts swapped between rows its loss rises by {}, \
             and that − the base's is {}; what got better is the form of the answers",
            shown(effect),
            shown(to_base)
        )
    })
}

/// What swapped prompts show of an adapter that answers to its prompts.
fn prompts_count(model: &ModelReport) -> String {
    match &model.prompt_effect {
        Some(effect) => format!(
            ", and with the prompts swapped between rows it rises by {:.4}: it answers to its prompts",
            effect.nll
        ),
        None => {
            ", of the form and of the content of the answers together: there are no prompts to swap"
                .to_owned()
        }
    }
}

fn shown(d: &Difference) -> String {
    match (d.low, d.high) {
        (Some(low), Some(high)) => {
            format!("{:+.4} (95 % interval {low:+.4} to {high:+.4})", d.nll)
        }
        _ => format!("{:+.4}", d.nll),
    }
}

/// `--max-nll`.
pub(crate) fn loss_below(report: &Report, model: &ModelReport, most: f64) -> (bool, String) {
    let reason = format!(
        "loss {:.4}, at most {most} wanted, over {} rows{}",
        model.nll,
        report.rows,
        little(report.rows)
    );
    let is_met = model.nll <= most;
    with_prompts(model, is_met, report.rows, reason)
}

/// A low loss that does not need its prompts is not met where the prompts are enough to tell.
pub(crate) fn with_prompts(
    model: &ModelReport,
    is_met: bool,
    prompts: usize,
    reason: String,
) -> (bool, String) {
    match form_alone(model).filter(|_| is_met && model.adapter.is_some()) {
        Some(words) => (prompts < FEW, format!("{reason}; {words}")),
        None => (is_met, reason),
    }
}

/// `--min-exact-match`.
pub(crate) fn exact_enough(model: &ModelReport, least: f64) -> (bool, String) {
    let Some(m) = &model.exact_match else {
        return (false, "no answer was generated".to_owned());
    };
    let mut reason = format!(
        "{} of {} answers exact ({:.1} %), {:.1} % wanted",
        m.matched,
        m.rows,
        m.rate * 100.0,
        least * 100.0
    );
    if let (Some(low), Some(high), Some(prompts)) = (m.low, m.high, m.prompts) {
        let (low, high) = (low * 100.0, high * 100.0);
        reason += &format!("; 95 % interval {low:.1} to {high:.1} % over {prompts} prompts");
        reason += little(prompts);
    }
    let is_met = m.rate >= least;
    match model.figure("exact_match") {
        Some(figure) => above_chance(figure, is_met, reason),
        None => (is_met, reason),
    }
}

/// Answers that would be as right for other prompts meet no bound.
pub(crate) fn above_chance(figure: &Figure, is_met: bool, mut reason: String) -> (bool, String) {
    let Some(chance) = figure.chance.as_ref().filter(|_| is_met) else {
        return (is_met, reason);
    };
    let is_above = figure.value > chance.value;
    let is_sure = chance.p_value < TAIL;
    if is_above && (is_sure || figure.prompts < FEW) {
        return (true, reason);
    }
    reason += &format!(
        "; but held against what other prompts expect the same answers reach {:.4} (p = {:.2}): they don't answer their prompts",
        chance.value, chance.p_value
    );
    (false, reason)
}

/// What is to be said of a gate on few prompts.
pub(crate) fn little(prompts: usize) -> &'static str {
    match prompts {
        0 | 1 => ", which is one prompt and proves next to nothing",
        2..FEW => ", which are few and prove little",
        _ => "",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lora_records::TokenAccuracy;

    pub(crate) fn difference(nll: f64, half: Option<f64>) -> Difference {
        Difference {
            nll,
            standard_error: None,
            low: half.map(|h| nll - h),
            high: half.map(|h| nll + h),
            prompts: 10,
        }
    }

    pub(crate) fn model(
        to_base: Difference,
        effect: Option<(Difference, Difference)>,
    ) -> ModelReport {
        let (effect, effect_to_base) = effect.unzip();
        ModelReport {
            name: "a".to_owned(),
            adapter: Some("a".into()),
            rows_trained_on: None,
            nll: 1.0,
            perplexity: 1.0,
            token_accuracy: TokenAccuracy {
                correct: 0,
                tokens: 1,
                rate: 0.0,
            },
            exact_match: None,
            difference_to_base: Some(to_base),
            metrics: Vec::new(),
            prompt_effect: effect,
            prompt_effect_to_base: effect_to_base,
        }
    }

    #[test]
    fn to_beat_the_base_is_more_than_noise() {
        let beats = |to_base| beats_base(&model(to_base, None)).0;
        assert!(beats(difference(-0.5, Some(0.1))));
        assert!(!beats(difference(-0.5, Some(0.6))));
        assert!(!beats(difference(0.5, Some(0.1))));
        assert!(!beats(difference(0.0, Some(0.0))));
        assert!(!beats(difference(-0.5, None)));
    }

    #[test]
    fn to_beat_the_base_is_more_than_the_form_of_answers() {
        let below = || difference(-0.5, Some(0.1));
        let with = |effect, to_base| beats_base(&model(below(), Some((effect, to_base))));
        let (sure, unsure) = (
            || difference(0.5, Some(0.1)),
            || difference(0.05, Some(0.1)),
        );
        assert!(with(sure(), sure()).0 && with(sure(), difference(-0.05, Some(0.1))).0);
        for (passed, reason) in [
            with(unsure(), sure()),
            with(sure(), difference(-0.5, Some(0.1))),
            with(difference(0.5, None), sure()),
        ] {
            assert!(
                !passed && reason.contains("form of the answers"),
                "{reason}"
            );
        }
    }
}

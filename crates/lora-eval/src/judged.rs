//! What `--gate` says of one model: a metric against a number, or against the base.
use crate::bound::Bound;
use crate::metrics::OF_LOSSES;
use crate::verdicts::{above_chance, form_alone, little, with_prompts};
use lora_records::{Figure, ModelReport};

/// `--gate`.
pub(crate) fn judged_bound(bound: &Bound, model: &ModelReport) -> (bool, String) {
    let Some(figure) = model.figure(&bound.metric) else {
        return (
            false,
            format!("{} has nothing to say of these rows", bound.metric),
        );
    };
    if bound.is_to_base {
        return against_base(bound, model, figure);
    }
    let is_met = bound.order.holds(figure.value, bound.limit);
    let mut reason = format!("{} {:.4}", bound.metric, figure.value);
    if let (Some(low), Some(high)) = (figure.low, figure.high) {
        reason += &format!(", 95 % interval {low:.4} to {high:.4}");
    }
    reason += &format!(" over {} prompts{}", figure.prompts, little(figure.prompts));
    if !is_upward_gain(bound, figure) {
        return (is_met, reason);
    }
    if OF_LOSSES.contains(&bound.metric.as_str()) {
        return with_prompts(model, is_met, figure.prompts, reason);
    }
    if figure.chance.is_none() {
        reason += ", whatever the prompt was";
    }
    above_chance(figure, is_met, reason)
}

/// The bound asks for better, not for worse.
fn is_upward_gain(bound: &Bound, figure: &Figure) -> bool {
    bound.order.is_upward() == figure.higher_is_better
}

/// The whole 95 % interval of the difference has to lie on the bound's side.
fn against_base(bound: &Bound, model: &ModelReport, figure: &Figure) -> (bool, String) {
    let change = match (&figure.against_base, &model.difference_to_base) {
        (Some(change), _) => (change.value, change.low, change.high),
        // The perplexity's difference is told by the loss.
        _ => {
            return (
                false,
                format!("{} is not compared with the base: use loss", bound.metric),
            );
        }
    };
    let (value, Some(low), Some(high)) = change else {
        return (
            false,
            format!(
                "{} − base {:+.4}, but one prompt says nothing about the noise",
                bound.metric, change.0
            ),
        );
    };
    let nearest = if bound.order.is_upward() { low } else { high };
    let is_met = bound.order.holds(nearest, bound.limit);
    let verdict = match (is_met, bound.order.holds(value, bound.limit)) {
        (true, _) => "all of it within the bound",
        (false, true) => "within the bound, but not beyond noise",
        (false, false) => "outside the bound",
    };
    let reason = format!(
        "{} {:.4}, − base {value:+.4}, 95 % interval {low:+.4} to {high:+.4} over {} prompts{}: {verdict}",
        bound.metric,
        figure.value,
        figure.prompts,
        little(figure.prompts)
    );
    let asks_for_gain = is_upward_gain(bound, figure)
        && if bound.order.is_upward() {
            bound.limit >= 0.0
        } else {
            bound.limit <= 0.0
        };
    if !asks_for_gain {
        return (is_met, reason);
    }
    if OF_LOSSES.contains(&bound.metric.as_str()) {
        return match form_alone(model).filter(|_| is_met) {
            Some(words) => (false, format!("{reason}; {words}")),
            None => (is_met, reason),
        };
    }
    above_chance(figure, is_met, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdicts::tests::{difference, model};
    use lora_records::Chance;

    #[test]
    fn a_bound_that_chance_reaches_is_not_met() {
        let figure = |value, prompts, chance: Option<(f64, f64)>| Figure {
            metric: "rouge_l".to_owned(),
            value,
            low: None,
            high: None,
            rows: prompts,
            prompts,
            higher_is_better: true,
            chance: chance.map(|(value, p_value)| Chance { value, p_value }),
            against_base: None,
        };
        let bound: Bound = "rouge_l >= 0.4".parse().unwrap();
        let passes = |figure: Figure| {
            let mut model = model(difference(0.0, None), None);
            model.metrics.push(figure);
            judged_bound(&bound, &model).0
        };
        assert!(passes(figure(0.5, 50, Some((0.1, 0.001)))));
        assert!(
            !passes(figure(0.5, 50, Some((0.48, 0.3)))),
            "no better than chance"
        );
        assert!(!passes(figure(0.3, 50, Some((0.1, 0.001)))));
        assert!(
            passes(figure(0.5, 3, Some((0.1, 0.3)))),
            "few prompts: met, and said to prove little"
        );
        assert!(!passes(figure(0.5, 3, Some((0.5, 1.0)))));
        assert!(passes(figure(0.5, 50, None)));
        assert!(
            !judged_bound(&bound, &model(difference(0.0, None), None)).0,
            "not measured"
        );
    }
}

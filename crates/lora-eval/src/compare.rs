//! Adapters against each other: which is better, and whether the difference is more than noise.
use crate::distributions::sign_test;
use crate::generation::Answer;
use crate::measured::Measured;
use crate::statistics::{TAIL, cluster, difference};
use lora_records::{Comparison, Difference, ExactDifference};
use std::collections::BTreeMap;

/// All pairs of adapters (`measured` without the base), in the order of the command line.
pub(crate) fn pairs(adapters: &[Measured], groups: &[String]) -> Vec<Comparison> {
    let count = (adapters.len() * adapters.len().saturating_sub(1) / 2).max(1) as f64;
    let mut comparisons = Vec::new();
    for (i, first) in adapters.iter().enumerate() {
        for second in &adapters[i + 1..] {
            let loss = difference(&first.losses, &second.losses, groups, TAIL / count);
            let exact = exact_difference(&first.answers, &second.answers, groups, count);
            comparisons.push(comparison(&first.name, &second.name, loss, exact));
        }
    }
    comparisons
}

fn exact_difference(
    first: &[Answer],
    second: &[Answer],
    groups: &[String],
    pairs: f64,
) -> Option<ExactDifference> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let mut prompts: BTreeMap<String, i64> = BTreeMap::new();
    for (row, (one, two)) in first.iter().zip(second).enumerate() {
        *prompts.entry(cluster(groups, row)).or_default() +=
            i64::from(two.exact) - i64::from(one.exact);
    }
    let first_only = prompts.values().filter(|&&balance| balance < 0).count();
    let second_only = prompts.values().filter(|&&balance| balance > 0).count();
    let p_value = sign_test(first_only.min(second_only), first_only + second_only);
    Some(ExactDifference {
        first_only,
        second_only,
        prompts: prompts.len(),
        p_value: (pairs * p_value).min(1.0),
    })
}

fn comparison(
    first: &str,
    second: &str,
    loss: Difference,
    exact: Option<ExactDifference>,
) -> Comparison {
    let by_loss = match (loss.low, loss.high) {
        (_, Some(high)) if high < 0.0 => Some(second),
        (Some(low), _) if low > 0.0 => Some(first),
        _ => None,
    };
    let by_exact =
        exact
            .as_ref()
            .filter(|e| e.p_value < TAIL)
            .map(|e| match e.second_only > e.first_only {
                true => second,
                false => first,
            });
    let better = match (by_loss, by_exact) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other),
    };
    let verdict = match (better, by_loss.is_some() && by_exact.is_some()) {
        (None, true) => format!("{first} and {second}: loss and exact match contradict each other"),
        (None, false) => format!("{first} and {second}: no difference beyond noise"),
        (Some(better), _) => {
            let other = if better == first { second } else { first };
            let by = match (by_loss.is_some(), by_exact.is_some()) {
                (true, true) => "loss and exact match",
                (true, false) => "loss",
                _ => "exact match",
            };
            format!("{better} is better than {other} by {by}, beyond noise")
        }
    };
    let verdict = format!(
        "{verdict} ({})",
        evidence(first, second, &loss, exact.as_ref())
    );
    Comparison {
        first: first.to_owned(),
        second: second.to_owned(),
        loss,
        exact_match: exact,
        better: better.map(str::to_owned),
        verdict,
        metrics: Vec::new(),
    }
}

fn evidence(
    first: &str,
    second: &str,
    loss: &Difference,
    exact: Option<&ExactDifference>,
) -> String {
    let mut text = format!("loss of {second} − {first} {:+.4}", loss.nll);
    match (loss.low, loss.high) {
        (Some(low), Some(high)) => {
            text += &format!(
                ", interval {low:+.4} to {high:+.4} over {} prompts",
                loss.prompts
            );
        }
        _ => text += ", one prompt says nothing about the noise",
    }
    if let Some(e) = exact {
        let (one, two) = (e.first_only, e.second_only);
        text += &format!(
            "; exact answers of {} prompts: only {first} {one}, only {second} {two}, p = {:.2}",
            e.prompts, e.p_value
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_model::SequenceLoss;

    fn measured(name: &str, losses: &[f64], exact: &[bool]) -> Measured {
        let loss = |&nll: &f64| SequenceLoss {
            nll,
            tokens: 1,
            correct: 0,
        };
        let answer = |&exact: &bool| Answer {
            exact,
            ..Answer::default()
        };
        let (losses, answers) = (
            losses.iter().map(loss).collect(),
            exact.iter().map(answer).collect(),
        );
        Measured {
            name: name.to_owned(),
            losses,
            answers,
            grades: Vec::new(),
            swapped: Vec::new(),
        }
    }

    fn only(adapters: &[Measured]) -> Comparison {
        let mut all = pairs(adapters, &[]);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn an_adapter_is_not_better_than_itself() {
        let (losses, exact) = ([1.0, 2.0, 3.0], [true, false, true]);
        let same = only(&[
            measured("a", &losses, &exact),
            measured("a-2", &losses, &exact),
        ]);
        assert_eq!(
            (
                same.better,
                same.loss.nll,
                same.exact_match.unwrap().p_value
            ),
            (None, 0.0, 1.0)
        );
    }

    #[test]
    fn a_steady_difference_is_found_and_a_wild_one_is_noise() {
        let base: Vec<f64> = (0..10).map(|i| f64::from(i) * 0.3).collect();
        let steady: Vec<f64> = base
            .iter()
            .enumerate()
            .map(|(i, x)| x - 0.1 - 0.001 * i as f64)
            .collect();
        let wild: Vec<f64> = base
            .iter()
            .enumerate()
            .map(|(i, x)| x + if i % 2 == 0 { 1.0 } else { -1.2 })
            .collect();
        let first = measured("first", &base, &[]);
        assert_eq!(
            only(&[measured("first", &base, &[]), measured("b", &steady, &[])])
                .better
                .as_deref(),
            Some("b")
        );
        assert_eq!(
            only(&[measured("b", &steady, &[]), measured("c", &base, &[])])
                .better
                .as_deref(),
            Some("b")
        );
        assert_eq!(only(&[first, measured("b", &wild, &[])]).better, None);
    }

    #[test]
    fn exact_answers_decide_where_the_loss_does_not_and_contradictions_are_said() {
        let flat = [1.0; 8];
        let (none, all) = ([false; 8], [true; 8]);
        let by_exact = only(&[measured("a", &flat, &none), measured("b", &flat, &all)]);
        assert_eq!(by_exact.better.as_deref(), Some("b"));
        assert!(
            by_exact
                .verdict
                .starts_with("b is better than a by exact match"),
            "{}",
            by_exact.verdict
        );
        let few = only(&[
            measured("a", &flat[..4], &none[..4]),
            measured("b", &flat[..4], &all[..4]),
        ]);
        assert_eq!(few.better, None, "4 of 4 has p = 0.125");
        let torn = only(&[
            measured("a", &flat, &none),
            measured("b", &[2.0, 2.1, 2.0, 2.1, 2.0, 2.1, 2.0, 2.1], &all),
        ]);
        assert_eq!(torn.better, None);
        assert!(torn.verdict.contains("contradict"), "{}", torn.verdict);
    }

    #[test]
    fn more_pairs_need_more_evidence() {
        let losses = [1.0; 6];
        let (none, all) = ([false; 6], [true; 6]);
        let two = pairs(
            &[measured("a", &losses, &none), measured("b", &losses, &all)],
            &[],
        );
        let three = pairs(
            &[
                measured("a", &losses, &none),
                measured("b", &losses, &all),
                measured("c", &losses, &all),
            ],
            &[],
        );
        assert_eq!(three.len(), 3);
        let p = |c: &Comparison| c.exact_match.as_ref().unwrap().p_value;
        assert!((p(&three[0]) - 3.0 * p(&two[0])).abs() < 1e-12);
        assert!(two[0].better.is_some() && three[0].better.is_none());
    }
}

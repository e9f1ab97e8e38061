//! The loss for the balance of experts: its value against f64, its gradient against finite differences.
use crate::harness::{assert_close, gradient, values, wide};
use lora_kernels::experts::{self, Balance, Choice, Routing};

const CHOICE: Choice = Choice::of_softmax(5, 2, true);

fn softmax(row: &[f64]) -> Vec<f64> {
    let exps: Vec<f64> = row.iter().map(|l| l.exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// E · Σₑ fₑ·Pₑ over all rows, whose choices stay what they are.
fn reference(logits: &[f64], chosen: &[u32], times: &[u32]) -> f64 {
    let (e, k) = (CHOICE.experts, CHOICE.chosen);
    let (mut choices, mut means) = (vec![0.0; e], vec![0.0; e]);
    let all: f64 = times.iter().map(|&n| f64::from(n)).sum();
    let rows = logits.chunks(e).zip(chosen.chunks(k)).zip(times);
    for ((logits, chosen), &times) in rows {
        let share = f64::from(times) / all;
        let own = means.iter_mut().zip(softmax(logits));
        own.for_each(|(mean, p)| *mean += share * p);
        chosen.iter().for_each(|&x| choices[x as usize] += share);
    }
    let sum: f64 = choices.iter().zip(means).map(|(f, p)| f * p).sum();
    e as f64 * sum
}

/// The routing of rows of logits, and their softmax.
fn routed(logits: &[f32], choice: Choice) -> (Vec<f32>, Routing) {
    let (mut probabilities, mut routing) = (logits.to_vec(), Routing::default());
    experts::score(&mut probabilities, choice);
    routing.choose(&probabilities, choice, None);
    (probabilities, routing)
}

#[test]
fn a_balance_both_ways_over_several_layers() {
    let (t, e) = (11, CHOICE.experts);
    let times: Vec<u32> = (0..t).map(|t| 1 + t % 3).collect();
    let logits: Vec<f32> = values(3 * t as usize * e, 4)
        .iter()
        .map(|x| 2.0 * x)
        .collect();
    let layers: Vec<_> = logits
        .chunks(t as usize * e)
        .map(|logits| routed(logits, CHOICE))
        .collect();
    let mut balance = Balance::new(e);
    for (probabilities, routing) in &layers {
        balance.count(probabilities, routing, CHOICE, &times);
    }
    let chosen: Vec<u32> = layers
        .iter()
        .flat_map(|(_, routing)| routing.experts().to_vec())
        .collect();
    let all_times = times.repeat(3);
    let of = |logits: &[f64]| reference(logits, &chosen, &all_times);
    let want = of(&wide(&logits));
    assert!(
        (balance.loss() / want - 1.0).abs() < 1e-6,
        "{} {want}",
        balance.loss()
    );
    let slopes = balance.slopes(0.3);
    let mut found = vec![0.0; logits.len()];
    let parts = found.chunks_mut(t as usize * e).zip(&layers);
    for (d, (probabilities, _)) in parts {
        d.fill(1.0);
        experts::add_balance_gradients(probabilities, &slopes, &times, d);
        d.iter_mut().for_each(|d| *d = (*d - 1.0) / 0.3);
    }
    let want = gradient(&wide(&logits), of);
    let largest = want.iter().fold(0f64, |m, v| m.max(v.abs()));
    // What was there before, 1, leaves the rounding of its own.
    assert_close("d_logits", &found, &want, (5e-7 / largest).max(5e-6));
}

#[test]
fn a_token_that_counts_thrice_is_three_tokens() {
    let logits = values(4 * CHOICE.experts, 9);
    let (first, rest) = logits.split_at(CHOICE.experts);
    let repeated = [first, first, first, rest].concat();
    let counted = |logits: &[f32], times: &[u32]| {
        let (probabilities, routing) = routed(logits, CHOICE);
        let mut balance = Balance::new(CHOICE.experts);
        balance.count(&probabilities, &routing, CHOICE, times);
        balance
    };
    let (few, many) = (counted(&logits, &[3, 1, 1, 1]), counted(&repeated, &[1; 6]));
    assert!((few.loss() - many.loss()).abs() < 1e-12);
    let both = few.slopes(1.0).into_iter().zip(many.slopes(1.0));
    assert!(both.into_iter().all(|(a, b)| (a - b).abs() < 1e-7));
}

#[test]
fn even_routing_gives_k_one_expert_for_all_gives_e_and_no_tokens_nothing() {
    let choice = Choice {
        chosen: 1,
        ..CHOICE
    };
    let e = choice.experts;
    let to = |expert: usize, sure: f32| {
        let row = (0..e).map(|x| if x == expert { sure } else { 0.0 });
        row.collect::<Vec<f32>>()
    };
    let loss = |rows: Vec<Vec<f32>>| {
        let (probabilities, routing) = routed(&rows.concat(), choice);
        let mut balance = Balance::new(e);
        balance.count(&probabilities, &routing, choice, &vec![1; rows.len()]);
        balance.loss()
    };
    assert!((loss((0..e).map(|x| to(x, 3.0)).collect()) - 1.0).abs() < 1e-6);
    assert!((loss(vec![to(2, 60.0); 7]) - 5.0).abs() < 1e-6);
    let none = Balance::new(e);
    assert_eq!((none.loss(), none.slopes(1.0)), (0.0, vec![0.0; e]));
}

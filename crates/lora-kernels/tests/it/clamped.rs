//! The clamped unit of gpt-oss' experts, and their biases.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::experts::{self, Choice, Routing};
use lora_kernels::glu::Clamped;

const UNIT: Clamped = Clamped {
    alpha: 1.702,
    limit: 0.6,
};

fn reference(gate: &[f64], up: &[f64]) -> Vec<f64> {
    let (alpha, limit) = (f64::from(UNIT.alpha), f64::from(UNIT.limit));
    let each = gate.iter().zip(up).map(|(g, u)| {
        let (g, u) = (g.min(limit), u.clamp(-limit, limit));
        (u + 1.0) * g / (1.0 + (-alpha * g).exp())
    });
    each.collect()
}

#[test]
fn values_and_gradients_within_the_limit_and_beyond() {
    let n = 300;
    let [gate, up, w] = [1, 2, 3].map(|seed| values(n, seed));
    let beyond = |x: &[f32]| x.iter().filter(|x| x.abs() > UNIT.limit).count();
    assert!(beyond(&gate) > 50 && beyond(&up) > 50);
    let mut out = vec![9.0; n];
    UNIT.forward(&gate, &up, &mut out);
    let (gates, ups) = (wide(&gate), wide(&up));
    assert_close("out", &out, &reference(&gates, &ups), 1e-6);
    let (mut d_gate, mut d_up) = (gate.clone(), up.clone());
    UNIT.backward(&w, &mut d_gate, &mut d_up);
    let want = gradient(&gates, |gate| weigh(&w, &reference(gate, &ups)));
    assert_close("d_gate", &d_gate, &want, 1e-5);
    let want = gradient(&ups, |up| weigh(&w, &reference(&gates, up)));
    assert_close("d_up", &d_up, &want, 1e-5);
}

#[test]
fn a_number_that_is_none_stays_none() {
    let mut out = [0.0];
    UNIT.forward(&[f32::NAN], &[1.0], &mut out);
    assert!(out[0].is_nan());
    UNIT.forward(&[1.0], &[f32::NAN], &mut out);
    assert!(out[0].is_nan());
}

/// Each row has the bias of its expert, and the weight of a row the gradient of what its bias gives.
#[test]
fn rows_have_the_biases_of_their_experts() {
    let (tokens, width) = (9, 5);
    let choice = Choice::of_softmax(4, 2, true);
    let mut routing = Routing::default();
    let scores: Vec<f32> = values(tokens * 4, 7).iter().map(|x| x + 1.5).collect();
    routing.choose(&scores, choice, None);
    let biases: Vec<Vec<f32>> = (0..4).map(|expert| values(width, expert)).collect();
    let before = values(routing.len() * width, 11);
    let mut y = before.clone();
    experts::add_biases(&biases, &routing, &mut y);
    let mut d_weights = vec![0.5; routing.len()];
    experts::weigh_biases(&biases, &before, &routing, &mut d_weights);
    let mut seen = 0;
    for (expert, rows) in routing.ranges() {
        for row in rows {
            let own = row * width..(row + 1) * width;
            let pairs = before[own.clone()].iter().zip(&biases[expert]);
            let sum: f32 = pairs.clone().map(|(dy, b)| dy * b).sum();
            assert!((d_weights[row] - 0.5 - sum).abs() < 1e-5);
            let want: Vec<f32> = pairs.map(|(y, b)| y + b).collect();
            assert_eq!(y[own], want);
            seen += 1;
        }
    }
    assert_eq!(seen, tokens * 2);
}

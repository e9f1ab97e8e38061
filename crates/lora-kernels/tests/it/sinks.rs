//! Attention with sinks: a score of each head in the softmax's denominator, which takes probability and gives nothing.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::attention::{
    Gradients, Inputs, Outputs, Saved, Shape, Workspace, backward, forward,
};
use lora_kernels::layout::Layout;

const SHAPE: Shape = Shape {
    heads: 4,
    kv_heads: 2,
    head_dim: 3,
    scale: 0.577,
    window: None,
    softcap: None,
};
/// One far above all scores, one far below, two among them.
const SINKS: [f32; 4] = [0.3, 120.0, -90.0, -0.8];

fn reference(shape: Shape, starts: &[usize], [q, k, v]: [&[f64]; 3]) -> Vec<f64> {
    let (d, width, kv_width) = (3, 12, 6);
    let mut o = vec![0.0; q.len()];
    for bounds in starts.windows(2) {
        for t in bounds[0]..bounds[1] {
            for (head, &sink) in SINKS.iter().enumerate() {
                let (at, kv) = (t * width + head * d, head / 2 * d);
                let seen =
                    (bounds[0]..=t).filter(|s| shape.window.is_none_or(|window| t - s < window));
                let of_key = |s: usize| {
                    let products = (0..d).map(|i| q[at + i] * k[s * kv_width + kv + i]);
                    products.sum::<f64>() * f64::from(shape.scale)
                };
                let scores: Vec<(usize, f64)> = seen.map(|s| (s, of_key(s))).collect();
                let sink = f64::from(sink);
                let largest = scores.iter().fold(sink, |m, (_, score)| m.max(*score));
                let e = |score: f64| (score - largest).exp();
                let total: f64 = e(sink) + scores.iter().map(|(_, score)| e(*score)).sum::<f64>();
                for (s, score) in scores {
                    for i in 0..d {
                        o[at + i] += e(score) / total * v[s * kv_width + kv + i];
                    }
                }
            }
        }
    }
    o
}

#[test]
fn sinks_take_their_part_of_values_and_gradients() {
    let starts = [0usize, 5, 6, 13];
    let [q, k, v, w] = [(156, 1), (78, 2), (78, 3), (156, 4)].map(|(n, seed)| values(n, seed));
    let [qw, kw, vw] = [&q, &k, &v].map(|x| wide(x));
    let layout = Layout::packed(&starts);
    for window in [None, Some(1), Some(4)] {
        let shape = Shape { window, ..SHAPE };
        let (mut o, mut lse) = (vec![9.0; q.len()], vec![9.0; 13 * 4]);
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
            sinks: Some(&SINKS),
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        forward(shape, &layout, inputs, outputs);
        assert_close("o", &o, &reference(shape, &starts, [&qw, &kw, &vw]), 1e-5);
        let saved = Saved {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            has_sinks: true,
            d_o: &w,
        };
        let [mut dq, mut dk, mut dv] = [&q, &k, &v].map(|x| vec![9.0; x.len()]);
        let to = Gradients {
            q: &mut dq,
            k: &mut dk,
            v: &mut dv,
        };
        backward(shape, &layout, saved, to, &mut Workspace::default());
        let loss = |all: [&[f64]; 3]| weigh(&w, &reference(shape, &starts, all));
        assert_close("dq", &dq, &gradient(&qw, |q| loss([q, &kw, &vw])), 1e-4);
        assert_close("dk", &dk, &gradient(&kw, |k| loss([&qw, k, &vw])), 1e-4);
        assert_close("dv", &dv, &gradient(&vw, |v| loss([&qw, &kw, v])), 1e-4);
    }
}

/// A sink of −∞ is none.
#[test]
fn a_sink_that_takes_nothing_changes_nothing() {
    let [q, k, v] = [(156, 1), (78, 2), (78, 3)].map(|(n, seed)| values(n, seed));
    let run = |sinks: Option<&[f32]>| {
        let (mut o, mut lse) = (vec![0.0; q.len()], vec![0.0; 13 * 4]);
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
            sinks,
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        forward(SHAPE, &Layout::packed(&[0, 13]), inputs, outputs);
        (o, lse)
    };
    assert_eq!(run(Some(&[f32::NEG_INFINITY; 4])), run(None));
}

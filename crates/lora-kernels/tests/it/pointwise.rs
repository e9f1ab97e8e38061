//! RMSNorm, rotary embedding, SwiGLU and GeGLU, exp, tanh.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::glu::{self, Activation};
use lora_kernels::rope::{Heads, Pairs, Turn};
use lora_kernels::{norm, rope, vector};

fn norm_reference(x: &[f64], gamma: &[f32], eps: f64) -> Vec<f64> {
    let h = gamma.len();
    x.chunks(h)
        .flat_map(|row| {
            let rstd = 1.0 / (row.iter().map(|v| v * v).sum::<f64>() / h as f64 + eps).sqrt();
            row.iter()
                .zip(gamma)
                .map(move |(v, &g)| v * rstd * f64::from(g))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn rmsnorm() {
    // As it is stored, Gemma's γ (stored minus one), and many short rows, which is how heads are normalised.
    for (t, h, offset) in [(5, 37, 0.0), (5, 37, 1.0), (60, 6, 0.0)] {
        check_rmsnorm(t, h, offset);
    }
}

fn check_rmsnorm(t: usize, h: usize, offset: f32) {
    let eps = 1e-5;
    let (x, mut gamma, w) = (values(t * h, 1), values(h, 2), values(t * h, 3));
    gamma.iter_mut().for_each(|g| *g += offset);
    let (mut y, mut rstd) = (vec![0.0; t * h], vec![0.0; t]);
    norm::forward(&x, &gamma, eps, &mut y, &mut rstd);
    assert_close(
        "y",
        &y,
        &norm_reference(&wide(&x), &gamma, f64::from(eps)),
        1e-6,
    );

    let mut again = vec![0.0; t * h];
    norm::recompute(&x, &gamma, &rstd, &mut again);
    assert_eq!(y, again, "recomputed rows are the same bits");

    let before = values(t * h, 4);
    let (mut dx, mut dy) = (before.clone(), w.clone());
    norm::backward(&x, &gamma, &rstd, &mut dy, &mut dx);
    let mut want = gradient(&wide(&x), |x| {
        weigh(&w, &norm_reference(x, &gamma, f64::from(eps)))
    });
    want.iter_mut()
        .zip(&before)
        .for_each(|(g, &b)| *g += f64::from(b));
    assert_close("dx adds to what was there", &dx, &want, 1e-5);
}

const FACTOR: f64 = 1.3;

fn rotate_reference(x: &[f64], positions: &[u32], frequencies: &[f32], heads: Heads) -> Vec<f64> {
    let half = frequencies.len();
    let mut out = x.to_vec();
    for (row, &p) in out.chunks_mut(heads.count * heads.width).zip(positions) {
        for head in row.chunks_mut(heads.width) {
            for (i, &frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (f64::from(p) * f64::from(frequency)).sin_cos();
                let (sin, cos) = (sin * FACTOR, cos * FACTOR);
                let (first, second) = match heads.pairs {
                    Pairs::Halves => (i, i + half),
                    Pairs::Neighbours => (2 * i, 2 * i + 1),
                };
                let (a, b) = (head[first], head[second]);
                head[first] = a * cos - b * sin;
                head[second] = b * cos + a * sin;
            }
        }
    }
    out
}

#[test]
fn rotary_embedding() {
    let (frequencies, positions) = ([1.0f32, 0.3, 0.01], [0u32, 7, 2, 90]);
    // The whole head, and a part of one whose width is odd.
    let cases = [6, 9].map(|width| [Pairs::Halves, Pairs::Neighbours].map(|pairs| (width, pairs)));
    for (width, pairs) in cases.into_iter().flatten() {
        let heads = Heads {
            count: 3,
            width,
            pairs,
        };
        let n = positions.len() * heads.count * width;
        let (x, w) = (values(n, 5), values(n, 6));
        let table = rope::Table::new(&frequencies, |_| FACTOR, 100);
        let turned = |x: &[f64]| rotate_reference(x, &positions, &frequencies, heads);
        let mut y = x.clone();
        rope::rotate(&mut y, &positions, heads, &table, Turn::Forward);
        assert_close("y", &y, &turned(&wide(&x)), 1e-5);
        let mut dx = w.clone();
        rope::rotate(&mut dx, &positions, heads, &table, Turn::Back);
        let want = gradient(&wide(&x), |x| weigh(&w, &turned(x)));
        assert_close("dx", &dx, &want, 1e-5);
    }
}

fn glu_reference(activation: Activation, gate: &[f64], up: &[f64]) -> Vec<f64> {
    let activate = |g: f64| match activation {
        Activation::Silu => g / (1.0 + (-g).exp()),
        Activation::GeluTanh => {
            0.5 * g
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g.powi(3))).tanh())
        }
    };
    gate.iter().zip(up).map(|(&g, u)| activate(g) * u).collect()
}

#[test]
fn gated_linear_units_both_ways() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let n = 53;
        let gate: Vec<f32> = values(n, 7).iter().map(|v| v * 6.0).collect();
        let (up, w) = (values(n, 8), values(n, 9));
        let mut y = vec![0.0; n];
        glu::forward(activation, &gate, &up, &mut y);
        assert_close(
            "y",
            &y,
            &glu_reference(activation, &wide(&gate), &wide(&up)),
            1e-6,
        );
        let (mut d_gate, mut d_up) = (gate.clone(), up.clone());
        glu::backward(activation, &w, &mut d_gate, &mut d_up);
        let want = gradient(&wide(&gate), |g| {
            weigh(&w, &glu_reference(activation, g, &wide(&up)))
        });
        assert_close("d_gate", &d_gate, &want, 1e-5);
        let want = gradient(&wide(&up), |u| {
            weigh(&w, &glu_reference(activation, &wide(&gate), u))
        });
        assert_close("d_up", &d_up, &want, 1e-5);
    }
}

#[test]
fn tanh_is_accurate_everywhere() {
    for i in -2_000..2_000 {
        let x = i as f32 / 100.0;
        let (got, want) = (f64::from(vector::tanh(x)), f64::from(x).tanh());
        assert!(
            (got - want).abs() <= 2.4e-7 && (got - want).abs() <= 4e-7 * want.abs(),
            "tanh({x}) = {got} instead of {want}"
        );
    }
    assert_eq!(
        (vector::tanh(1e9), vector::tanh(-1e9), vector::tanh(0.0)),
        (1.0, -1.0, 0.0)
    );
    assert!(vector::tanh(f32::NAN).is_nan());
}

#[test]
fn exp_is_accurate_over_its_range_and_honest_outside() {
    for i in -8_700..8_800 {
        let x = i as f32 / 100.0;
        let (got, want) = (f64::from(vector::exp(x)), f64::from(x).exp());
        assert!(
            (got - want).abs() <= 3e-7 * want,
            "exp({x}) = {got} instead of {want}"
        );
    }
    assert_eq!(vector::exp(-200.0), 0.0);
    assert_eq!(vector::exp(f32::NEG_INFINITY), 0.0);
    assert!(vector::exp(f32::NAN).is_nan());
    assert_eq!(vector::exp(0.0), 1.0);
}

#[test]
fn reductions() {
    let x = values(77, 10);
    let sum: f64 = wide(&x).iter().sum();
    assert!((f64::from(vector::sum(&x)) - sum).abs() < 1e-5);
    let dot: f64 = wide(&x).iter().map(|v| v * v).sum();
    assert!((f64::from(vector::dot(&x, &x)) - dot).abs() < 1e-5);
    assert_eq!(vector::max(&x), x.iter().copied().fold(f32::MIN, f32::max));
    assert_eq!(
        vector::argmax(&[1.0, 3.0, 3.0, 2.0]),
        1,
        "the first of equals"
    );
}

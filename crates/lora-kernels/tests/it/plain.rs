//! LayerNorm, and the activations of MLPs without a gate: against f64 and finite differences, with any number of threads.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::activation::{self, Activation, Plain, Xielu};
use lora_kernels::dora::bias_gradient;
use lora_kernels::layer_norm::{self, Affine};

/// Rows far from 0, as hidden states are, so that a mean that is not subtracted first shows.
fn rows(t: usize, h: usize) -> Vec<f32> {
    values(t * h, 1).iter().map(|v| v + 3.0).collect()
}

fn reference(x: &[f64], gamma: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let h = gamma.len();
    let normalise = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / h as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / h as f64;
        let rstd = 1.0 / (variance + eps).sqrt();
        let affine = gamma.iter().zip(bias).zip(row);
        let normed = affine.map(|((g, b), v)| (v - mean) * rstd * g + b);
        normed.collect::<Vec<f64>>()
    };
    x.chunks(h).flat_map(normalise).collect()
}

#[test]
fn layer_norm_both_ways_with_a_bias_and_without() {
    for (t, h, biased) in [(5, 37, true), (5, 37, false), (40, 6, true), (3, 64, false)] {
        let eps = 1e-5;
        let (x, gamma, w) = (rows(t, h), values(h, 2), values(t * h, 3));
        let bias = if biased { values(h, 5) } else { vec![0.0; h] };
        let affine = Affine {
            gamma: &gamma,
            bias: biased.then_some(&bias[..]),
        };
        let of = |x: &[f64], gamma: &[f64], bias: &[f64]| reference(x, gamma, bias, f64::from(eps));
        let (mut y, mut rstd) = (vec![0.0; t * h], vec![0.0; t]);
        layer_norm::forward(&x, affine, eps, &mut y, &mut rstd);
        let (x64, gamma64, bias64) = (wide(&x), wide(&gamma), wide(&bias));
        assert_close("y", &y, &of(&x64, &gamma64, &bias64), 1e-6);

        let mut again = vec![0.0; t * h];
        layer_norm::recompute(&x, affine, &rstd, &mut again);
        assert_eq!(y, again, "recomputed rows are the same bits");

        let before = values(t * h, 4);
        let (mut dx, mut dy) = (before.clone(), w.clone());
        layer_norm::backward(&x, &gamma, &rstd, &mut dy, &mut dx);
        let mut want = gradient(&x64, |x| weigh(&w, &of(x, &gamma64, &bias64)));
        let sums = want.iter_mut().zip(&before);
        sums.for_each(|(g, &b)| *g += f64::from(b));
        assert_close("dx adds to what was there", &dx, &want, 1e-5);

        let mut d_gamma = vec![0.0; h];
        layer_norm::weight_gradient(&x, &rstd, &w, &mut d_gamma);
        let want = gradient(&gamma64, |gamma| weigh(&w, &of(&x64, gamma, &bias64)));
        assert_close("dγ", &d_gamma, &want, 1e-5);
        let mut d_bias = vec![0.0; h];
        bias_gradient(&w, 1.0, &mut d_bias);
        let want = gradient(&bias64, |bias| weigh(&w, &of(&x64, &gamma64, bias)));
        assert_close("the bias' gradient", &d_bias, &want, 1e-5);
    }
}

const LEARNED: [f32; 2] = [0.3, -1.1];
const BETA: f32 = 0.5;
const EPS: f32 = -1e-6;

fn xielu(x: f64) -> f64 {
    let softplus = |a: f32| f64::from(a).exp().ln_1p();
    let (alpha_p, alpha_n) = (softplus(LEARNED[0]), f64::from(BETA) + softplus(LEARNED[1]));
    match x > 0.0 {
        true => alpha_p * x * x + f64::from(BETA) * x,
        false => (x.min(f64::from(EPS)).exp_m1() - x) * alpha_n + f64::from(BETA) * x,
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

/// An activation, in f64.
type Curve = fn(f64) -> f64;

#[test]
fn activations_without_a_gate_both_ways() {
    let kinds: [(Plain, Curve); 3] = [
        (Plain::Of(Activation::Silu), silu),
        (Plain::Of(Activation::GeluTanh), gelu),
        (Plain::Xielu(Xielu::of(LEARNED, BETA, EPS)), xielu),
    ];
    for (plain, of) in kinds {
        let n = 211;
        let x: Vec<f32> = values(n, 7).iter().map(|v| v * 6.0).collect();
        let w = values(n, 9);
        let mut y = vec![0.0; n];
        activation::forward(plain, &x, &mut y);
        let expected: Vec<f64> = wide(&x).into_iter().map(of).collect();
        assert_close("y", &y, &expected, 1e-6);
        let mut dx = x.clone();
        activation::backward(plain, &w, &mut dx);
        let want = gradient(&wide(&x), |x| {
            weigh(&w, &x.iter().map(|&x| of(x)).collect::<Vec<_>>())
        });
        assert_close("dx", &dx, &want, 1e-5);
    }
}

/// Relative to each value: where eˣ − 1 − x is small the two terms cancel.
#[test]
fn xielu_is_accurate_everywhere() {
    let plain = Plain::Xielu(Xielu::of(LEARNED, BETA, EPS));
    let x: Vec<f32> = (-12_000..4_000).map(|i| i as f32 / 1000.0).collect();
    let tiny = [1e-3f32, 1e-5, 2e-6, 5e-7, 1e-20].map(|x| -x);
    let far = [-80.0f32, -200.0, 1000.0];
    let x = [&x[..], &tiny, &far].concat();
    let mut y = vec![0.0; x.len()];
    activation::forward(plain, &x, &mut y);
    for (&x, &y) in x.iter().zip(&y) {
        let want = xielu(f64::from(x));
        let error = (f64::from(y) - want).abs();
        // Near −1.3 the whole crosses 0.
        assert!(
            error <= 1e-6 * want.abs() + 3e-7 * f64::from(x.abs().min(2.0)),
            "{x}: {y}, {want}"
        );
    }
}

#[test]
fn threads_change_no_bit() {
    let (t, h) = (300, 130);
    let (x, gamma, bias, w) = (rows(t, h), values(h, 2), values(h, 5), values(t * h, 3));
    let affine = Affine {
        gamma: &gamma,
        bias: Some(&bias),
    };
    let plain = Plain::Xielu(Xielu::of(LEARNED, BETA, EPS));
    let run = || {
        let (mut y, mut rstd) = (vec![0.0; t * h], vec![0.0; t]);
        layer_norm::forward(&x, affine, 1e-5, &mut y, &mut rstd);
        let (mut dx, mut dy) = (vec![0.0; t * h], w.clone());
        layer_norm::backward(&x, &gamma, &rstd, &mut dy, &mut dx);
        let mut d_gamma = vec![0.0; h];
        layer_norm::weight_gradient(&x, &rstd, &w, &mut d_gamma);
        let mut out = vec![0.0; t * h];
        activation::forward(plain, &y, &mut out);
        activation::backward(plain, &w, &mut y);
        [out, y, dx, d_gamma].concat()
    };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(run)
    };
    let one = with(1);
    assert!([2, 3, 7].into_iter().all(|threads| with(threads) == one));
}

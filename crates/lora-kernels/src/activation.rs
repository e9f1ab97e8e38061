//! What MLPs put their values through: the activations of gated units and of those without a gate, and xIELU (Huang and
//! Schlag 2024), forward and backward.
use crate::dispatch::vectorised;
use crate::vector::{exp, sigmoid};
use rayon::prelude::*;

/// An activation without parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by the tanh formula, ½x(1 + tanh(√(2/π)(x + 0.044715x³))) (Hendrycks and Gimpel 2016).
    GeluTanh,
}

/// What an MLP without a gate computes between its two projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plain {
    /// An activation without parameters.
    Of(Activation),
    /// xIELU with a layer's numbers.
    Xielu(Xielu),
}

/// xIELU: α_p·x² + β·x above 0, α_n·(exp(min(x, ε)) − 1 − x) + β·x elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xielu {
    /// α_p.
    pub alpha_p: f32,
    /// α_n.
    pub alpha_n: f32,
    /// β.
    pub beta: f32,
    /// ε.
    pub eps: f32,
}

impl Xielu {
    /// Of the numbers as they are learned: α_p is the softplus of the first, α_n is β and the softplus of the second.
    #[must_use]
    pub fn of(learned: [f32; 2], beta: f32, eps: f32) -> Self {
        let softplus = |x: f32| {
            let x = f64::from(x);
            x.max(0.0) + (-x.abs()).exp().ln_1p()
        };
        Self {
            alpha_p: softplus(learned[0]) as f32,
            alpha_n: (f64::from(beta) + softplus(learned[1])) as f32,
            beta,
            eps,
        }
    }

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        let low = if x < self.eps { x } else { self.eps };
        let above = self.alpha_p * x * x;
        let below = (excess(low) + (low - x)) * self.alpha_n;
        (if x > 0.0 { above } else { below }) + self.beta * x
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let grows = if x < self.eps { exp(x) } else { 0.0 };
        let above = 2.0 * self.alpha_p * x;
        let below = (grows - 1.0) * self.alpha_n;
        (if x > 0.0 { above } else { below }) + self.beta
    }
}

/// eˣ − 1 − x for x ≤ 0: its series near 0, where the difference would cancel.
#[inline(always)]
fn excess(x: f32) -> f32 {
    let p = 2.755_732e-6f32; // 1/9!
    let p = p * x + 2.480_158_7e-5;
    let p = p * x + 1.984_127e-4;
    let p = p * x + 1.388_888_9e-3;
    let p = p * x + 8.333_333e-3;
    let p = p * x + 4.166_666_8e-2;
    let p = p * x + 1.666_666_7e-1;
    let p = p * x + 0.5;
    let near = p * x * x;
    let far = exp(x) - 1.0 - x;
    if x > -0.75 { near } else { far }
}

/// Values handed to a thread at once.
pub(crate) const CHUNK: usize = 1 << 14;

/// An activation of the form x·σ(z(x)); GELU's is one because ½(1 + tanh u) = σ(2u).
pub(crate) trait Sigmoid {
    fn z(x: f32) -> f32;
    fn slope(x: f32) -> f32;
}

pub(crate) struct Silu;
impl Sigmoid for Silu {
    #[inline(always)]
    fn z(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn slope(_: f32) -> f32 {
        1.0
    }
}

/// 2·√(2/π)
const SCALE: f32 = 1.595_769_2;
const CUBIC: f32 = 0.044_715;

pub(crate) struct GeluTanh;
impl Sigmoid for GeluTanh {
    #[inline(always)]
    fn z(x: f32) -> f32 {
        SCALE * (x + CUBIC * x * x * x)
    }
    #[inline(always)]
    fn slope(x: f32) -> f32 {
        SCALE * (1.0 + 3.0 * CUBIC * x * x)
    }
}

/// out = f(x), element by element.
pub fn forward(plain: Plain, x: &[f32], out: &mut [f32]) {
    let parts = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    parts.for_each(|(out, x)| forward_part(plain, x, out));
}

/// Replaces x by its gradient: d·f′(x).
pub fn backward(plain: Plain, d: &[f32], x: &mut [f32]) {
    let parts = x.par_chunks_mut(CHUNK).zip(d.par_chunks(CHUNK));
    parts.for_each(|(x, d)| backward_part(plain, d, x));
}

#[inline(always)]
fn forward_with<A: Sigmoid>(x: &[f32], out: &mut [f32]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = x * sigmoid(A::z(x));
    }
}

#[inline(always)]
fn backward_with<A: Sigmoid>(d: &[f32], x: &mut [f32]) {
    for (x, &d) in x.iter_mut().zip(d) {
        let s = sigmoid(A::z(*x));
        *x = d * (s + *x * s * (1.0 - s) * A::slope(*x));
    }
}

vectorised! {
    fn forward_part(plain: Plain, x: &[f32], out: &mut [f32]) {
        match plain {
            Plain::Of(Activation::Silu) => forward_with::<Silu>(x, out),
            Plain::Of(Activation::GeluTanh) => forward_with::<GeluTanh>(x, out),
            Plain::Xielu(xielu) => {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = xielu.value(x);
                }
            }
        }
    }
}

vectorised! {
    fn backward_part(plain: Plain, d: &[f32], x: &mut [f32]) {
        match plain {
            Plain::Of(Activation::Silu) => backward_with::<Silu>(d, x),
            Plain::Of(Activation::GeluTanh) => backward_with::<GeluTanh>(d, x),
            Plain::Xielu(xielu) => {
                for (x, &d) in x.iter_mut().zip(d) {
                    *x = d * xielu.slope(*x);
                }
            }
        }
    }
}

//! Gated linear units (Shazeer 2020): SwiGLU, silu(gate) ∘ up, GeGLU, gelu(gate) ∘ up, and gpt-oss' clamped unit.
pub use crate::activation::Activation;
use crate::activation::{CHUNK, GeluTanh, Sigmoid, Silu};
use crate::dispatch::vectorised;
use crate::vector::sigmoid;
use rayon::prelude::*;

/// out = activation(gate)·up, element by element.
pub fn forward(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let parts = out
        .par_chunks_mut(CHUNK)
        .zip(gate.par_chunks(CHUNK))
        .zip(up.par_chunks(CHUNK));
    parts.for_each(|((out, gate), up)| forward_part(activation, gate, up, out));
}

/// Replaces gate and up by their gradients: with s = σ(z(g)), d_gate = d·up·(s + g·s·(1 − s)·z′(g)), d_up = d·g·s.
pub fn backward(activation: Activation, d: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let parts = gate
        .par_chunks_mut(CHUNK)
        .zip(up.par_chunks_mut(CHUNK))
        .zip(d.par_chunks(CHUNK));
    parts.for_each(|((gate, up), d)| backward_part(activation, d, gate, up));
}

/// gpt-oss' unit (`GptOssExperts._apply_gate` of transformers): (u + 1)·g·σ(α·g), with g the gate, at most the limit, and u
/// up, within it on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamped {
    /// α.
    pub alpha: f32,
    /// The limit.
    pub limit: f32,
}

impl Clamped {
    /// out = (u + 1)·g·σ(α·g), element by element.
    pub fn forward(self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        let parts = out
            .par_chunks_mut(CHUNK)
            .zip(gate.par_chunks(CHUNK))
            .zip(up.par_chunks(CHUNK));
        parts.for_each(|((out, gate), up)| clamped_forward(self, gate, up, out));
    }

    /// Replaces gate and up by their gradients, which are 0 beyond the limit.
    pub fn backward(self, d: &[f32], gate: &mut [f32], up: &mut [f32]) {
        let parts = gate
            .par_chunks_mut(CHUNK)
            .zip(up.par_chunks_mut(CHUNK))
            .zip(d.par_chunks(CHUNK));
        parts.for_each(|((gate, up), d)| clamped_backward(self, d, gate, up));
    }

    #[inline(always)]
    fn below(self, x: f32) -> f32 {
        if x > self.limit { self.limit } else { x }
    }

    #[inline(always)]
    fn within(self, x: f32) -> f32 {
        let x = self.below(x);
        if x < -self.limit { -self.limit } else { x }
    }
}

vectorised! {
    fn clamped_forward(unit: Clamped, gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            let g = unit.below(g);
            *o = (unit.within(u) + 1.0) * (g * sigmoid(unit.alpha * g));
        }
    }
}

vectorised! {
    fn clamped_backward(unit: Clamped, d: &[f32], gate: &mut [f32], up: &mut [f32]) {
        for ((gate, up), &d) in gate.iter_mut().zip(up).zip(d) {
            let (g, u) = (unit.below(*gate), unit.within(*up));
            let s = sigmoid(unit.alpha * g);
            let d_gate = d * (u + 1.0) * (s + unit.alpha * g * s * (1.0 - s));
            let d_up = d * (g * s);
            *gate = if *gate > unit.limit { 0.0 } else { d_gate };
            *up = if up.abs() > unit.limit { 0.0 } else { d_up };
        }
    }
}

#[inline(always)]
fn forward_with<A: Sigmoid>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
        *o = g * sigmoid(A::z(g)) * u;
    }
}

#[inline(always)]
fn backward_with<A: Sigmoid>(d: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((g, u), &d) in gate.iter_mut().zip(up).zip(d) {
        let s = sigmoid(A::z(*g));
        let activated = *g * s;
        let d_gate = d * *u * (s + activated * (1.0 - s) * A::slope(*g));
        *u = d * activated;
        *g = d_gate;
    }
}

vectorised! {
    fn forward_part(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
        match activation {
            Activation::Silu => forward_with::<Silu>(gate, up, out),
            Activation::GeluTanh => forward_with::<GeluTanh>(gate, up, out),
        }
    }
}

vectorised! {
    fn backward_part(activation: Activation, d: &[f32], gate: &mut [f32], up: &mut [f32]) {
        match activation {
            Activation::Silu => backward_with::<Silu>(d, gate, up),
            Activation::GeluTanh => backward_with::<GeluTanh>(d, gate, up),
        }
    }
}

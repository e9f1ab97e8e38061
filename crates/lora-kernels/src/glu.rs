//! Gated linear units (Shazeer 2020): SwiGLU, silu(gate) ∘ up, and GeGLU, gelu(gate) ∘ up.
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

//! SwiGLU (Shazeer 2020): silu(gate) ∘ up.
use crate::vector::sigmoid;
use rayon::prelude::*;

/// Values handed to a thread at once.
const CHUNK: usize = 1 << 14;

/// out = gate·σ(gate)·up, element by element.
pub fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK)).zip(up.par_chunks(CHUNK)).for_each(|((out, gate), up)| {
        for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            *o = g * sigmoid(g) * u;
        }
    });
}

/// Replaces gate and up by their gradients: d_gate = d·up·σ(g)(1 + g(1 − σ(g))), d_up = d·g·σ(g).
pub fn backward(d: &[f32], gate: &mut [f32], up: &mut [f32]) {
    gate.par_chunks_mut(CHUNK).zip(up.par_chunks_mut(CHUNK)).zip(d.par_chunks(CHUNK)).for_each(|((gate, up), d)| {
        for ((g, u), &d) in gate.iter_mut().zip(up).zip(d) {
            let s = sigmoid(*g);
            let silu = *g * s;
            let d_gate = d * *u * (s + silu * (1.0 - s));
            *u = d * silu;
            *g = d_gate;
        }
    });
}

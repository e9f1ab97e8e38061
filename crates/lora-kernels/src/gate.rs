//! A gate on an output: y = x∘σ(g), value by value.
use crate::activation::CHUNK;
use crate::dispatch::vectorised;
use crate::vector::sigmoid;
use rayon::prelude::*;

/// y = x·σ(g).
pub fn forward(x: &[f32], gate: &[f32], y: &mut [f32]) {
    let parts = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    parts
        .zip(gate.par_chunks(CHUNK))
        .for_each(|((y, x), gate)| forward_part(x, gate, y));
}

/// dy becomes the gradient of x, dy·σ(g); that of g, dy·x·σ(g)·(1 − σ(g)), goes to `d_gate`.
pub fn backward(x: &[f32], gate: &[f32], dy: &mut [f32], d_gate: &mut [f32]) {
    let parts = dy.par_chunks_mut(CHUNK).zip(d_gate.par_chunks_mut(CHUNK));
    parts
        .zip(x.par_chunks(CHUNK).zip(gate.par_chunks(CHUNK)))
        .for_each(|((dy, d_gate), (x, gate))| backward_part(x, gate, dy, d_gate));
}

vectorised! {
    fn forward_part(x: &[f32], gate: &[f32], y: &mut [f32]) {
        for ((y, &x), &g) in y.iter_mut().zip(x).zip(gate) {
            *y = x * sigmoid(g);
        }
    }
}

vectorised! {
    fn backward_part(x: &[f32], gate: &[f32], dy: &mut [f32], d_gate: &mut [f32]) {
        for (((dy, d_gate), &x), &g) in dy.iter_mut().zip(d_gate).zip(x).zip(gate) {
            let s = sigmoid(g);
            *d_gate = *dy * x * s * (1.0 - s);
            *dy *= s;
        }
    }
}

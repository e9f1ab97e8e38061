//! One projection with its adapter: y = x·Wᵀ + bias + s·(dropout(x)·Aᵀ)·Bᵀ, forward and backward.
use super::binding::Binding;
use super::buffers::{Buffer, ProjectScratch};
use super::weights::Linear;
use crate::spec::Projection;
use lora_kernels::linear;
use lora_kernels::rng::Mask;
use rayon::prelude::*;

/// Which projection of which layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) layer: usize,
    pub(super) projection: Projection,
}

fn drop_rows(mask: Mask, x: &[f32], width: usize, out: &mut [f32]) {
    out.par_chunks_mut(width)
        .zip(x.par_chunks(width))
        .enumerate()
        .for_each(|(t, (out, x))| mask.apply((t * width) as u64, x, out));
}

/// y (T, out) = projection of x (T, in), or y += with `accumulate`; `u` keeps x·Aᵀ for the backward pass.
#[allow(clippy::too_many_arguments)]
pub(super) fn forward(
    place: Place,
    linear: &Linear<'_>,
    binding: &Binding<'_>,
    x: &[f32],
    tokens: usize,
    y: &mut [f32],
    accumulate: bool,
    u: &mut Buffer,
    scratch: &mut ProjectScratch,
) {
    linear::forward(&linear.weight, x, tokens, y, accumulate, &mut scratch.panel);
    if let Some(bias) = &linear.bias {
        linear::add_bias(bias, y);
    }
    let Some(lora) = binding.lora(place.layer, place.projection) else { return };
    let u = u.get(tokens * lora.rank);
    match binding.mask(place.layer, place.projection) {
        None => lora.forward(x, tokens, u, y),
        Some(mask) => {
            let dropped = scratch.dropped.get(x.len());
            drop_rows(mask, x, x.len() / tokens.max(1), dropped);
            lora.forward(dropped, tokens, u, y);
        }
    }
}

/// dx (T, in) = gradient through the projection of dy (T, out), or dx += with `accumulate`; adds to the gradients of A
/// and B. `x` and `u` are those of the forward pass.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    place: Place,
    linear: &Linear<'_>,
    binding: &Binding<'_>,
    x: &[f32],
    u: &Buffer,
    dy: &[f32],
    tokens: usize,
    dx: &mut [f32],
    accumulate: bool,
    gradients: &mut [f32],
    scratch: &mut ProjectScratch,
) {
    linear::backward(&linear.weight, dy, tokens, dx, accumulate, &mut scratch.panel);
    let Some(lora) = binding.lora(place.layer, place.projection) else { return };
    let Some((da, db)) = binding.module(place.layer, place.projection).and_then(|m| binding.gradients(m, gradients))
    else {
        return;
    };
    let (u, d_u) = (u.read(tokens * lora.rank), scratch.d_u.get(tokens * lora.rank));
    match binding.mask(place.layer, place.projection) {
        None => {
            lora.backward(x, u, dy, tokens, d_u, da, db);
            lora.backward_input(d_u, tokens, dx, true);
        }
        Some(mask) => {
            let (dropped, d_dropped) = (scratch.dropped.get(x.len()), scratch.d_dropped.get(x.len()));
            drop_rows(mask, x, x.len() / tokens.max(1), dropped);
            lora.backward(dropped, u, dy, tokens, d_u, da, db);
            lora.backward_input(d_u, tokens, d_dropped, false);
            drop_rows(mask, d_dropped, x.len() / tokens.max(1), dropped);
            lora_kernels::vector::add(dx, dropped);
        }
    }
}

//! The inputs of each layer (Gemma 3n's and 4's per-layer embeddings): before the first layer those of all layers are made of
//! the embedding, e_l = (norm(W·x/√H)_l + √P·E[id]_l)/√2, and after its MLP each layer adds norm(V·(activation(G·x)∘e_l)) to the
//! hidden state.
use super::buffers::{Saved, copy};
use super::norms::NormLayer;
use super::pass::{LayerPass, add, scale};
use super::project::Back;
use super::rows;
use super::scratch::{PerLayerScratch, Scratch};
use super::weights::Activated;
use crate::spec::Projection::{PerLayerGate, PerLayerModel, PerLayerOut};
use lora_checkpoint::Norm;
use lora_kernels::matrix::Place;
use lora_kernels::profile::Part;
use lora_kernels::{embedding, glu};
use rayon::prelude::*;
use std::f32::consts::FRAC_1_SQRT_2;

impl LayerPass<'_, '_> {
    /// P, if layers have inputs.
    fn own_width(self) -> Option<usize> {
        self.pass.config.per_layer().map(|own| own.width)
    }

    fn glu(self) -> glu::Activation {
        match self.layer.activated {
            Activated::Gated(activation) => activation,
            Activated::Plain(_) => unreachable!("a family with inputs of layers has a gated MLP"),
        }
    }
}

/// The inputs of all layers, of the embedding x (T, H); in the first layer alone.
pub(super) fn prepare(at: LayerPass<'_, '_>, x: &[f32], saved: &mut Saved, scratch: &mut Scratch) {
    let (0, Some(width)) = (at.index, at.own_width()) else {
        return;
    };
    let (Some(norm), Some(table)) = (&at.layer.per_layer_input_norm, &at.layer.per_layer_table)
    else {
        return;
    };
    let all = at.out_features(PerLayerModel);
    let size = at.rows * all;
    let own = &mut scratch.per_layer;
    let raw = own.raw.get(size);
    let to = Place::new(raw, at.rows, all);
    at.forward(PerLayerModel, x, to, &mut saved.u, &mut scratch.project);
    scale(raw, projection_scale(at));
    let beside = own.beside.get(size);
    at.pass.norm(raw, norm, beside, own.rstd.get(size / width));
    let looked_up = own.table.get(size);
    at.pass.profile.time(Part::Embedding, 0, || {
        let root = (width as f32).sqrt();
        embedding::forward(table, &at.pass.batch.ids, root, looked_up);
        add(beside, looked_up);
        scale(beside, FRAC_1_SQRT_2);
        by_layer(own.inputs.get(size), (at.rows, width), |to, layer, row| {
            to.copy_from_slice(&beside[row * all + layer * width..][..width]);
        });
    });
}

/// 1/√H.
fn projection_scale(at: LayerPass<'_, '_>) -> f32 {
    1.0 / (at.pass.config.hidden_size as f32).sqrt()
}

/// Writes each vector of (L, T, P), by its layer and row.
fn by_layer(
    all: &mut [f32],
    (rows, width): (usize, usize),
    write: impl Fn(&mut [f32], usize, usize) + Sync,
) {
    let vectors = all.par_chunks_exact_mut(width).enumerate();
    vectors.for_each(|(index, to)| write(to, index / rows, index % rows));
}

/// The layer's inputs, of the `wanted` rows if only some are, in `own.own`.
fn take(at: LayerPass<'_, '_>, wanted: Option<&[usize]>, own: &mut PerLayerScratch, width: usize) {
    let tokens = at.pass.tokens();
    let from = at.index * tokens * width;
    let all = own.inputs.read(from + tokens * width);
    let to = own.own.get(tokens * width);
    copy(&all[from..], to);
    if let Some(wanted) = wanted {
        rows::keep(wanted, to, tokens);
    }
}

/// Adds what the layer makes of its input to x (T, H), of the `wanted` rows if only some are, and multiplies the sum by the
/// layer's number.
pub(super) fn add_input(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) {
    if let (Some(width), Some(norm)) = (at.own_width(), &at.layer.per_layer_output_norm) {
        own_output(at, x, saved, (wanted, width, norm), scratch);
    }
    if let Some(factor) = at.layer.output_scale {
        scale(x, factor);
    }
}

fn own_output(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    (wanted, width, norm): (Option<&[usize]>, usize, &NormLayer),
    scratch: &mut Scratch,
) {
    saved.last.set(x);
    let size = at.rows * width;
    let gate = saved.layer_gate.get(size);
    let to = Place::new(gate, at.rows, width);
    at.forward(PerLayerGate, x, to, &mut saved.u, &mut scratch.project);
    take(at, wanted, &mut scratch.per_layer, width);
    let input = scratch.per_layer.own.read(size);
    let activated = scratch.activated.get(size);
    at.pass.profile.time(Part::Activation, 0, || {
        glu::forward(at.glu(), gate, input, activated);
    });
    let output = saved.layer_output.get(x.len());
    let to = Place::new(output, at.rows, at.out_features(PerLayerOut));
    at.forward(
        PerLayerOut,
        activated,
        to,
        &mut saved.u,
        &mut scratch.project,
    );
    let n = scratch.normed.get(x.len());
    let rstd = saved.layer_output_rstd.get(at.rows);
    at.pass
        .norm(saved.layer_output.read(x.len()), norm, n, rstd);
    add(x, n);
}

/// dx (T, H), the gradient of the layer's output, becomes that of the hidden state after its MLP. `saved.layer_gate` is
/// overwritten.
pub(super) fn backward(
    at: LayerPass<'_, '_>,
    dx: &mut [f32],
    saved: &mut Saved,
    wanted: Option<&[usize]>,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    if let Some(factor) = at.layer.output_scale {
        scale(dx, factor);
    }
    let (Some(width), Some(norm)) = (at.own_width(), &at.layer.per_layer_output_norm) else {
        return;
    };
    output_norm_backward(at, (norm, dx), saved, gradients, scratch);
    let size = at.rows * width;
    take(at, wanted, &mut scratch.per_layer, width);
    let gate = saved.layer_gate.get(size);
    let input = &mut scratch.per_layer.own.get(at.pass.tokens() * width)[..size];
    let activated = scratch.activated.get(size);
    let profile = &at.pass.profile;
    profile.time(Part::Activation, 0, || {
        glu::forward(at.glu(), gate, input, activated);
    });
    let d = scratch.d_activated.get(size);
    let to = Place::new(d, at.rows, width);
    let dy = scratch.d_output.read(dx.len());
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    at.backward(PerLayerOut, activated, dy, to, &saved.u, back);
    profile.time(Part::Activation, 0, || {
        glu::backward(at.glu(), d, gate, input);
    });
    keep_gradient(at, wanted, &mut scratch.per_layer, width);
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    let last = saved.last.read(dx.len());
    let dy = saved.layer_gate.read(size);
    let to = Place::new(dx, at.rows, at.in_features(PerLayerGate)).adding();
    at.backward(PerLayerGate, last, dy, to, &saved.u, back);
}

/// The gradient before the norm of what the layer adds, in `scratch.d_output`.
fn output_norm_backward(
    at: LayerPass<'_, '_>,
    (norm, dx): (&NormLayer, &[f32]),
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let output = saved.layer_output.read(dx.len());
    let rstd = saved.layer_output_rstd.read(at.rows);
    let dn = scratch.d_normed.get(dx.len());
    let dy = scratch.d_output.get(dx.len());
    dn.copy_from_slice(dx);
    let place = (Some(at.index), Norm::PerLayerOutput);
    at.pass
        .binding
        .norm_gradient((place, norm), output, rstd, dn, gradients);
    dy.fill(0.0);
    at.pass.norm_backward(output, norm, rstd, dn, dy);
}

/// The gradient of the layer's input, from `own.own` to its place among all.
fn keep_gradient(
    at: LayerPass<'_, '_>,
    wanted: Option<&[usize]>,
    own: &mut PerLayerScratch,
    width: usize,
) {
    let tokens = at.pass.tokens();
    let d = own.own.get(tokens * width);
    if let Some(wanted) = wanted {
        rows::spread(wanted, d, tokens);
    }
    let layers = at.pass.config.num_hidden_layers;
    let all = own.d_inputs.get(layers * tokens * width);
    copy(d, &mut all[at.index * tokens * width..][..tokens * width]);
}

/// Adds to dx (T, H), the gradient of the embedding, what comes back through the inputs of all layers; in the first layer
/// alone.
pub(super) fn prepare_backward(
    at: LayerPass<'_, '_>,
    dx: &mut [f32],
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let (0, Some(width)) = (at.index, at.own_width()) else {
        return;
    };
    let Some(norm) = &at.layer.per_layer_input_norm else {
        return;
    };
    let all = at.out_features(PerLayerModel);
    let size = at.rows * all;
    let own = &mut scratch.per_layer;
    let d = own.beside.get(size);
    let by_layer = own.d_inputs.read(size);
    let rows = d.par_chunks_exact_mut(all).enumerate();
    rows.for_each(|(row, to)| {
        for (layer, to) in to.chunks_exact_mut(width).enumerate() {
            to.copy_from_slice(&by_layer[(layer * at.rows + row) * width..][..width]);
        }
    });
    scale(d, FRAC_1_SQRT_2);
    let (raw, rstd) = (own.raw.read(size), own.rstd.read(size / width));
    let place = (Some(at.index), Norm::PerLayerInput);
    at.pass
        .binding
        .norm_gradient((place, norm), raw, rstd, d, gradients);
    let d_raw = own.table.get(size);
    d_raw.fill(0.0);
    at.pass.norm_backward(raw, norm, rstd, d, d_raw);
    scale(d_raw, projection_scale(at));
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    let x = saved.x.read(dx.len());
    let to = Place::new(dx, at.rows, at.in_features(PerLayerModel)).adding();
    at.backward(PerLayerModel, x, d_raw, to, &saved.u, back);
}

//! One decoder layer, forward and backward. Reads top to bottom as the model does; what a family does not have is skipped.
//! Attention is in `attend`, MLP and experts are in `mlp`, the places where x is added to in `output`.
use super::attend::{self, attend, attend_backward};
use super::buffers::Saved;
use super::cache::LayerCache;
use super::delta;
use super::mamba;
use super::mlp;
use super::output::{add_output, output_backward};
use super::pass::{LayerPass, add, output_of};
use super::per_layer;
use super::project::Back;
use super::rows;
use super::scratch::Scratch;
use super::short_conv;
use crate::spec::Projection::{
    self, ConvIn, DeltaA, DeltaB, DeltaQkv, DeltaZ, K, MambaDt, MambaXbc, MambaZ, O, OutputGate, Q,
    V,
};
use lora_checkpoint::{Mixer, Norm};
use lora_kernels::matrix::{Place, Write};

/// What a forward pass does beside the layer itself.
#[derive(Debug, Default)]
pub(super) struct Reads<'r> {
    /// Keys and values are appended to it, and attention reads from it.
    pub(super) cache: Option<&'r mut LayerCache>,
    /// Rows whose output is asked for; None for all. They become the first of x, and what lies between attention and
    /// output is computed for them alone.
    pub(super) wanted: Option<&'r [usize]>,
}

/// x (T, H) becomes the layer's output; `saved` keeps what the backward pass needs.
pub(super) fn forward(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    reads: Reads<'_>,
    scratch: &mut Scratch,
) {
    let wanted = reads.wanted;
    let rows = activations(at, x, saved, reads, scratch);
    let at = at.of_rows(rows);
    let x = &mut x[..at.size(O)];
    mlp::add_output(at, x, saved, scratch); // -> += (T, H)
    per_layer::add_input(at, x, saved, wanted, scratch);
}

/// A forward pass again, from the layer's input `x`, for its backward pass: `saved` holds what it held, and what Down's
/// factor A made of its input must be there still. The output is not computed unless a norm of it is needed.
pub(super) fn recompute(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    activations(at, x, saved, Reads::default(), scratch);
    if at.layer.mlp_output_norm.is_some() || at.layer.per_layer_output_norm.is_some() {
        mlp::add_output(at, x, saved, scratch);
        per_layer::add_input(at, x, saved, None, scratch);
    }
}

/// Everything but the output of the MLP and what that is made of; x (T, H) becomes the hidden state between attention and MLP, of the wanted rows if
/// only some are. Returns how many rows that are.
fn activations(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    mut reads: Reads<'_>,
    scratch: &mut Scratch,
) -> usize {
    let (pass, layer, t) = (at.pass, at.layer, at.rows);

    saved.x.set(x);
    per_layer::prepare(at, x, saved, scratch); // (T, H) -> (L, T, P)
    let n = scratch.normed.get(x.len());
    pass.input(x, layer.input_norm.as_ref(), n, saved.input_rstd.get(t)); // (T, H)
    for mixer in at.spec().mixers() {
        let cache = reads.cache.as_deref_mut();
        match mixer {
            Mixer::Attention => attend(at, saved, cache, scratch), // (T, H) -> (T, heads·d)
            Mixer::Delta => delta::mix(at, saved, cache, scratch), // (T, H) -> (T, values)
            Mixer::ShortConv => short_conv::mix(at, saved, cache, scratch), // (T, H) -> (T, H)
            Mixer::Mamba => mamba::mix(at, saved, cache, scratch), // (T, H) -> (T, heads·width)
        }
    }
    if let Some(wanted) = reads.wanted {
        rows::keep(wanted, x, t);
        for mixer in at.spec().mixers() {
            let mixed = at.input_size(output_of(mixer));
            match at.is_gated(mixer) {
                true => rows::keep(wanted, scratch.gated.get(mixed), t),
                false => rows::keep(wanted, saved.o.get(mixed), t),
            }
        }
        if at.is_parallel() {
            rows::keep(wanted, scratch.normed.get(at.size(O)), t);
        }
    }
    let at = at.of_rows(reads.wanted.map_or(t, <[usize]>::len));
    let x = &mut x[..at.size(O)];
    for mixer in at.spec().mixers() {
        add_output(at, output_of(mixer), x, saved, scratch); // (T, heads·d) -> += (T, H)
    }

    if !at.is_parallel() {
        saved.middle.set(x);
        let n = scratch.normed.get(x.len());
        let rstd = saved.middle_rstd.get(at.rows);
        pass.input(x, layer.mlp_norm.as_ref(), n, rstd);
    }
    mlp::read_input(at, saved, scratch); // (T, H) -> 1 or 2 × (T, I)
    at.rows
}

/// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's `gradients`. If only some
/// rows of the output were `wanted`, the first of dx are theirs. Gates and ups in `saved` are overwritten.
pub(super) fn backward(
    at: LayerPass<'_, '_>,
    dx: &mut [f32],
    saved: &mut Saved,
    wanted: Option<&[usize]>,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let few = at.of_rows(wanted.map_or(at.rows, <[usize]>::len));
    let few_dx = &mut dx[..few.size(O)];
    per_layer::backward(few, few_dx, saved, wanted, gradients, scratch);
    mlp::backward(few, few_dx, saved, wanted, gradients, scratch);
    for mixer in at.spec().mixers() {
        let (output, mixed) = (output_of(mixer), at.input_size(output_of(mixer)));
        gated_again(at, mixer, saved, wanted, scratch);
        output_backward(few, output, few_dx, saved, gradients, scratch);
        if let Some(wanted) = wanted {
            rows::spread(wanted, scratch.d_o.get(mixed), at.rows);
            if !at.is_gated(mixer) {
                rows::spread(wanted, saved.o.get(mixed), at.rows);
            }
        }
        match mixer {
            Mixer::Attention => attend_backward(at, saved, gradients, scratch),
            Mixer::Delta => delta::mix_backward(at, saved, scratch),
            Mixer::ShortConv => short_conv::mix_backward(at, saved, scratch),
            Mixer::Mamba => mamba::mix_backward(at, saved, scratch),
        }
    }
    if let Some(wanted) = wanted {
        rows::spread(wanted, dx, at.rows);
        if at.is_parallel() {
            rows::spread(wanted, scratch.d_normed.get(at.size(O)), at.rows);
        }
    }
    mixers_backward(at, dx, saved, gradients, scratch);
    per_layer::prepare_backward(at, dx, saved, gradients, scratch);
}

/// Adds to dx (T, H), the gradient of the hidden state between attention and MLP, what comes back through the linear layers that
/// read the layer's input.
fn mixers_backward(
    at: LayerPass<'_, '_>,
    dx: &mut [f32],
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let hidden = at.size(O);
    let x = saved.x.read(hidden);
    let rstd = saved.input_rstd.read(at.rows);
    let n = scratch.normed.get(hidden);
    let dn = scratch.d_normed.get(hidden);
    let norm = at.layer.input_norm.as_ref();
    at.pass.input_again(x, norm, rstd, n);
    let mut outputs: Vec<(Projection, &mut [f32])> = Vec::new();
    if at.spec().has_attention() {
        outputs.extend([
            (Q, scratch.d_q.get(at.size(Q))),
            (K, scratch.d_k.get(at.size(K))),
            (V, scratch.d_v.get(at.size(V))),
        ]);
    }
    match at.spec().mixer {
        Mixer::Attention if at.has_output_gate() => {
            outputs.push((OutputGate, scratch.d_gate.get(at.size(OutputGate))));
        }
        Mixer::Attention => {}
        Mixer::Delta => outputs.extend([
            (DeltaQkv, scratch.d_qkv.get(at.size(DeltaQkv))),
            (DeltaZ, scratch.d_gate.get(at.size(DeltaZ))),
            (DeltaB, scratch.d_b.get(at.size(DeltaB))),
            (DeltaA, scratch.d_a.get(at.size(DeltaA))),
        ]),
        Mixer::ShortConv => outputs.push((ConvIn, scratch.d_qkv.get(at.size(ConvIn)))),
        Mixer::Mamba => outputs.extend([
            (MambaZ, scratch.d_gate.get(at.size(MambaZ))),
            (MambaXbc, scratch.d_qkv.get(at.size(MambaXbc))),
            (MambaDt, scratch.d_a.get(at.size(MambaDt))),
        ]),
    }
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    // What the MLP has left there already.
    let write = match at.is_parallel() {
        true => Write::Add,
        false => Write::Replace,
    };
    let to = Place::new(dn, at.rows, at.out_features(O)).with(write);
    at.fan_in(n, &mut outputs, to, &saved.u, &mut scratch.stacked, back);
    let Some(norm) = norm else {
        return add(dx, dn);
    };
    let place = (Some(at.index), Norm::Input);
    at.pass
        .binding
        .norm_gradient((place, norm), x, rstd, dn, gradients);
    at.pass.norm_backward(x, norm, rstd, dn, dx);
}

/// What a mixer's output projection has read, of the `wanted` rows if only some are, where that is made of more than is kept.
fn gated_again(
    at: LayerPass<'_, '_>,
    mixer: Mixer,
    saved: &Saved,
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) {
    if !at.is_gated(mixer) {
        return;
    }
    match mixer {
        Mixer::Attention => attend::gated_again(at, saved, scratch),
        Mixer::Delta => delta::gated_again(at, saved, scratch),
        Mixer::ShortConv => short_conv::mixed_again(at, saved, scratch),
        Mixer::Mamba => mamba::gated_again(at, saved, scratch),
    }
    if let Some(wanted) = wanted {
        let size = at.input_size(output_of(mixer));
        rows::keep(wanted, scratch.gated.get(size), at.rows);
    }
}

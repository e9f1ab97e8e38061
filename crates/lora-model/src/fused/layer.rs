//! One decoder layer, forward and backward. Reads top to bottom as the model does; what a family does not have is skipped.
//! Attention is in `attend`, the two places where x is added to in `output`.
use super::attend::{self, attend, attend_backward};
use super::buffers::{Saved, Scratch};
use super::cache::LayerCache;
use super::delta;
use super::experts;
use super::mamba;
use super::output::{add_output, output_backward};
use super::pass::{LayerPass, add};
use super::per_layer;
use super::project::Back;
use super::rows;
use super::short_conv;
use super::weights::Activated;
use crate::spec::Projection::{
    ConvIn, DeltaA, DeltaB, DeltaQkv, DeltaZ, Down, Gate, K, MambaDt, MambaXbc, MambaZ, O,
    OutputGate, Q, Up, V,
};
use lora_checkpoint::{Mixer, Norm};
use lora_kernels::matrix::{Place, Write};
use lora_kernels::profile::Part;
use lora_kernels::{activation, glu};

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
    match &at.layer.mixture {
        Some(mixture) => experts::add_output(at, mixture, x, scratch), // (T·k, I) -> += (T, H)
        None => add_output(at, Down, x, saved, scratch),               // (T, I) -> += (T, H)
    }
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
        add_output(at, Down, x, saved, scratch);
        per_layer::add_input(at, x, saved, None, scratch);
    }
}

/// Everything but the output of the MLP; x (T, H) becomes the hidden state between attention and MLP, of the wanted rows if
/// only some are. Returns how many rows that are.
fn activations(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    reads: Reads<'_>,
    scratch: &mut Scratch,
) -> usize {
    let (pass, layer, t) = (at.pass, at.layer, at.rows);

    saved.x.set(x);
    per_layer::prepare(at, x, saved, scratch); // (T, H) -> (L, T, P)
    let n = scratch.normed.get(x.len());
    pass.input(x, layer.input_norm.as_ref(), n, saved.input_rstd.get(t)); // (T, H)
    match at.mixer() {
        Mixer::Attention => attend(at, saved, reads.cache, scratch), // (T, H) -> (T, heads·d)
        Mixer::Delta => delta::mix(at, saved, reads.cache, scratch), // (T, H) -> (T, values)
        Mixer::ShortConv => short_conv::mix(at, saved, reads.cache, scratch), // (T, H) -> (T, H)
        Mixer::Mamba => mamba::mix(at, saved, reads.cache, scratch), // (T, H) -> (T, heads·width)
    }
    let output = at.output();
    if let Some(wanted) = reads.wanted {
        rows::keep(wanted, x, t);
        let mixed = at.input_size(output);
        match at.has_output_gate() {
            true => rows::keep(wanted, scratch.gated.get(mixed), t),
            false => rows::keep(wanted, saved.o.get(mixed), t),
        }
        if at.is_parallel() {
            rows::keep(wanted, scratch.normed.get(at.size(O)), t);
        }
    }
    let at = at.of_rows(reads.wanted.map_or(t, <[usize]>::len));
    let x = &mut x[..at.size(O)];
    add_output(at, output, x, saved, scratch); // (T, heads·d) -> += (T, H)

    if !at.is_parallel() {
        saved.middle.set(x);
        let n = scratch.normed.get(x.len());
        let rstd = saved.middle_rstd.get(at.rows);
        pass.input(x, layer.mlp_norm.as_ref(), n, rstd);
    }
    if let Some(mixture) = &at.layer.mixture {
        experts::activations(at, mixture, saved, scratch);
        return at.rows;
    }
    let gated = at.gate_size();
    let Saved { gate, up, u, .. } = saved;
    let both = &mut [(Up, up.get(at.size(Up))), (Gate, gate.get(gated))];
    let outputs = match gated {
        0 => &mut both[..1],
        _ => &mut both[..],
    };
    let normed = scratch.normed.read(x.len());
    at.fan_out(
        normed,
        outputs,
        u,
        &mut scratch.stacked,
        &mut scratch.project,
    ); // (T, H) -> 1 or 2 × (T, I)
    activate(at, saved, scratch);
    at.rows
}

/// What Down reads, (T, I), in `scratch.activated`.
fn activate(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let up = saved.up.read(at.size(Up));
    let gate = saved.gate.read(at.gate_size());
    let out = scratch.activated.get(up.len());
    at.pass
        .profile
        .time(Part::Activation, 0, || match at.layer.activated {
            Activated::Gated(activation) => glu::forward(activation, gate, up, out),
            Activated::Plain(plain) => activation::forward(plain, up, out),
        });
}

/// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's `gradients`. If only some
/// rows of the output were `wanted`, the first of dx are theirs. `saved.gate` and `saved.up` are overwritten.
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
    mlp_backward(few, few_dx, saved, wanted, gradients, scratch);
    let (output, mixed) = (at.output(), at.input_size(at.output()));
    gated_again(at, saved, wanted, scratch);
    output_backward(few, output, few_dx, saved, gradients, scratch);
    if let Some(wanted) = wanted {
        rows::spread(wanted, dx, at.rows);
        rows::spread(wanted, scratch.d_o.get(mixed), at.rows);
        if !at.has_output_gate() {
            rows::spread(wanted, saved.o.get(mixed), at.rows);
        }
        if at.is_parallel() {
            rows::spread(wanted, scratch.d_normed.get(at.size(O)), at.rows);
        }
    }

    match at.mixer() {
        Mixer::Attention => attend_backward(at, saved, gradients, scratch),
        Mixer::Delta => delta::mix_backward(at, saved, scratch),
        Mixer::ShortConv => short_conv::mix_backward(at, saved, scratch),
        Mixer::Mamba => mamba::mix_backward(at, saved, scratch),
    }
    mixer_backward(at, dx, saved, gradients, scratch);
    per_layer::prepare_backward(at, dx, saved, gradients, scratch);
}

/// Adds to dx (T, H), the gradient of the hidden state between attention and MLP, what comes back through the linear layers that
/// read the layer's input.
fn mixer_backward(
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
    let four;
    let outputs = match at.mixer() {
        Mixer::Attention => {
            four = [
                (Q, scratch.d_q.read(at.size(Q))),
                (K, scratch.d_k.read(at.size(K))),
                (V, scratch.d_v.read(at.size(V))),
                (OutputGate, scratch.d_gate.used()),
            ];
            match at.has_output_gate() {
                true => &four[..],
                false => &four[..3],
            }
        }
        Mixer::Delta => {
            four = [
                (DeltaQkv, scratch.d_qkv.read(at.size(DeltaQkv))),
                (DeltaZ, scratch.d_gate.read(at.size(DeltaZ))),
                (DeltaB, scratch.d_b.read(at.size(DeltaB))),
                (DeltaA, scratch.d_a.read(at.size(DeltaA))),
            ];
            &four[..]
        }
        Mixer::ShortConv => &[(ConvIn, scratch.d_qkv.read(at.size(ConvIn)))][..],
        Mixer::Mamba => &[
            (MambaZ, scratch.d_gate.read(at.size(MambaZ))),
            (MambaXbc, scratch.d_qkv.read(at.size(MambaXbc))),
            (MambaDt, scratch.d_a.read(at.size(MambaDt))),
        ][..],
    };
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
    at.fan_in(n, outputs, to, &saved.u, &mut scratch.stacked, back);
    let Some(norm) = norm else {
        return add(dx, dn);
    };
    let place = (Some(at.index), Norm::Input);
    at.pass
        .binding
        .norm_gradient((place, norm), x, rstd, dn, gradients);
    at.pass.norm_backward(x, norm, rstd, dn, dx);
}

/// What the output projection has read, of the `wanted` rows if only some are, where that is made of more than is kept.
fn gated_again(
    at: LayerPass<'_, '_>,
    saved: &Saved,
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) {
    if !at.has_output_gate() {
        return;
    }
    match at.mixer() {
        Mixer::Attention => attend::gated_again(at, saved, scratch),
        Mixer::Delta => delta::gated_again(at, saved, scratch),
        Mixer::ShortConv => short_conv::mixed_again(at, saved, scratch),
        Mixer::Mamba => mamba::gated_again(at, saved, scratch),
    }
    if let Some(wanted) = wanted {
        let size = at.input_size(at.output());
        rows::keep(wanted, scratch.gated.get(size), at.rows);
    }
}

/// dx (T, H), the gradient of the layer's output, becomes that of the hidden state between attention and MLP. Where the MLP
/// reads what attention reads dx stays, and `scratch.d_normed` gets the gradient of that.
fn mlp_backward(
    at: LayerPass<'_, '_>,
    dx: &mut [f32],
    saved: &mut Saved,
    wanted: Option<&[usize]>,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    match &at.layer.mixture {
        Some(mixture) => {
            if experts::reads_input(at) {
                mlp_input_again(at, saved, wanted, scratch);
            }
            experts::backward(at, mixture, dx, saved, gradients, scratch);
        }
        None => plain_backward(at, dx, saved, wanted, gradients, scratch),
    }
    if at.is_parallel() {
        return;
    }
    let hidden = at.size(O);
    let dn = scratch.d_normed.get(hidden);
    let Some(norm) = &at.layer.mlp_norm else {
        return add(dx, dn);
    };
    let middle = saved.middle.read(hidden);
    let rstd = saved.middle_rstd.read(at.rows);
    let place = (Some(at.index), Norm::MlpInput);
    at.pass
        .binding
        .norm_gradient((place, norm), middle, rstd, dn, gradients);
    at.pass.norm_backward(middle, norm, rstd, dn, dx);
}

/// The same for an MLP: `scratch.d_normed` gets the gradient of what it reads.
fn plain_backward(
    at: LayerPass<'_, '_>,
    dx: &[f32],
    saved: &mut Saved,
    wanted: Option<&[usize]>,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    activate(at, saved, scratch);
    output_backward(at, Down, dx, saved, gradients, scratch);
    let (wide, gated) = (at.size(Up), at.gate_size());
    let d = scratch.d_activated.read(wide);
    let gate = saved.gate.get(gated);
    let up = saved.up.get(wide);
    at.pass
        .profile
        .time(Part::Activation, 0, || match at.layer.activated {
            Activated::Gated(activation) => glu::backward(activation, d, gate, up),
            Activated::Plain(plain) => activation::backward(plain, d, up),
        });
    mlp_input_again(at, saved, wanted, scratch);
    let hidden = at.size(O);
    let n = scratch.normed.read(hidden);
    let dn = scratch.d_normed.get(hidden);
    let both = [(Up, saved.up.read(wide)), (Gate, saved.gate.read(gated))];
    let outputs = match gated {
        0 => &both[..1],
        _ => &both[..],
    };
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    let to = Place::new(dn, at.rows, at.out_features(O));
    at.fan_in(n, outputs, to, &saved.u, &mut scratch.stacked, back);
}

/// What the MLP has read, in `scratch.normed`.
fn mlp_input_again(
    at: LayerPass<'_, '_>,
    saved: &Saved,
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) {
    if !at.is_parallel() {
        let middle = saved.middle.read(at.size(O));
        let rstd = saved.middle_rstd.read(at.rows);
        let n = scratch.normed.get(middle.len());
        return at
            .pass
            .input_again(middle, at.layer.mlp_norm.as_ref(), rstd, n);
    }
    let all = at.of_rows(at.pass.tokens());
    let x = saved.x.read(all.size(O));
    let rstd = saved.input_rstd.read(all.rows);
    let n = scratch.normed.get(x.len());
    at.pass
        .input_again(x, at.layer.input_norm.as_ref(), rstd, n);
    if let Some(wanted) = wanted {
        rows::keep(wanted, n, all.rows);
    }
}

//! What follows attention in a layer, forward and backward: an MLP, experts in its place (`experts`), or both side by side, whose
//! outputs are both added to the hidden state.
use super::buffers::Saved;
use super::experts;
use super::output::{add_output as add_down, output_backward};
use super::pass::{LayerPass, add};
use super::project::Back;
use super::rows;
use super::scratch::Scratch;
use super::weights::Activated;
use crate::spec::Projection::{Down, Gate, O, Up};
use lora_checkpoint::Norm;
use lora_kernels::matrix::{Place, Write};
use lora_kernels::profile::Part;
use lora_kernels::{activation, glu};

/// From what they read, in `scratch.normed` (T, H), to gates and ups.
pub(super) fn read_input(at: LayerPass<'_, '_>, saved: &mut Saved, scratch: &mut Scratch) {
    if let Some(mixture) = &at.layer.mixture {
        experts::read_input(at, mixture, saved, scratch);
    }
    if !at.has_mlp() {
        return;
    }
    let gated = at.gate_size();
    let Saved { gate, up, u, .. } = saved;
    let both = &mut [(Up, up.get(at.size(Up))), (Gate, gate.get(gated))];
    let outputs = match gated {
        0 => &mut both[..1],
        _ => &mut both[..],
    };
    let normed = scratch.normed.read(at.size(O));
    at.fan_out(
        normed,
        outputs,
        u,
        &mut scratch.stacked,
        &mut scratch.project,
    ); // (T, H) -> 1 or 2 × (T, I)
}

/// x (T, H) += what they give.
pub(super) fn add_output(
    at: LayerPass<'_, '_>,
    x: &mut [f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    if let Some(mixture) = &at.layer.mixture {
        experts::add_output(at, mixture, x, saved, scratch); // (T·k, I) -> += (T, H)
    }
    if at.has_mlp() {
        activate(at, saved, scratch);
        add_down(at, Down, x, saved, scratch); // (T, I) -> += (T, H)
    }
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

/// dx (T, H), the gradient of the layer's output, becomes that of the hidden state between attention and MLP. Where the MLP
/// reads what attention reads dx stays, and `scratch.d_normed` gets the gradient of that.
pub(super) fn backward(
    at: LayerPass<'_, '_>,
    dx: &mut [f32],
    saved: &mut Saved,
    wanted: Option<&[usize]>,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    if at.has_mlp() || experts::reads_input(at) {
        input_again(at, saved, wanted, scratch);
    }
    let mut write = Write::Replace;
    if let Some(mixture) = &at.layer.mixture {
        experts::backward(at, mixture, dx, saved, gradients, scratch);
        write = Write::Add;
    }
    if at.has_mlp() {
        mlp_backward(at, dx, write, saved, gradients, scratch);
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

/// Of the MLP: its gradient of what was read, in `scratch.normed`, goes to `scratch.d_normed`.
fn mlp_backward(
    at: LayerPass<'_, '_>,
    dx: &[f32],
    write: Write,
    saved: &mut Saved,
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
    let hidden = at.size(O);
    let n = scratch.normed.read(hidden);
    let dn = scratch.d_normed.get(hidden);
    let both = &mut [(Up, saved.up.get(wide)), (Gate, saved.gate.get(gated))];
    let outputs = match gated {
        0 => &mut both[..1],
        _ => &mut both[..],
    };
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    let to = Place::new(dn, at.rows, at.out_features(O)).with(write);
    at.fan_in(n, outputs, to, &saved.u, &mut scratch.stacked, back);
}

/// What MLP and experts have read, in `scratch.normed`.
fn input_again(
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

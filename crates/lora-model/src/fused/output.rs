//! The places of a layer where the hidden state is added to: attention's output through O (a rule's through its own, beside it
//! or in its place), the MLP's through Down, each normalised first where the family does so.
use super::buffers::Saved;
use super::pass::{LayerPass, add, scale};
use super::project::Back;
use super::scratch::Scratch;
use crate::spec::Projection::{self, ConvOut, DeltaOut, MambaOut, O};
use lora_checkpoint::Norm;
use lora_kernels::matrix::Place;

/// x (T, H) += the output of attention (O) or of the MLP (Down) through its projection, normalised where the family does so.
pub(super) fn add_output(
    at: LayerPass<'_, '_>,
    projection: Projection,
    x: &mut [f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let size = at.input_size(projection);
    let (input, norm, output, rstd) = match projection {
        O | DeltaOut | ConvOut | MambaOut => (
            match projection == O && !at.has_output_gate() {
                true => saved.o.read(size),
                false => scratch.gated.read(size),
            },
            &at.layer.attention_output_norm,
            &mut saved.attention_output,
            &mut saved.attention_output_rstd,
        ),
        _ => (
            scratch.activated.read(size),
            &at.layer.mlp_output_norm,
            &mut saved.mlp_output,
            &mut saved.mlp_output_rstd,
        ),
    };
    let hidden = at.out_features(projection);
    let project = &mut scratch.project;
    let multiplier = at.output_factor(projection);
    let Some(norm) = norm else {
        if multiplier == 1.0 {
            let to = Place::new(x, at.rows, hidden).adding();
            return at.forward(projection, input, to, &mut saved.u, project);
        }
        let y = scratch.normed.get(x.len());
        let to = Place::new(y, at.rows, hidden);
        at.forward(projection, input, to, &mut saved.u, project);
        scale(y, multiplier);
        return add(x, y);
    };
    let to = Place::new(output.get(x.len()), at.rows, hidden);
    at.forward(projection, input, to, &mut saved.u, project);
    let n = scratch.normed.get(x.len());
    at.pass
        .norm(output.read(x.len()), norm, n, rstd.get(at.rows));
    if multiplier != 1.0 {
        scale(n, multiplier);
    }
    add(x, n);
}

/// The gradient of the input of O (in `scratch.d_o`) or of Down (in `scratch.d_activated`), from that of the hidden state,
/// dx (T, H).
pub(super) fn output_backward(
    at: LayerPass<'_, '_>,
    projection: Projection,
    dx: &[f32],
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let size = at.input_size(projection);
    let (input, d_input, norm, output, rstd, which) = match projection {
        O | DeltaOut | ConvOut | MambaOut => (
            match projection == O && !at.has_output_gate() {
                true => saved.o.read(size),
                false => scratch.gated.read(size),
            },
            scratch.d_o.get(size),
            &at.layer.attention_output_norm,
            &saved.attention_output,
            &saved.attention_output_rstd,
            Norm::AttentionOutput,
        ),
        _ => (
            scratch.activated.read(size),
            scratch.d_activated.get(size),
            &at.layer.mlp_output_norm,
            &saved.mlp_output,
            &saved.mlp_output_rstd,
            Norm::MlpOutput,
        ),
    };
    let to = Place::new(d_input, at.rows, at.in_features(projection));
    let multiplier = at.output_factor(projection);
    let Some(norm) = norm else {
        let back = Back {
            gradients,
            scratch: &mut scratch.project,
        };
        if multiplier == 1.0 {
            return at.backward(projection, input, dx, to, &saved.u, back);
        }
        let dy = scratch.d_output.get(dx.len());
        dy.copy_from_slice(dx);
        scale(dy, multiplier);
        return at.backward(projection, input, dy, to, &saved.u, back);
    };
    let output = output.read(dx.len());
    let rstd = rstd.read(at.rows);
    let dn = scratch.d_normed.get(dx.len());
    let dy = scratch.d_output.get(dx.len());
    dn.copy_from_slice(dx);
    if multiplier != 1.0 {
        scale(dn, multiplier);
    }
    let place = (Some(at.index), which);
    at.pass
        .binding
        .norm_gradient((place, norm), output, rstd, dn, gradients);
    dy.fill(0.0);
    at.pass.norm_backward(output, norm, rstd, dn, dy);
    let back = Back {
        gradients,
        scratch: &mut scratch.project,
    };
    at.backward(projection, input, dy, to, &saved.u, back);
}

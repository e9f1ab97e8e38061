//! A mixture of experts in the place of a layer's MLP or beside it, forward and backward. The weights of experts and router are frozen:
//! gradients pass through what is chosen and through its weights, and to the factors beside them.
use super::buffers::Saved;
use super::expert_factors::{self, Both, Inner};
use super::expert_sites::Way;
use super::mixture::Mixture;
use super::pass::{LayerPass, add, scale};
use super::scratch::{ExpertScratch, Scratch};
use crate::spec::Projection::O;
use lora_kernels::experts::{self, Choice};
use lora_kernels::linear;
use lora_kernels::matrix::{Mat, Place, Write};
use lora_kernels::profile::Part;

/// Floating-point operations of products with so many of an expert's weights, and the router's.
fn operations(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    projections: usize,
    routers: usize,
) -> u64 {
    let weights = projections * mixture.wide(at.rows) + routers * at.rows * mixture.choice.experts;
    2 * (weights * at.out_features(O)) as u64
}

/// Whether the backward pass needs what router and experts read.
pub(super) fn reads_input(at: LayerPass<'_, '_>) -> bool {
    at.pass.binding.mixture(at.index).reads_input()
}

/// From what router and experts read, in `scratch.normed` (T, H), to the choice and the chosen experts' gates and ups.
pub(super) fn read_input(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let (hidden, wide) = (at.size(O), mixture.wide(at.rows));
    let normed = scratch.normed.read(hidden);
    let site = at.pass.binding.mixture(at.index);
    let ExpertScratch {
        rows,
        routing,
        u,
        d_u,
        ..
    } = &mut scratch.experts;
    let workspace = &mut scratch.project.workspace;
    let mut inner = Inner { u, d_u, workspace };
    let Choice { experts, .. } = mixture.choice;
    let probabilities = saved.router.get(at.rows * experts);
    let (gate, up) = (saved.expert_gate.get(wide), saved.expert_up.get(wide));
    let (tokens, chosen) = (at.rows, mixture.choice.chosen);
    let work =
        operations(at, mixture, 2, 1) + site.operations_of_reads(Way::Forward, tokens, chosen);
    at.pass.profile.time(Part::LinearForward, work, || {
        let x = Mat::new(normed, at.rows, at.out_features(O));
        let logits = Place::new(probabilities, at.rows, experts);
        expert_factors::router(&site, mixture, x, logits, &mut inner); // (T, H) -> (T, E)
        if let Some(biases) = &mixture.biases {
            linear::add_bias(&biases.router, probabilities);
        }
        experts::score(probabilities, mixture.choice);
        let how = (mixture.choice, mixture.choice_bias.as_deref());
        let chooser = &at.pass.chooser;
        chooser.choose(at.index, probabilities, how, routing);
        if let Some(balancing) = &at.pass.balancing {
            balancing.count(probabilities, routing, mixture.choice);
        }
        let rows = rows.get(hidden * mixture.choice.chosen);
        experts::copy_rows(normed, routing, rows); // (T, H) -> (T·k, H)
        experts::forward(&mixture.gate, rows, routing, gate, inner.workspace); // -> (T·k, I)
        experts::forward(&mixture.up, rows, routing, up, inner.workspace);
        if let Some(biases) = &mixture.biases {
            experts::add_biases(&biases.gate, routing, gate);
            experts::add_biases(&biases.up, routing, up);
        }
        if let Some(site) = &site.gate_up {
            site.add_to_both(rows, routing, Both { gate, up }, &mut inner);
        }
    });
}

/// activation(gate)∘up, in `scratch.activated`.
fn activate(at: LayerPass<'_, '_>, mixture: &Mixture<'_>, saved: &Saved, scratch: &mut Scratch) {
    let wide = mixture.wide(at.rows);
    let (gate, up) = (saved.expert_gate.read(wide), saved.expert_up.read(wide));
    let out = scratch.activated.get(wide);
    let run = || mixture.activate(gate, up, out);
    at.pass.profile.time(Part::Activation, 0, run);
}

/// x (T, H) += the weighted sum of what the chosen experts give.
pub(super) fn add_output(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    x: &mut [f32],
    saved: &Saved,
    scratch: &mut Scratch,
) {
    activate(at, mixture, saved, scratch);
    let site = at.pass.binding.mixture(at.index);
    let ExpertScratch {
        rows,
        routing,
        u,
        d_u,
        ..
    } = &mut scratch.experts;
    let workspace = &mut scratch.project.workspace;
    let mut inner = Inner { u, d_u, workspace };
    let activated = scratch.activated.read(mixture.wide(at.rows));
    let rows = rows.get(x.len() * mixture.choice.chosen);
    let multiplier = at.residual_multiplier();
    let work = operations(at, mixture, 1, 0)
        + site.operations_of_down(Way::Forward, at.rows, mixture.choice.chosen);
    at.pass.profile.time(Part::LinearForward, work, || {
        experts::forward(&mixture.down, activated, routing, rows, inner.workspace); // (T·k, I) -> (T·k, H)
        if let Some(biases) = &mixture.biases {
            experts::add_biases(&biases.down, routing, rows);
        }
        if let Some(site) = &site.down {
            site.add(activated, routing, rows, &mut inner);
        }
        if multiplier == 1.0 {
            return experts::add_rows(rows, routing, true, x);
        }
        let y = scratch.normed.get(x.len());
        y.fill(0.0);
        experts::add_rows(rows, routing, true, y);
        scale(y, multiplier);
        add(x, y);
    });
}

/// `scratch.d_normed` (T, H) becomes the gradient of what router and experts read, from that of the layer's output, dx (T, H).
/// Gates and ups in `saved` are overwritten. What was read must be in `scratch.normed` if [`reads_input`].
pub(super) fn backward(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    dx: &[f32],
    saved: &mut Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let choice = mixture.choice;
    let probabilities = saved.router.read(at.rows * choice.experts);
    let biases = mixture.choice_bias.as_deref();
    scratch
        .experts
        .routing
        .choose(probabilities, choice, biases);
    activate(at, mixture, saved, scratch);
    down_backward(at, mixture, dx, gradients, scratch);
    let wide = mixture.wide(at.rows);
    let (gate, up) = (saved.expert_gate.get(wide), saved.expert_up.get(wide));
    let d = scratch.d_activated.read(wide);
    let run = || mixture.activate_backward(d, gate, up);
    at.pass.profile.time(Part::Activation, 0, run);
    reads_backward(at, mixture, dx, saved, gradients, scratch);
}

/// From dx (T, H), the gradient of the layer's output, to that of what down reads, in `scratch.d_activated`, and of the weights
/// of the choice.
fn down_backward(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    dx: &[f32],
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let (wide, chosen) = (mixture.wide(at.rows), mixture.choice.chosen);
    let site = at.pass.binding.mixture(at.index);
    let ExpertScratch {
        rows,
        d_weights,
        u,
        d_u,
        routing,
        ..
    } = &mut scratch.experts;
    let workspace = &mut scratch.project.workspace;
    let mut inner = Inner { u, d_u, workspace };
    let multiplier = at.residual_multiplier();
    let dy = match multiplier == 1.0 {
        true => dx,
        false => {
            let dy = scratch.d_output.get(dx.len());
            dy.copy_from_slice(dx);
            scale(dy, multiplier);
            dy
        }
    };
    let rows = rows.get(dx.len() * chosen);
    let x = scratch.activated.read(wide);
    let d = scratch.d_activated.get(wide);
    let d_weights = d_weights.get(routing.len());
    let work =
        operations(at, mixture, 1, 0) + site.operations_of_down(Way::Backward, at.rows, chosen);
    at.pass.profile.time(Part::LinearBackward, work, || {
        experts::copy_rows(dy, routing, rows);
        let to = (&mut d[..], Write::Replace);
        experts::backward(&mixture.down, rows, routing, to, inner.workspace); // (T·k, H) -> (T·k, I)
        if let Some(site) = &site.down {
            site.backward((x, rows), routing, d, gradients, &mut inner);
        }
        experts::weigh(d, x, routing, d_weights);
        if let Some(biases) = &mixture.biases {
            experts::weigh_biases(&biases.down, rows, routing, d_weights);
        }
    });
}

/// From the gradients of gate and up, in `saved`, and of the weights of the choice to that of what was read, in
/// `scratch.d_normed`.
fn reads_backward(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    dx: &[f32],
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let (choice, wide) = (mixture.choice, mixture.wide(at.rows));
    let site = at.pass.binding.mixture(at.index);
    let probabilities = saved.router.read(at.rows * choice.experts);
    let (gate, up) = (saved.expert_gate.read(wide), saved.expert_up.read(wide));
    let ExpertScratch {
        rows,
        d_logits,
        d_weights,
        u,
        d_u,
        routing,
    } = &mut scratch.experts;
    let workspace = &mut scratch.project.workspace;
    let mut inner = Inner { u, d_u, workspace };
    let x = match site.reads_input() {
        true => scratch.normed.read(dx.len()),
        false => dx, // of the same shape, and not read
    };
    let rows = rows.get(dx.len() * choice.chosen);
    let d_weights = d_weights.read(routing.len());
    let dn = scratch.d_normed.get(dx.len());
    let d_logits = d_logits.get(probabilities.len());
    let work = operations(at, mixture, 2, 1)
        + site.operations_of_reads(Way::Backward, at.rows, choice.chosen);
    at.pass.profile.time(Part::LinearBackward, work, || {
        if let Some(site) = &site.gate_up {
            experts::copy_rows(x, routing, rows);
            let d = Both { gate, up };
            site.gradients_of_both(rows, routing, &d, gradients, &mut inner);
        }
        let to = (&mut rows[..], Write::Replace);
        experts::backward(&mixture.gate, gate, routing, to, inner.workspace); // (T·k, I) -> (T·k, H)
        let to = (&mut rows[..], Write::Add);
        experts::backward(&mixture.up, up, routing, to, inner.workspace);
        if let Some(site) = &site.gate_up {
            site.add_input_gradient(routing, rows, &mut inner);
        }
        routing.logit_gradients(probabilities, d_weights, choice, d_logits);
        if let Some(balancing) = &at.pass.balancing {
            balancing.add_logit_gradients(probabilities, d_logits);
        }
        let width = at.out_features(O);
        let forward = (
            Mat::new(x, at.rows, width),
            Mat::new(d_logits, at.rows, choice.experts),
        );
        let to = Place::new(dn, at.rows, width);
        expert_factors::router_backward(&site, mixture, forward, to, gradients, &mut inner); // (T, E) -> (T, H)
        experts::add_rows(rows, routing, false, dn);
    });
}

//! A mixture of experts in the place of a layer's MLP, forward and backward. Experts and router are frozen: gradients pass
//! through what is chosen and through its weights.
use super::buffers::{ExpertScratch, Saved, Scratch};
use super::mixture::Mixture;
use super::pass::{LayerPass, add, scale};
use crate::spec::Projection::O;
use lora_kernels::experts::{self, Choice};
use lora_kernels::glu;
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

/// From what the MLP reads, in `scratch.normed` (T, H), to what the experts' down projections read.
pub(super) fn activations(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let (hidden, wide) = (at.size(O), mixture.wide(at.rows));
    let normed = scratch.normed.read(hidden);
    let ExpertScratch { rows, routing, .. } = &mut scratch.experts;
    let workspace = &mut scratch.project.workspace;
    let Choice { experts, .. } = mixture.choice;
    let probabilities = saved.router.get(at.rows * experts);
    let (gate, up) = (saved.gate.get(wide), saved.up.get(wide));
    let work = operations(at, mixture, 2, 1);
    at.pass.profile.time(Part::LinearForward, work, || {
        let x = Mat::new(normed, at.rows, at.out_features(O));
        let logits = Place::new(probabilities, at.rows, experts);
        linear::forward(&mixture.router, x, logits, workspace); // (T, H) -> (T, E)
        experts::softmax(probabilities, experts);
        let chooser = &at.pass.chooser;
        chooser.choose(at.index, probabilities, mixture.choice, routing);
        let rows = rows.get(hidden * mixture.choice.chosen);
        experts::copy_rows(normed, routing, rows); // (T, H) -> (T·k, H)
        experts::forward(&mixture.gate, rows, routing, gate, workspace); // -> (T·k, I)
        experts::forward(&mixture.up, rows, routing, up, workspace);
    });
    activate(at, mixture, saved, scratch);
}

/// activation(gate)∘up, in `scratch.activated`.
fn activate(at: LayerPass<'_, '_>, mixture: &Mixture<'_>, saved: &Saved, scratch: &mut Scratch) {
    let wide = mixture.wide(at.rows);
    let (gate, up) = (saved.gate.read(wide), saved.up.read(wide));
    let out = scratch.activated.get(wide);
    let run = || glu::forward(mixture.activation, gate, up, out);
    at.pass.profile.time(Part::Activation, 0, run);
}

/// x (T, H) += the weighted sum of what the chosen experts give.
pub(super) fn add_output(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    x: &mut [f32],
    scratch: &mut Scratch,
) {
    let ExpertScratch { rows, routing, .. } = &mut scratch.experts;
    let workspace = &mut scratch.project.workspace;
    let activated = scratch.activated.read(mixture.wide(at.rows));
    let rows = rows.get(x.len() * mixture.choice.chosen);
    let multiplier = at.residual_multiplier();
    let work = operations(at, mixture, 1, 0);
    at.pass.profile.time(Part::LinearForward, work, || {
        experts::forward(&mixture.down, activated, routing, rows, workspace); // (T·k, I) -> (T·k, H)
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

/// `scratch.d_normed` (T, H) becomes the gradient of what the MLP read, from that of the layer's output, dx (T, H).
/// `saved.gate` and `saved.up` are overwritten.
pub(super) fn backward(
    at: LayerPass<'_, '_>,
    mixture: &Mixture<'_>,
    dx: &[f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let choice = mixture.choice;
    let probabilities = saved.router.read(at.rows * choice.experts);
    scratch.experts.routing.choose(probabilities, choice);
    activate(at, mixture, saved, scratch);
    let wide = mixture.wide(at.rows);
    let Scratch {
        experts: own,
        activated,
        d_activated,
        d_normed,
        d_output,
        project,
        ..
    } = scratch;
    let ExpertScratch {
        rows,
        d_logits,
        d_weights,
        routing,
    } = own;
    let workspace = &mut project.workspace;
    let multiplier = at.residual_multiplier();
    let dy = match multiplier == 1.0 {
        true => dx,
        false => {
            let dy = d_output.get(dx.len());
            dy.copy_from_slice(dx);
            scale(dy, multiplier);
            dy
        }
    };
    let rows = rows.get(dx.len() * choice.chosen);
    let d = d_activated.get(wide);
    let d_weights = d_weights.get(routing.len());
    let work = operations(at, mixture, 1, 0);
    at.pass.profile.time(Part::LinearBackward, work, || {
        experts::copy_rows(dy, routing, rows);
        let to = (&mut d[..], Write::Replace);
        experts::backward(&mixture.down, rows, routing, to, workspace); // (T·k, H) -> (T·k, I)
        experts::weigh(d, activated.read(wide), routing, d_weights);
    });
    let (gate, up) = (saved.gate.get(wide), saved.up.get(wide));
    let run = || glu::backward(mixture.activation, d, gate, up);
    at.pass.profile.time(Part::Activation, 0, run);
    let dn = d_normed.get(dx.len());
    let d_logits = d_logits.get(probabilities.len());
    let work = operations(at, mixture, 2, 1);
    at.pass.profile.time(Part::LinearBackward, work, || {
        let to = (&mut rows[..], Write::Replace);
        experts::backward(&mixture.gate, gate, routing, to, workspace); // (T·k, I) -> (T·k, H)
        let to = (&mut rows[..], Write::Add);
        experts::backward(&mixture.up, up, routing, to, workspace);
        routing.logit_gradients(probabilities, d_weights, choice, d_logits);
        let d_logits = Mat::new(d_logits, at.rows, choice.experts);
        let to = Place::new(dn, at.rows, at.out_features(O));
        linear::backward(&mixture.router, d_logits, to, workspace); // (T, E) -> (T, H)
        experts::add_rows(rows, routing, false, dn);
    });
}

//! A layer of Gated DeltaNet: queries, keys and values of the normalised hidden state through a causal convolution, the gated
//! delta rule, and the gated norm of its output. Of the forward pass what the linear layers give is kept, the rule's output
//! and 1/rms of it; the convolution and the states are made again.
use super::buffers::Saved;
use super::cache::LayerCache;
use super::pass::LayerPass;
use super::scratch::Scratch;
use super::states::DeltaLayer;
use crate::spec::Projection::{DeltaA, DeltaB, DeltaOut, DeltaQkv, DeltaZ};
use lora_checkpoint::DeltaShape;
use lora_kernels::conv;
use lora_kernels::delta::{self, Gates, Gradients, Inputs, Shape, gated_norm};
use lora_kernels::profile::Part;

/// A recurrent layer's own weights and heads.
#[derive(Clone, Copy)]
struct Own<'l> {
    layer: &'l DeltaLayer,
    shape: Shape,
}

impl Own<'_> {
    fn taps(&self) -> conv::Taps<'_> {
        conv::Taps {
            values: &self.layer.taps,
            bias: None,
            columns: self.shape.columns(),
            behind: conv::Behind::Silu,
        }
    }

    fn inputs<'i>(&'i self, mixed: &'i [f32], a: &'i [f32], b: &'i [f32]) -> Inputs<'i> {
        let gates = Gates {
            a_log: &self.layer.decay_log,
            dt_bias: &self.layer.step_bias,
        };
        Inputs { mixed, a, b, gates }
    }
}

/// The heads as kernels have them.
pub(super) fn shape(delta: DeltaShape) -> Shape {
    Shape {
        key_heads: delta.key_heads,
        value_heads: delta.value_heads,
        key_dim: delta.key_dim,
        value_dim: delta.value_dim,
    }
}

impl<'p> LayerPass<'p, '_> {
    /// What a recurrent layer has of its own; nothing in other layers.
    fn recurrent(self) -> Option<Own<'p>> {
        let layer = self.layer.delta.as_ref()?;
        let shape = shape(self.pass.config.delta?);
        Some(Own { layer, shape })
    }

    /// Floating-point operations of the rule: in a chunk of c tokens each token meets the state thrice and c others four
    /// times, by keys' width and by values'.
    fn rule_operations(self, shape: Shape) -> u64 {
        let state = 3 * shape.state();
        let others = 2 * delta::CHUNK * (shape.key_dim + shape.value_dim);
        (2 * self.rows * shape.value_heads * (state + others)) as u64
    }
}

/// Output of a recurrent layer, of `scratch.normed`: that of the rule in `saved.o`, what the output projection reads in
/// `scratch.gated`.
pub(super) fn mix(
    at: LayerPass<'_, '_>,
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    scratch: &mut Scratch,
) {
    let Some(own) = at.recurrent() else { return };
    let [qkv_size, z_size, heads] = [DeltaQkv, DeltaZ, DeltaB].map(|p| at.size(p));
    let outputs = &mut [
        (DeltaQkv, saved.qkv.get(qkv_size)),
        (DeltaZ, saved.output_gate.get(z_size)),
        (DeltaB, saved.b.get(heads)),
        (DeltaA, saved.a.get(heads)),
    ];
    let normed = scratch.normed.read(at.input_size(DeltaQkv));
    let (stacked, project) = (&mut scratch.stacked, &mut scratch.project);
    at.fan_out(normed, outputs, &mut saved.u, stacked, project);

    let layout = &at.pass.batch.layout;
    let qkv = saved.qkv.read(qkv_size);
    let mixed = scratch.mixed.get(qkv_size);
    let o = saved.o.get(z_size);
    let (a, b) = (saved.a.read(heads), saved.b.read(heads));
    let work = at.rule_operations(own.shape);
    at.pass.profile.time(Part::AttentionForward, work, || {
        let Some(cache) = cache else {
            conv::forward(own.taps(), layout, qkv, mixed, None);
            return delta::forward(own.shape, layout, own.inputs(mixed, a, b), o, None);
        };
        let tail = own.taps().values.len() - own.shape.columns();
        let size = own.shape.value_heads * own.shape.state();
        let mut states = cache.states(layout, [tail, size]);
        let [tails, rules] = &mut states;
        conv::forward(own.taps(), layout, qkv, mixed, Some(tails));
        delta::forward(own.shape, layout, own.inputs(mixed, a, b), o, Some(rules));
        cache.keep_states(layout, &states);
    });
    let rstd = saved.o_rstd.get(at.rows * own.shape.value_heads);
    let z = saved.output_gate.read(z_size);
    let o = saved.o.read(z_size);
    let eps = at.pass.config.norm_eps as f32;
    let gated = scratch.gated.get(z_size);
    at.pass.profile.time(Part::Norm, 0, || {
        gated_norm::forward(o, z, &own.layer.norm, eps, gated, rstd);
    });
}

/// What the output projection has read, in `scratch.gated`.
pub(super) fn gated_again(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let Some(own) = at.recurrent() else { return };
    let size = at.input_size(DeltaOut);
    let rstd = saved.o_rstd.read(at.rows * own.shape.value_heads);
    let (o, z) = (saved.o.read(size), saved.output_gate.read(size));
    let gated = scratch.gated.get(size);
    at.pass.profile.time(Part::Norm, 0, || {
        gated_norm::recompute(o, z, &own.layer.norm, rstd, gated);
    });
}

/// From `scratch.d_o`, the gradient of what the output projection has read, to those of the linear layers' outputs, in
/// `scratch.d_qkv`, `d_gate`, `d_b` and `d_a`.
pub(super) fn mix_backward(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let Some(own) = at.recurrent() else { return };
    let [qkv_size, z_size, heads] = [DeltaQkv, DeltaZ, DeltaB].map(|p| at.size(p));
    let rstd = saved.o_rstd.read(at.rows * own.shape.value_heads);
    let (o, z) = (saved.o.read(z_size), saved.output_gate.read(z_size));
    let dy = scratch.d_o.get(z_size);
    let d_rule = scratch.gated.get(z_size); // the gated output itself is done with
    let dz = scratch.d_gate.get(z_size);
    at.pass.profile.time(Part::Norm, 0, || {
        gated_norm::backward(o, z, &own.layer.norm, rstd, dy, d_rule, dz);
    });
    let layout = &at.pass.batch.layout;
    let qkv = saved.qkv.read(qkv_size);
    let mixed = scratch.mixed.get(qkv_size);
    let d_mixed = scratch.d_mixed.get(qkv_size);
    let work = 3 * at.rule_operations(own.shape);
    at.pass.profile.time(Part::AttentionBackward, work, || {
        conv::forward(own.taps(), layout, qkv, mixed, None);
        let inputs = own.inputs(mixed, saved.a.read(heads), saved.b.read(heads));
        let to = Gradients {
            mixed: d_mixed,
            a: scratch.d_a.get(heads),
            b: scratch.d_b.get(heads),
        };
        delta::backward(own.shape, layout, inputs, d_rule, to);
        conv::backward(
            own.taps(),
            layout,
            qkv,
            d_mixed,
            scratch.d_qkv.get(qkv_size),
        );
    });
}

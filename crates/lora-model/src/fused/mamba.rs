//! Mamba-2 in a layer: of the normalised hidden state a gate, x, B and C through a causal convolution, and what steps are made of;
//! the state space rule, and its output through the gate, with a norm behind that or before it or without one. Of the forward
//! pass what the linear layer gives is kept, the rule's output and the norm's 1/rms; the convolution and the states are made again.
use super::buffers::{Saved, copy};
use super::cache::LayerCache;
use super::pass::LayerPass;
use super::scratch::Scratch;
use super::states::MambaLayer;
use crate::spec::Projection::{MambaDt, MambaIn, MambaOut, MambaXbc, MambaZ};
use lora_checkpoint::{MambaNorm, MambaShape};
use lora_kernels::conv;
use lora_kernels::glu::{self, Activation};
use lora_kernels::profile::Part;
use lora_kernels::ssd::gated_norm::{self, Gamma};
use lora_kernels::ssd::{self, Gradients, Inputs, Learned, Shape};

/// A layer's own weights and heads.
#[derive(Clone, Copy)]
struct Own<'l> {
    layer: &'l MambaLayer,
    shape: Shape,
    norm: MambaNorm,
    limits: [f32; 2],
}

impl Own<'_> {
    fn taps(&self) -> conv::Taps<'_> {
        conv::Taps {
            values: &self.layer.taps,
            bias: self.layer.bias.as_deref(),
            columns: self.shape.columns(),
            behind: conv::Behind::Silu,
        }
    }

    /// The norm's γ, if there is a norm.
    fn gamma(&self) -> Option<Gamma<'_>> {
        let values = self.layer.norm.as_deref()?;
        Some(Gamma {
            values,
            groups: self.shape.groups,
            behind_gate: self.norm != MambaNorm::BeforeGate,
        })
    }

    /// Values a token of 1/rms.
    fn norms(&self) -> usize {
        match self.layer.norm {
            Some(_) => self.shape.groups,
            None => 0,
        }
    }

    fn inputs<'i>(&'i self, mixed: &'i [f32], dt: &'i [f32]) -> Inputs<'i> {
        let learned = Learned {
            a_log: &self.layer.decay_log,
            dt_bias: &self.layer.step_bias,
            d: &self.layer.skip,
            limits: self.limits,
        };
        Inputs { mixed, dt, learned }
    }
}

/// The heads as kernels have them.
pub(super) fn shape(mamba: MambaShape) -> Shape {
    Shape {
        heads: mamba.heads,
        groups: mamba.groups,
        width: mamba.width,
        state: mamba.state,
    }
}

impl<'p> LayerPass<'p, '_> {
    /// What a layer of Mamba-2 has of its own; nothing in other layers.
    fn state_space(self) -> Option<Own<'p>> {
        let layer = self.layer.mamba.as_ref()?;
        let own = self.pass.config.mamba?;
        Some(Own {
            layer,
            shape: shape(own),
            norm: own.norm,
            limits: own.limits.map(|limit| limit as f32),
        })
    }

    /// Floating-point operations of the rule: in a chunk of c tokens each token of a head meets the state twice, and c others
    /// by the head's width.
    fn ssd_operations(self, shape: Shape) -> u64 {
        let each = 2 * shape.state_len() + ssd::CHUNK * shape.width;
        (2 * self.rows * shape.heads * each) as u64
    }
}

/// Output of the rule, of `scratch.normed`, in `saved.rule`; what the output projection reads in `scratch.gated`.
pub(super) fn mix(
    at: LayerPass<'_, '_>,
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    scratch: &mut Scratch,
) {
    let Some(own) = at.state_space() else { return };
    let [z_size, columns, heads] = [MambaZ, MambaXbc, MambaDt].map(|p| at.size(p));
    let outputs = &mut [
        (MambaZ, saved.output_gate.get(z_size)),
        (MambaXbc, saved.qkv.get(columns)),
        (MambaDt, saved.a.get(heads)),
    ];
    let normed = scratch.normed.read(at.input_size(MambaIn));
    let (stacked, project) = (&mut scratch.stacked, &mut scratch.project);
    at.fan_out(normed, outputs, &mut saved.u, stacked, project);

    let layout = &at.pass.batch.layout;
    let read = saved.qkv.read(columns);
    let mixed = scratch.mixed.get(columns);
    let y = saved.rule.get(z_size);
    let dt = saved.a.read(heads);
    let work = at.ssd_operations(own.shape);
    at.pass.profile.time(Part::AttentionForward, work, || {
        let Some(cache) = cache else {
            conv::forward(own.taps(), layout, read, mixed, None);
            return ssd::forward(own.shape, layout, own.inputs(mixed, dt), y, None);
        };
        let tail = own.taps().values.len() - own.shape.columns();
        let size = own.shape.heads * own.shape.state_len();
        let mut states = cache.states(layout, [tail, size]);
        let [tails, rules] = &mut states;
        conv::forward(own.taps(), layout, read, mixed, Some(tails));
        ssd::forward(own.shape, layout, own.inputs(mixed, dt), y, Some(rules));
        cache.keep_states(layout, &states);
    });
    let rstd = saved.o_rstd.get(at.rows * own.norms());
    let (y, z) = (saved.rule.read(z_size), saved.output_gate.read(z_size));
    let eps = at.pass.config.norm_eps as f32;
    let gated = scratch.gated.get(z_size);
    at.pass.profile.time(Part::Norm, 0, || match own.gamma() {
        Some(gamma) => gated_norm::forward(y, z, gamma, eps, gated, rstd),
        None => glu::forward(Activation::Silu, z, y, gated),
    });
}

/// What the output projection has read, in `scratch.gated`.
pub(super) fn gated_again(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let Some(own) = at.state_space() else { return };
    let size = at.input_size(MambaOut);
    let rstd = saved.o_rstd.read(at.rows * own.norms());
    let (y, z) = (saved.rule.read(size), saved.output_gate.read(size));
    let gated = scratch.gated.get(size);
    at.pass.profile.time(Part::Norm, 0, || match own.gamma() {
        Some(gamma) => gated_norm::recompute(y, z, gamma, rstd, gated),
        None => glu::forward(Activation::Silu, z, y, gated),
    });
}

/// From `scratch.d_o`, the gradient of what the output projection has read, to those of the linear layer's outputs, in
/// `scratch.d_gate`, `d_qkv` and `d_a`.
pub(super) fn mix_backward(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let Some(own) = at.state_space() else { return };
    let [z_size, columns, heads] = [MambaZ, MambaXbc, MambaDt].map(|p| at.size(p));
    let rstd = saved.o_rstd.read(at.rows * own.norms());
    let (y, z) = (saved.rule.read(z_size), saved.output_gate.read(z_size));
    let dy = scratch.d_o.get(z_size);
    let d_rule = scratch.gated.get(z_size); // the gated output itself is done with
    let dz = scratch.d_gate.get(z_size);
    at.pass.profile.time(Part::Norm, 0, || {
        if let Some(gamma) = own.gamma() {
            return gated_norm::backward(y, z, gamma, rstd, dy, d_rule, dz);
        }
        copy(z, dz);
        copy(y, d_rule);
        glu::backward(Activation::Silu, dy, dz, d_rule);
    });
    let layout = &at.pass.batch.layout;
    let read = saved.qkv.read(columns);
    let mixed = scratch.mixed.get(columns);
    let d_mixed = scratch.d_mixed.get(columns);
    let shared = scratch.d_b.get(at.rows * ssd::shared_len(own.shape));
    let work = 3 * at.ssd_operations(own.shape);
    at.pass.profile.time(Part::AttentionBackward, work, || {
        conv::forward(own.taps(), layout, read, mixed, None);
        let inputs = own.inputs(mixed, saved.a.read(heads));
        let to = Gradients {
            mixed: d_mixed,
            dt: scratch.d_a.get(heads),
        };
        ssd::backward(own.shape, layout, inputs, d_rule, shared, to);
        let d_read = scratch.d_qkv.get(columns);
        conv::backward(own.taps(), layout, read, d_mixed, d_read);
    });
}

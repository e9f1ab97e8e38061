//! Attention of one layer: queries, keys and values of the normalised hidden state, and what is made of them.
use super::buffers::{Buffer, Saved};
use super::cache::LayerCache;
use super::norms::NormLayer;
use super::pass::{LayerPass, add};
use super::scratch::Scratch;
use super::sharing;
use crate::spec::Projection::{self, K, O, OutputGate, Q, V};
use lora_checkpoint::{HeadNorms, Norm};
use lora_kernels::attention::{self, Inputs, Outputs};
use lora_kernels::gate;
use lora_kernels::profile::Part;
use lora_kernels::rope::Turn;

/// Queries, keys and values of `scratch.normed`, and attention: its output in `saved.o`.
pub(super) fn attend(
    at: LayerPass<'_, '_>,
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    scratch: &mut Scratch,
) {
    let (pass, layer) = (at.pass, at.layer);
    let (q_size, kv_size) = (at.size(Q), at.size(K));
    let Saved {
        q,
        k,
        v,
        output_gate,
        u,
        ..
    } = saved;
    // A layer that reads those of another has none.
    let own_size = match layer.keys_of {
        None => kv_size,
        Some(_) => 0,
    };
    let mut outputs = vec![
        (Q, q.get(q_size)),
        (K, k.get(own_size)),
        (V, v.get(own_size)),
    ];
    if at.has_output_gate() {
        outputs.push((OutputGate, output_gate.get(q_size))); // else it may be that of a rule beside attention
    }
    let normed = scratch.normed.read(at.size(O));
    at.fan_out(
        normed,
        &mut outputs,
        u,
        &mut scratch.stacked,
        &mut scratch.project,
    );
    let queries = Heads {
        projection: Q,
        values: &mut saved.q,
        raw: &mut saved.q_raw,
        rstd: &mut saved.q_rstd,
    };
    queries.place(at, layer.query_norm.as_ref(), q_size);
    if layer.keys_of.is_none() {
        own_keys(at, saved, kv_size);
    }

    let shape = pass.shape(at.index);
    let layout = &pass.batch.layout;
    let own = (saved.k.read(own_size), saved.v.read(own_size));
    let outputs = Outputs {
        o: saved.o.get(q_size),
        lse: saved.lse.get(at.rows * shape.heads),
    };
    let q = saved.q.read(q_size);
    let sinks = layer.sinks.as_deref();
    if let Some(cache) = cache {
        if layer.keys_of.is_none() {
            cache.append(layout, own.0, own.1);
        }
        let cached = Inputs {
            q,
            k: &cache.k,
            v: &cache.v,
            sinks,
        };
        attention::forward(shape, layout, cached, outputs);
    } else {
        let work = 2 * pass.attention_operations(at.index);
        sharing::keep(at, own, &mut scratch.shared);
        let (k, v) = sharing::keys_and_values(at, own, kv_size, &scratch.shared);
        let inputs = Inputs { q, k, v, sinks };
        pass.profile.time(Part::AttentionForward, work, || {
            attention::forward(shape, layout, inputs, outputs);
        });
    }
    if at.has_output_gate() {
        gated_again(at, saved, scratch);
    }
}

/// Norms and rotary embedding of the layer's own keys, and norm of its values, which may be the projected keys.
fn own_keys(at: LayerPass<'_, '_>, saved: &mut Saved, size: usize) {
    if at.pass.config.values_are_keys(at.index) {
        saved.v.set(saved.k.read(size));
    }
    let keys = Heads {
        projection: K,
        values: &mut saved.k,
        raw: &mut saved.k_raw,
        rstd: &mut saved.k_rstd,
    };
    keys.place(at, at.layer.key_norm.as_ref(), size);
    let mut values = Heads {
        projection: V,
        values: &mut saved.v,
        raw: &mut saved.v_raw,
        rstd: &mut saved.v_rstd,
    };
    values.norm(at, at.layer.value_norm.as_ref(), size);
}

/// Attention's output through its gate, as the output projection reads it, in `scratch.gated`.
pub(super) fn gated_again(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let size = at.size(Q);
    let (o, gate) = (saved.o.read(size), saved.output_gate.read(size));
    let gated = scratch.gated.get(size);
    at.pass
        .profile
        .time(Part::Activation, 0, || gate::forward(o, gate, gated));
}

/// Whether heads are rotated before their norm.
fn rotates_first(at: LayerPass<'_, '_>) -> bool {
    at.pass.config.facts().head_norms == HeadNorms::EachRotatedHead
}

/// Queries or keys with the norm of their heads.
struct Heads<'s> {
    projection: Projection,
    values: &'s mut Buffer,
    /// Before the norm.
    raw: &'s mut Buffer,
    rstd: &'s mut Buffer,
}

impl Heads<'_> {
    /// Norm and rotary embedding, in the family's order.
    fn place(mut self, at: LayerPass<'_, '_>, norm: Option<&NormLayer>, size: usize) {
        if rotates_first(at) {
            self.rotate(at, size);
            self.norm(at, norm, size);
        } else {
            self.norm(at, norm, size);
            self.rotate(at, size);
        }
    }

    fn rotate(&mut self, at: LayerPass<'_, '_>, size: usize) {
        let values = self.values.get(size);
        at.pass
            .rotate(at.index, self.projection, values, Turn::Forward);
    }

    /// Normalises head by head, if the family does so.
    fn norm(&mut self, at: LayerPass<'_, '_>, norm: Option<&NormLayer>, size: usize) {
        let Some(norm) = norm else { return };
        self.raw.set(self.values.read(size));
        let rstd = self.rstd.get(size / norm.width());
        at.pass
            .norm(self.raw.read(size), norm, self.values.get(size), rstd);
    }
}

/// From `scratch.d_o` to the gradients of the projected queries, keys and values, in `scratch.d_q`, `d_k` and `d_v`, and of the
/// output's gate, in `scratch.d_gate`.
pub(super) fn attend_backward(
    at: LayerPass<'_, '_>,
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let (pass, layer) = (at.pass, at.layer);
    let (q_size, kv_size) = (at.size(Q), at.size(K));
    let shape = pass.shape(at.index);
    if at.has_output_gate() {
        let (o, gate) = (saved.o.read(q_size), saved.output_gate.read(q_size));
        let (d_o, d_gate) = (scratch.d_o.get(q_size), scratch.d_gate.get(q_size));
        pass.profile.time(Part::Activation, 0, || {
            gate::backward(o, gate, d_o, d_gate);
        });
    }
    let own_size = match layer.keys_of {
        None => kv_size,
        Some(_) => 0,
    };
    let own = (saved.k.read(own_size), saved.v.read(own_size));
    let (k, v) = sharing::keys_and_values(at, own, kv_size, &scratch.shared);
    let forward = attention::Saved {
        q: saved.q.read(q_size),
        k,
        v,
        o: saved.o.read(q_size),
        lse: saved.lse.read(at.rows * shape.heads),
        has_sinks: layer.sinks.is_some(),
        d_o: scratch.d_o.read(q_size),
    };
    let to = attention::Gradients {
        q: scratch.d_q.get(q_size),
        k: scratch.d_k.get(kv_size),
        v: scratch.d_v.get(kv_size),
    };
    let work = 5 * pass.attention_operations(at.index);
    let workspace = &mut scratch.attention;
    pass.profile.time(Part::AttentionBackward, work, || {
        attention::backward(shape, &pass.batch.layout, forward, to, workspace);
    });
    sharing::join(at, kv_size, scratch);
    let before = &mut scratch.d_head;
    let queries = HeadGradients {
        projection: Q,
        norm: Norm::Query,
        raw: &saved.q_raw,
        rstd: &saved.q_rstd,
        d: &mut scratch.d_q,
    };
    queries.backward(at, layer.query_norm.as_ref(), q_size, gradients, before);
    if layer.keys_of.is_some() {
        return;
    }
    let keys = HeadGradients {
        projection: K,
        norm: Norm::Key,
        raw: &saved.k_raw,
        rstd: &saved.k_rstd,
        d: &mut scratch.d_k,
    };
    keys.backward(at, layer.key_norm.as_ref(), kv_size, gradients, before);
    if let Some(norm) = &layer.value_norm {
        let (raw, rstd) = (&saved.v_raw, &saved.v_rstd);
        let d = &mut scratch.d_v;
        norm_of_heads(at, norm, (raw, rstd), (d, kv_size), before);
    }
    if pass.config.values_are_keys(at.index) {
        add(scratch.d_k.get(kv_size), scratch.d_v.read(kv_size));
    }
}

/// The gradient behind the norm of heads becomes that before it; `before` is scratch.
fn norm_of_heads(
    at: LayerPass<'_, '_>,
    norm: &NormLayer,
    (raw, rstd): (&Buffer, &Buffer),
    (d, size): (&mut Buffer, usize),
    before: &mut Buffer,
) {
    let d_raw = before.get(size);
    d_raw.fill(0.0);
    let rstd = rstd.read(size / norm.width());
    at.pass
        .norm_backward(raw.read(size), norm, rstd, d.get(size), d_raw);
    d.set(d_raw);
}

/// The gradient of queries or keys, and what the norm of their heads saw.
struct HeadGradients<'s> {
    projection: Projection,
    norm: Norm,
    raw: &'s Buffer,
    rstd: &'s Buffer,
    d: &'s mut Buffer,
}

impl HeadGradients<'_> {
    /// The gradient of placed heads becomes that of the heads as projected; `before` is scratch.
    fn backward(
        mut self,
        at: LayerPass<'_, '_>,
        norm: Option<&NormLayer>,
        size: usize,
        gradients: &mut [f32],
        before: &mut Buffer,
    ) {
        if rotates_first(at) {
            self.norm(at, norm, size, gradients, before);
            self.rotate(at, size);
        } else {
            self.rotate(at, size);
            self.norm(at, norm, size, gradients, before);
        }
    }

    fn rotate(&mut self, at: LayerPass<'_, '_>, size: usize) {
        let d = self.d.get(size);
        at.pass.rotate(at.index, self.projection, d, Turn::Back);
    }

    /// Through the norm of heads, if the family has it.
    fn norm(
        &mut self,
        at: LayerPass<'_, '_>,
        norm: Option<&NormLayer>,
        size: usize,
        gradients: &mut [f32],
        before: &mut Buffer,
    ) {
        let Some(norm) = norm else { return };
        let raw = self.raw.read(size);
        let rstd = self.rstd.read(size / norm.width());
        let place = (Some(at.index), self.norm);
        let d = self.d.get(size);
        at.pass
            .binding
            .norm_gradient((place, norm), raw, rstd, d, gradients);
        norm_of_heads(at, norm, (self.raw, self.rstd), (self.d, size), before);
    }
}

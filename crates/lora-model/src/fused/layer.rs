//! One decoder layer, forward and backward. Reads top to bottom as the model does.
use super::binding::Binding;
use super::buffers::{Saved, Scratch};
use super::cache::LayerCache;
use super::project::{self, Place};
use super::weights::Layer;
use crate::spec::Projection::{self, Down, Gate, K, O, Q, Up, V};
use lora_checkpoint::ModelConfig;
use lora_kernels::attention::{self, Segment, Shape};
use lora_kernels::{norm, rope, swiglu};
use std::sync::Arc;

/// What is the same for every layer of one pass.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) binding: Binding<'a>,
    /// Position of every token in its sequence, (T).
    pub(super) positions: Vec<u32>,
    pub(super) segments: Vec<Segment>,
    pub(super) table: Arc<rope::Table>,
}

impl Pass<'_> {
    pub(super) fn tokens(&self) -> usize {
        self.positions.len()
    }

    fn shape(&self) -> Shape {
        let c = self.config;
        let scale = 1.0 / (c.head_dim as f32).sqrt();
        Shape { heads: c.num_attention_heads, kv_heads: c.num_key_value_heads, head_dim: c.head_dim, scale }
    }

    /// (T · H, T · heads · d, T · kv_heads · d, T · I)
    fn sizes(&self) -> (usize, usize, usize, usize) {
        let (t, c) = (self.tokens(), self.config);
        let heads = |n: usize| t * n * c.head_dim;
        (t * c.hidden_size, heads(c.num_attention_heads), heads(c.num_key_value_heads), t * c.intermediate_size)
    }
}

/// x (T, H) becomes the layer's output; `saved` keeps what the backward pass needs. With a cache, keys and values are
/// appended to it and attention reads from it.
pub(super) fn forward(
    pass: &Pass<'_>,
    index: usize,
    layer: &Layer<'_>,
    x: &mut [f32],
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    scratch: &mut Scratch,
) {
    let (t, eps) = (pass.tokens(), pass.config.rms_norm_eps as f32);
    let (hidden, q_size, kv_size, wide) = pass.sizes();
    let Scratch { normed, activated, project, .. } = scratch;
    let mut apply =
        |p: Projection, input: &[f32], out: &mut [f32], accumulate: bool, u: &mut [super::buffers::Buffer; 7]| {
            let linear = layer.linear(p);
            let place = Place { layer: index, projection: p };
            project::forward(place, linear, &pass.binding, input, t, out, accumulate, &mut u[p.index()], project);
        };

    saved.x.set(x);
    let n = normed.get(hidden);
    norm::forward(x, &layer.input_norm, eps, n, saved.input_rstd.get(t)); // (T, H)
    apply(Q, n, saved.q.get(q_size), false, &mut saved.u); // (T, H) -> (T, heads·d)
    apply(K, n, saved.k.get(kv_size), false, &mut saved.u); // (T, H) -> (T, kv·d)
    apply(V, n, saved.v.get(kv_size), false, &mut saved.u);
    rope::rotate(saved.q.get(q_size), &pass.positions, pass.config.num_attention_heads, &pass.table, false);
    rope::rotate(saved.k.get(kv_size), &pass.positions, pass.config.num_key_value_heads, &pass.table, false);
    let (o, lse) = (saved.o.get(q_size), saved.lse.get(t * pass.config.num_attention_heads));
    match cache {
        None => attention::forward(
            pass.shape(),
            &pass.segments,
            saved.q.read(q_size),
            saved.k.read(kv_size),
            saved.v.read(kv_size),
            o,
            lse,
        ),
        Some(cache) => {
            cache.append(&pass.segments, saved.k.read(kv_size), saved.v.read(kv_size));
            attention::forward(pass.shape(), &pass.segments, saved.q.read(q_size), &cache.k, &cache.v, o, lse);
        }
    }
    apply(O, saved.o.read(q_size), x, true, &mut saved.u); // (T, heads·d) -> += (T, H)

    saved.middle.set(x);
    norm::forward(x, &layer.mlp_norm, eps, n, saved.middle_rstd.get(t));
    apply(Gate, n, saved.gate.get(wide), false, &mut saved.u); // (T, H) -> (T, I)
    apply(Up, n, saved.up.get(wide), false, &mut saved.u);
    let a = activated.get(wide);
    swiglu::forward(saved.gate.read(wide), saved.up.read(wide), a);
    apply(Down, a, x, true, &mut saved.u); // (T, I) -> += (T, H)
}

/// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's `gradients`.
/// `saved.gate` and `saved.up` are overwritten.
pub(super) fn backward(
    pass: &Pass<'_>,
    index: usize,
    layer: &Layer<'_>,
    dx: &mut [f32],
    saved: &mut Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let t = pass.tokens();
    let (hidden, q_size, kv_size, wide) = pass.sizes();
    let Scratch { normed, activated, d_activated, d_normed, d_o, d_q, d_k, d_v, project } = scratch;
    let Saved { x, input_rstd, q, k, v, o, lse, middle, middle_rstd, gate, up, u } = saved;
    let mut back = |p: Projection, input: &[f32], dy: &[f32], d_input: &mut [f32], accumulate: bool| {
        let linear = layer.linear(p);
        let place = Place { layer: index, projection: p };
        project::backward(
            place,
            linear,
            &pass.binding,
            input,
            &u[p.index()],
            dy,
            t,
            d_input,
            accumulate,
            gradients,
            project,
        );
    };

    let (n, dn) = (normed.get(hidden), d_normed.get(hidden));
    let (a, da) = (activated.get(wide), d_activated.get(wide));
    swiglu::forward(gate.read(wide), up.read(wide), a);
    back(Down, a, dx, da, false);
    swiglu::backward(da, gate.get(wide), up.get(wide));
    norm::recompute(middle.read(hidden), &layer.mlp_norm, middle_rstd.read(t), n);
    back(Gate, n, gate.read(wide), dn, false);
    back(Up, n, up.read(wide), dn, true);
    norm::backward(middle.read(hidden), &layer.mlp_norm, middle_rstd.read(t), dn, dx);

    let (d_o, dq, dk, dv) = (d_o.get(q_size), d_q.get(q_size), d_k.get(kv_size), d_v.get(kv_size));
    back(O, o.read(q_size), dx, d_o, false);
    let forward = attention::Saved {
        q: q.read(q_size),
        k: k.read(kv_size),
        v: v.read(kv_size),
        o: o.read(q_size),
        lse: lse.read(t * pass.config.num_attention_heads),
        d_o,
    };
    attention::backward(pass.shape(), &pass.segments, forward, dq, dk, dv);
    rope::rotate(dq, &pass.positions, pass.config.num_attention_heads, &pass.table, true);
    rope::rotate(dk, &pass.positions, pass.config.num_key_value_heads, &pass.table, true);
    norm::recompute(x.read(hidden), &layer.input_norm, input_rstd.read(t), n);
    back(Q, n, dq, dn, false);
    back(K, n, dk, dn, true);
    back(V, n, dv, dn, true);
    norm::backward(x.read(hidden), &layer.input_norm, input_rstd.read(t), dn, dx);
}

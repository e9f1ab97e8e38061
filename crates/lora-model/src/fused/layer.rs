//! One decoder layer, forward and backward. Reads top to bottom as the model does; what a family does not have is skipped.
use super::buffers::{Buffer, Saved, Scratch};
use super::cache::LayerCache;
use super::linears::Linears;
use super::pass::Pass;
use super::rows;
use super::weights::Layer;
use crate::spec::Projection::{self, Down, Gate, K, O, Q, Up, V};
use lora_checkpoint::Norm;
use lora_kernels::attention;
use lora_kernels::profile::Part;
use lora_kernels::{glu, norm, vector};
use rayon::prelude::*;

/// x (T, H) becomes the layer's output; `saved` keeps what the backward pass needs. With a cache, keys and values are
/// appended to it and attention reads from it. If only some rows of the output are `wanted`, they become the first of x and
/// what lies between attention and output is computed for them alone.
pub(super) fn forward(
    pass: &Pass<'_>,
    index: usize,
    layer: &Layer<'_>,
    x: &mut [f32],
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) {
    let rows = activations(pass, index, layer, x, saved, cache, wanted, scratch);
    let linears = Linears {
        pass,
        index,
        layer,
        rows,
    };
    add_output(linears, Down, &mut x[..linears.size(O)], saved, scratch); // (T, I) -> += (T, H)
}

/// A forward pass again, from the layer's input `x`, for its backward pass: `saved` holds what it held, and what Down's
/// factor A made of its input must be there still. The output is not computed unless a norm of it is needed.
pub(super) fn again(
    pass: &Pass<'_>,
    index: usize,
    layer: &Layer<'_>,
    x: &mut [f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let rows = activations(pass, index, layer, x, saved, None, None, scratch);
    if layer.mlp_output_norm.is_some() {
        add_output(
            Linears {
                pass,
                index,
                layer,
                rows,
            },
            Down,
            x,
            saved,
            scratch,
        );
    }
}

/// Everything but the output of the MLP; x (T, H) becomes the hidden state between attention and MLP, of the `wanted` rows
/// if only some are. Returns how many rows that are.
fn activations(
    pass: &Pass<'_>,
    index: usize,
    layer: &Layer<'_>,
    x: &mut [f32],
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) -> usize {
    let (t, eps) = (pass.tokens(), pass.eps());
    let linears = Linears {
        pass,
        index,
        layer,
        rows: t,
    };

    saved.x.set(x);
    let (n, rstd) = (scratch.normed.get(x.len()), saved.input_rstd.get(t));
    pass.profile.time(Part::Norm, 0, || {
        norm::forward(x, &layer.input_norm, eps, n, rstd)
    }); // (T, H)
    attend(linears, saved, cache, scratch); // (T, H) -> (T, heads·d)
    if let Some(rows) = wanted {
        rows::keep(rows, x, t);
        rows::keep(rows, saved.o.get(linears.size(Q)), t);
    }
    let t = wanted.map_or(t, <[usize]>::len);
    let linears = Linears { rows: t, ..linears };
    let x = &mut x[..linears.size(O)];
    add_output(linears, O, x, saved, scratch); // (T, heads·d) -> += (T, H)

    saved.middle.set(x);
    let (n, rstd) = (scratch.normed.get(x.len()), saved.middle_rstd.get(t));
    pass.profile.time(Part::Norm, 0, || {
        norm::forward(x, &layer.mlp_norm, eps, n, rstd)
    });
    let wide = linears.size(Gate);
    let Saved { gate, up, u, .. } = saved;
    let outputs = &mut [(Gate, gate.get(wide)), (Up, up.get(wide))];
    let Scratch {
        normed,
        stacked,
        project,
        activated,
        ..
    } = &mut *scratch;
    linears.fan_out(normed.read(x.len()), outputs, u, stacked, project); // (T, H) -> 2 × (T, I)
    let (gate, up, out) = (gate.read(wide), up.read(wide), activated.get(wide));
    pass.profile.time(Part::Activation, 0, || {
        glu::forward(pass.activation(), gate, up, out)
    });
    t
}

/// Queries, keys and values of `scratch.normed`, and attention: its output in `saved.o`.
fn attend(
    linears: Linears<'_, '_, '_>,
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    scratch: &mut Scratch,
) {
    let Linears {
        pass, index, layer, ..
    } = linears;
    let (t, q_size, kv_size) = (pass.tokens(), pass.size(Q), pass.size(K));
    let Saved {
        q,
        k,
        v,
        q_raw,
        k_raw,
        q_rstd,
        k_rstd,
        o,
        lse,
        u,
        ..
    } = saved;
    let Scratch {
        normed,
        stacked,
        project,
        ..
    } = scratch;
    let outputs = &mut [(Q, q.get(q_size)), (K, k.get(kv_size)), (V, v.get(kv_size))];
    linears.fan_out(normed.read(pass.size(O)), outputs, u, stacked, project);
    let heads = [
        (&layer.query_norm, &mut *q, q_raw, q_rstd, q_size),
        (&layer.key_norm, &mut *k, k_raw, k_rstd, kv_size),
    ];
    for (gamma, values, raw, rstd, size) in heads {
        let Some(gamma) = gamma else { continue };
        raw.set(values.read(size));
        norm::forward(
            raw.read(size),
            gamma,
            pass.eps(),
            values.get(size),
            rstd.get(size / gamma.len()),
        );
    }
    pass.rotate(index, Q, q.get(q_size), false);
    pass.rotate(index, K, k.get(kv_size), false);
    let (shape, q) = (pass.shape(index), q.read(q_size));
    let (o, lse) = (o.get(q_size), lse.get(t * shape.heads));
    match cache {
        None => {
            let (k, v, work) = (
                k.read(kv_size),
                v.read(kv_size),
                pass.attention_operations(index),
            );
            let forward = || attention::forward(shape, &pass.layout, q, k, v, o, lse);
            pass.profile.time(Part::AttentionForward, 2 * work, forward);
        }
        Some(cache) => {
            cache.append(&pass.layout, k.read(kv_size), v.read(kv_size));
            attention::forward(shape, &pass.layout, q, &cache.k, &cache.v, o, lse);
        }
    }
}

/// x += the output of attention (O) or of the MLP (Down) through its projection, normalised where the family does so.
fn add_output(
    linears: Linears<'_, '_, '_>,
    projection: Projection,
    x: &mut [f32],
    saved: &mut Saved,
    scratch: &mut Scratch,
) {
    let Linears { pass, layer, .. } = linears;
    let Saved {
        o,
        attention_output,
        attention_output_rstd,
        mlp_output,
        mlp_output_rstd,
        u,
        ..
    } = saved;
    let Scratch {
        activated,
        normed,
        project,
        ..
    } = scratch;
    let (input, gamma, output, rstd) = match projection {
        O => (
            o.read(linears.size(Q)),
            &layer.attention_output_norm,
            attention_output,
            attention_output_rstd,
        ),
        _ => (
            activated.read(linears.size(Gate)),
            &layer.mlp_output_norm,
            mlp_output,
            mlp_output_rstd,
        ),
    };
    let Some(gamma) = gamma else {
        return linears.forward(projection, input, x, true, u, project);
    };
    linears.forward(projection, input, output.get(x.len()), false, u, project);
    let n = normed.get(x.len());
    norm::forward(
        output.read(x.len()),
        gamma,
        pass.eps(),
        n,
        rstd.get(linears.rows),
    );
    x.par_chunks_mut(ADD)
        .zip(n.par_chunks(ADD))
        .for_each(|(x, n)| vector::add(x, n));
}

/// Values added at once by a thread.
const ADD: usize = 1 << 14;

/// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's `gradients`. If only some
/// rows of the output were `wanted`, the first of dx are theirs. `saved.gate` and `saved.up` are overwritten.
pub(super) fn backward(
    pass: &Pass<'_>,
    index: usize,
    layer: &Layer<'_>,
    dx: &mut [f32],
    saved: &mut Saved,
    gradients: &mut [f32],
    wanted: Option<&[usize]>,
    scratch: &mut Scratch,
) {
    let t = pass.tokens();
    let linears = Linears {
        pass,
        index,
        layer,
        rows: wanted.map_or(t, <[usize]>::len),
    };
    output_part_backward(
        linears,
        &mut dx[..linears.size(O)],
        saved,
        gradients,
        scratch,
    );
    let linears = Linears { rows: t, ..linears };
    if let Some(rows) = wanted {
        let size = linears.size(Q);
        [&mut *dx, scratch.d_o.get(size), saved.o.get(size)]
            .into_iter()
            .for_each(|all| rows::spread(rows, all, t));
    }

    attend_backward(linears, saved, gradients, scratch);
    let Saved {
        x, input_rstd, u, ..
    } = saved;
    let Scratch {
        normed,
        d_normed,
        d_q,
        d_k,
        d_v,
        stacked,
        project,
        ..
    } = scratch;
    let hidden = linears.size(O);
    let (n, dn) = (normed.get(hidden), d_normed.get(hidden));
    let (x, rstd) = (x.read(hidden), input_rstd.read(t));
    pass.profile.time(Part::Norm, 0, || {
        norm::recompute(x, &layer.input_norm, rstd, n)
    });
    let (q_size, kv_size) = (pass.size(Q), pass.size(K));
    let outputs = &[
        (Q, d_q.read(q_size)),
        (K, d_k.read(kv_size)),
        (V, d_v.read(kv_size)),
    ];
    linears.fan_in(n, outputs, dn, u, gradients, stacked, project);
    pass.binding
        .norm_gradient((Some(index), Norm::Input), x, rstd, dn, gradients);
    pass.profile.time(Part::Norm, 0, || {
        norm::backward(x, &layer.input_norm, rstd, dn, dx)
    });
}

/// From the layer's output back to that of attention: dx (T, H) becomes the gradient of the hidden state before O was added,
/// `scratch.d_o` that of attention's output.
fn output_part_backward(
    linears: Linears<'_, '_, '_>,
    dx: &mut [f32],
    saved: &mut Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let Linears {
        pass,
        index,
        layer,
        rows: t,
    } = linears;
    let (hidden, wide) = (linears.size(O), linears.size(Gate));
    let (gate, up, out) = (
        saved.gate.read(wide),
        saved.up.read(wide),
        scratch.activated.get(wide),
    );
    pass.profile.time(Part::Activation, 0, || {
        glu::forward(pass.activation(), gate, up, out)
    });
    output_backward(linears, Down, dx, saved, gradients, scratch);
    let Saved {
        gate,
        up,
        u,
        middle,
        middle_rstd,
        ..
    } = &mut *saved;
    let (d, to_gate, to_up) = (scratch.d_activated.read(wide), gate.get(wide), up.get(wide));
    pass.profile.time(Part::Activation, 0, || {
        glu::backward(pass.activation(), d, to_gate, to_up)
    });
    let Scratch {
        normed,
        d_normed,
        stacked,
        project,
        ..
    } = &mut *scratch;
    let (n, dn) = (normed.get(hidden), d_normed.get(hidden));
    let (m, rstd) = (middle.read(hidden), middle_rstd.read(t));
    pass.profile.time(Part::Norm, 0, || {
        norm::recompute(m, &layer.mlp_norm, rstd, n)
    });
    let outputs = &[(Gate, gate.read(wide)), (Up, up.read(wide))];
    linears.fan_in(n, outputs, dn, u, gradients, stacked, project);
    pass.binding
        .norm_gradient((Some(index), Norm::MlpInput), m, rstd, dn, gradients);
    pass.profile.time(Part::Norm, 0, || {
        norm::backward(m, &layer.mlp_norm, rstd, dn, dx)
    });

    output_backward(linears, O, dx, saved, gradients, scratch);
}

/// The gradient of the input of O (in `scratch.d_o`) or of Down (in `scratch.d_activated`).
fn output_backward(
    linears: Linears<'_, '_, '_>,
    projection: Projection,
    dx: &[f32],
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let Linears {
        pass,
        layer,
        rows: t,
        ..
    } = linears;
    let Scratch {
        activated,
        d_activated,
        d_o,
        d_normed,
        d_output,
        project,
        ..
    } = scratch;
    let size = linears.input_size(projection);
    let (input, d_input, gamma, output, rstd) = match projection {
        O => (
            &saved.o,
            d_o,
            &layer.attention_output_norm,
            &saved.attention_output,
            &saved.attention_output_rstd,
        ),
        _ => (
            &*activated,
            d_activated,
            &layer.mlp_output_norm,
            &saved.mlp_output,
            &saved.mlp_output_rstd,
        ),
    };
    let (input, d_input) = (input.read(size), d_input.get(size));
    let Some(gamma) = gamma else {
        return linears.backward(
            projection, input, dx, d_input, false, &saved.u, gradients, project,
        );
    };
    let (dn, dy) = (d_normed.get(dx.len()), d_output.get(dx.len()));
    let norm_of = if projection == O {
        Norm::AttentionOutput
    } else {
        Norm::MlpOutput
    };
    pass.binding.norm_gradient(
        (Some(linears.index), norm_of),
        output.read(dx.len()),
        rstd.read(t),
        dx,
        gradients,
    );
    dn.copy_from_slice(dx);
    dy.fill(0.0);
    norm::backward(output.read(dx.len()), gamma, rstd.read(t), dn, dy);
    linears.backward(
        projection, input, dy, d_input, false, &saved.u, gradients, project,
    );
}

/// From `scratch.d_o` to the gradients of the projected queries, keys and values, in `scratch.d_q`, `d_k` and `d_v`.
fn attend_backward(
    linears: Linears<'_, '_, '_>,
    saved: &Saved,
    gradients: &mut [f32],
    scratch: &mut Scratch,
) {
    let Linears {
        pass, index, layer, ..
    } = linears;
    let (shape, q_size, kv_size) = (pass.shape(index), pass.size(Q), pass.size(K));
    let Scratch {
        d_o,
        d_q,
        d_k,
        d_v,
        d_head,
        attention,
        ..
    } = scratch;
    let forward = attention::Saved {
        q: saved.q.read(q_size),
        k: saved.k.read(kv_size),
        v: saved.v.read(kv_size),
        o: saved.o.read(q_size),
        lse: saved.lse.read(pass.tokens() * shape.heads),
        d_o: d_o.read(q_size),
    };
    let (to_q, to_k, to_v) = (d_q.get(q_size), d_k.get(kv_size), d_v.get(kv_size));
    let back = || attention::backward(shape, &pass.layout, forward, to_q, to_k, to_v, attention);
    pass.profile.time(
        Part::AttentionBackward,
        5 * pass.attention_operations(index),
        back,
    );
    pass.rotate(index, Q, d_q.get(q_size), true);
    pass.rotate(index, K, d_k.get(kv_size), true);
    let heads = [
        (
            &layer.query_norm,
            Norm::Query,
            &saved.q_raw,
            &saved.q_rstd,
            &*d_q,
            q_size,
        ),
        (
            &layer.key_norm,
            Norm::Key,
            &saved.k_raw,
            &saved.k_rstd,
            &*d_k,
            kv_size,
        ),
    ];
    for (gamma, norm, raw, rstd, dy, size) in heads {
        let Some(gamma) = gamma else { continue };
        let (raw, rstd) = (raw.read(size), rstd.read(size / gamma.len()));
        pass.binding
            .norm_gradient((Some(index), norm), raw, rstd, dy.read(size), gradients);
    }
    norm_heads_backward(
        layer.query_norm.as_deref(),
        &saved.q_raw,
        &saved.q_rstd,
        d_q,
        d_head,
        q_size,
    );
    norm_heads_backward(
        layer.key_norm.as_deref(),
        &saved.k_raw,
        &saved.k_rstd,
        d_k,
        d_head,
        kv_size,
    );
}

/// The gradient of normalised heads becomes that of the heads before their norm.
fn norm_heads_backward(
    gamma: Option<&[f32]>,
    raw: &Buffer,
    rstd: &Buffer,
    d: &mut Buffer,
    scratch: &mut Buffer,
    size: usize,
) {
    let Some(gamma) = gamma else { return };
    let before = scratch.get(size);
    before.fill(0.0);
    norm::backward(
        raw.read(size),
        gamma,
        rstd.read(size / gamma.len()),
        d.get(size),
        before,
    );
    std::mem::swap(d, scratch);
}

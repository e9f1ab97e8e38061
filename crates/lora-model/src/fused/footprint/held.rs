//! What the buffers hold after a step, every one by name: a new one must be counted here and in `sizes`.
use crate::fused::buffers::{Buffer, Kept, Saved};
use crate::fused::scratch::{ExpertScratch, PerLayerScratch, ProjectScratch, Scratch};

fn sum(buffers: &[&Buffer]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}

/// Values of what a layer keeps.
pub(super) fn of_saved(saved: &Saved) -> usize {
    let Saved {
        x,
        input_rstd,
        q,
        k,
        v,
        q_raw,
        k_raw,
        q_rstd,
        k_rstd,
        o,
        lse,
        ..
    } = saved;
    let Saved {
        rule,
        output_gate,
        o_rstd,
        qkv,
        a,
        b,
        ..
    } = saved;
    let of_rule = sum(&[rule, output_gate, o_rstd, qkv, a, b]);
    let Saved {
        v_raw,
        v_rstd,
        last,
        layer_gate,
        layer_output,
        layer_output_rstd,
        ..
    } = saved;
    let of_input = sum(&[
        v_raw,
        v_rstd,
        last,
        layer_gate,
        layer_output,
        layer_output_rstd,
    ]);
    let Saved {
        attention_output,
        attention_output_rstd,
        middle,
        middle_rstd,
        gate,
        up,
        ..
    } = saved;
    let Saved {
        mlp_output,
        mlp_output_rstd,
        router,
        expert_gate,
        expert_up,
        u,
        ..
    } = saved;
    let inner: usize = u.iter().map(|Kept { u, z }| u.len() + z.len()).sum();
    sum(&[
        x,
        input_rstd,
        q,
        k,
        v,
        q_raw,
        k_raw,
        q_rstd,
        k_rstd,
        o,
        lse,
        attention_output,
        attention_output_rstd,
    ]) + sum(&[middle, middle_rstd, gate, up, mlp_output, mlp_output_rstd])
        + sum(&[router, expert_gate, expert_up])
        + inner
        + of_rule
        + of_input
}

/// Values of the scratch that all layers share.
pub(super) fn of_scratch(scratch: &Scratch) -> usize {
    let Scratch {
        normed,
        activated,
        d_activated,
        d_normed,
        d_o,
        d_q,
        d_k,
        d_v,
        d_head,
        d_output,
        ..
    } = scratch;
    let ExpertScratch {
        rows,
        d_logits,
        d_weights,
        u,
        d_u: d_inner,
        routing,
    } = &scratch.experts;
    let Scratch {
        gated,
        d_gate,
        mixed,
        d_mixed,
        d_qkv,
        d_a,
        d_b,
        ..
    } = scratch;
    let PerLayerScratch {
        inputs,
        d_inputs,
        raw,
        rstd,
        beside,
        table,
        own,
    } = &scratch.per_layer;
    let of_inputs = sum(&[inputs, d_inputs, raw, rstd, beside, table, own]);
    let shared = scratch.shared.values();
    let of_shared: usize = shared
        .map(|own| sum(&[&own.k, &own.v, &own.d_k, &own.d_v]))
        .sum();
    let of_gates = sum(&[gated, d_gate, mixed, d_mixed, d_qkv, d_a, d_b]);
    let ProjectScratch {
        workspace: _,
        dropped,
        d_u,
        d_dropped,
        scaled,
        beyond,
    } = &scratch.project;
    sum(&[
        normed,
        activated,
        d_activated,
        d_normed,
        d_o,
        d_q,
        d_k,
        d_v,
        d_head,
        d_output,
        &scratch.stacked,
    ]) + sum(&[dropped, d_u, d_dropped, scaled, beyond])
        + sum(&[rows, d_logits, d_weights, u, d_inner])
        + routing.values()
        + of_gates
        + of_inputs
        + of_shared
}

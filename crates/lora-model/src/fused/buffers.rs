//! Memory that lives as long as the route: grown to the largest batch seen, never shrunk, never cleared.
use crate::spec::Projection;
use lora_kernels::experts::Routing;
use lora_kernels::linear::Workspace;
use lora_kernels::{attention, memory};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Values that a thread copies at once.
const PART: usize = 1 << 16;

/// A buffer of at least the asked length.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    values: Vec<f32>,
    /// The length that was last asked for.
    used: usize,
}

impl Buffer {
    /// The first `n` values; what they hold is left over from earlier use.
    pub(super) fn get(&mut self, n: usize) -> &mut [f32] {
        self.used = n;
        memory::grow(&mut self.values, n);
        &mut self.values[..n]
    }

    /// Nothing is asked for.
    pub(super) fn forget(&mut self) {
        self.used = 0;
    }

    /// What was last asked for.
    pub(super) fn used(&self) -> &[f32] {
        &self.values[..self.used]
    }

    /// The first `n` values, to read.
    pub(super) fn read(&self, n: usize) -> &[f32] {
        &self.values[..n]
    }

    /// Values held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// A copy of `values`.
    pub(super) fn set(&mut self, values: &[f32]) {
        copy(values, self.get(values.len()));
    }
}

/// to = from, by all threads.
pub(super) fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(PART)
        .zip(from.par_chunks(PART))
        .for_each(|(to, from)| to.copy_from_slice(from));
}

/// What the backward pass of one linear layer needs.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// x·Aᵀ, (T, r).
    pub(super) u: Buffer,
    /// With DoRA, x·Wᵀ + s·u·Bᵀ, (T, out).
    pub(super) z: Buffer,
}

/// How a buffer may be kept until the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// As it is.
    Exact,
    /// Rounded to bfloat16.
    Rounded,
}

/// By [`Projection::index`].
pub(super) type Inner = [Kept; Projection::ALL.len()];

/// What the backward pass of one layer needs of its forward pass. Shapes for T tokens.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Input of the layer, (T, H).
    pub(super) x: Buffer,
    /// 1/rms of the input, (T).
    pub(super) input_rstd: Buffer,
    /// Queries after rotation, (T, heads · d).
    pub(super) q: Buffer,
    /// Keys after rotation, (T, kv_heads · d).
    pub(super) k: Buffer,
    /// Values, (T, kv_heads · d).
    pub(super) v: Buffer,
    /// Queries and keys before the norm of their heads, where there is one.
    pub(super) q_raw: Buffer,
    pub(super) k_raw: Buffer,
    /// 1/rms of their heads, (T, heads).
    pub(super) q_rstd: Buffer,
    pub(super) k_rstd: Buffer,
    /// Values before the norm of their heads, and 1/rms of these, where there is one.
    pub(super) v_raw: Buffer,
    pub(super) v_rstd: Buffer,
    /// Attention output before o_proj and its gate, (T, heads · d); in a recurrent layer that of its rule, (T, values).
    pub(super) o: Buffer,
    /// Log-sum-exp of the scores, (T, heads).
    pub(super) lse: Buffer,
    /// The gate of that output, where there is one, of the same shape.
    pub(super) output_gate: Buffer,
    /// In a recurrent layer 1/rms of each head of its output, (T, value heads).
    pub(super) o_rstd: Buffer,
    /// In a recurrent layer queries, keys and values before its convolution, side by side; in one that has nothing else both
    /// gates and the input.
    pub(super) qkv: Buffer,
    /// What its decay and its β are made of, (T, value heads).
    pub(super) a: Buffer,
    pub(super) b: Buffer,
    /// Output of attention before its norm, (T, H), and 1/rms of it, where there is one.
    pub(super) attention_output: Buffer,
    pub(super) attention_output_rstd: Buffer,
    /// Hidden state between attention and MLP, (T, H).
    pub(super) middle: Buffer,
    /// 1/rms of it, (T).
    pub(super) middle_rstd: Buffer,
    /// Gate before its activation, (T, I).
    pub(super) gate: Buffer,
    /// Up, (T, I).
    pub(super) up: Buffer,
    /// Of a layer with experts, the softmax of its router, (T, E); gate and up are then those of the chosen, (T·k, I).
    pub(super) router: Buffer,
    /// Output of the MLP before its norm, (T, H), and 1/rms of it, where there is one.
    pub(super) mlp_output: Buffer,
    pub(super) mlp_output_rstd: Buffer,
    /// Where layers have inputs of their own: the hidden state after the MLP, (T, H), the gate of the input, (T, P), what is
    /// made of it before its norm, (T, H), and 1/rms of that.
    pub(super) last: Buffer,
    pub(super) layer_gate: Buffer,
    pub(super) layer_output: Buffer,
    pub(super) layer_output_rstd: Buffer,
    pub(super) u: Inner,
}

impl Saved {
    /// Visits every buffer, with how it may be kept. Some must be kept exactly: the log-sum-exp was made from these queries and keys.
    pub(super) fn visit(&mut self, mut visit: impl FnMut(&mut Buffer, Precision)) {
        let Self {
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
        } = self;
        for buffer in [input_rstd, q, k, q_rstd, k_rstd, lse] {
            visit(buffer, Precision::Exact);
        }
        for buffer in [x, v, q_raw, k_raw, o] {
            visit(buffer, Precision::Rounded);
        }
        let Self {
            output_gate,
            o_rstd,
            qkv,
            a,
            b,
            ..
        } = self;
        for buffer in [o_rstd, a, b] {
            visit(buffer, Precision::Exact);
        }
        for buffer in [output_gate, qkv] {
            visit(buffer, Precision::Rounded);
        }
        let Self {
            v_raw,
            v_rstd,
            last,
            layer_gate,
            layer_output,
            layer_output_rstd,
            ..
        } = self;
        for buffer in [v_rstd, layer_output_rstd] {
            visit(buffer, Precision::Exact);
        }
        for buffer in [v_raw, last, layer_gate, layer_output] {
            visit(buffer, Precision::Rounded);
        }
        let Self {
            attention_output,
            attention_output_rstd,
            middle,
            middle_rstd,
            gate,
            up,
            mlp_output,
            mlp_output_rstd,
            router,
            u,
            ..
        } = self;
        for buffer in [attention_output_rstd, middle_rstd, mlp_output_rstd, router] {
            visit(buffer, Precision::Exact);
        }
        for buffer in [attention_output, middle, gate, up, mlp_output] {
            visit(buffer, Precision::Rounded);
        }
        for Kept { u, z } in u {
            visit(u, Precision::Rounded);
            visit(z, Precision::Rounded);
        }
    }
}

/// Scratch that no layer keeps.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Normalised hidden state, (T, H).
    pub(super) normed: Buffer,
    /// activation(gate)∘up, (T, I).
    pub(super) activated: Buffer,
    /// Gradient of `activated`, (T, I).
    pub(super) d_activated: Buffer,
    /// Gradient of a normalised hidden state, (T, H).
    pub(super) d_normed: Buffer,
    /// Gradients of o, q, k, v.
    pub(super) d_o: Buffer,
    pub(super) d_q: Buffer,
    pub(super) d_k: Buffer,
    pub(super) d_v: Buffer,
    /// Attention's or the rule's output as the output projection reads it, where there is a gate.
    pub(super) gated: Buffer,
    /// Gradient of that gate.
    pub(super) d_gate: Buffer,
    /// In a recurrent layer queries, keys and values behind its convolution, their gradient, and that before it. In one that
    /// has nothing else what the convolution reads, what it gives, and the gradient of both gates and the input.
    pub(super) mixed: Buffer,
    pub(super) d_mixed: Buffer,
    pub(super) d_qkv: Buffer,
    /// Gradients of what its decay and its β are made of.
    pub(super) d_a: Buffer,
    pub(super) d_b: Buffer,
    /// Gradient of heads before their norm.
    pub(super) d_head: Buffer,
    /// Gradient of the output of attention or MLP before its norm, (T, H).
    pub(super) d_output: Buffer,
    /// Outputs of a stacked linear layer, or their gradients.
    pub(super) stacked: Buffer,
    pub(super) experts: ExpertScratch,
    /// Keys and values that later layers read.
    pub(super) shared: Shared,
    /// Inputs of each layer.
    pub(super) per_layer: PerLayerScratch,
    pub(super) project: ProjectScratch,
    /// Of attention's backward pass.
    pub(super) attention: attention::Workspace,
}

/// Scratch of mixtures of experts.
#[derive(Debug, Default)]
pub(super) struct ExpertScratch {
    /// What the chosen experts read or give, or its gradient, (T·k, H).
    pub(super) rows: Buffer,
    /// Gradient of the router's logits, (T, E).
    pub(super) d_logits: Buffer,
    /// Gradient of the weights of what the experts give, (T·k).
    pub(super) d_weights: Buffer,
    /// What factors make of an input, (T·k, r) or of a router's (T, r), and its gradient.
    pub(super) u: Buffer,
    pub(super) d_u: Buffer,
    /// Who chose whom.
    pub(super) routing: Routing,
}

/// Memory of the layers' inputs. P: width of one layer's, L: layers.
#[derive(Debug, Default)]
pub(super) struct PerLayerScratch {
    /// The inputs, (L, T, P).
    pub(super) inputs: Buffer,
    /// Their gradients.
    pub(super) d_inputs: Buffer,
    /// The projected embedding before its norm, (T, L·P), and 1/rms of each layer's part, (T·L).
    pub(super) raw: Buffer,
    pub(super) rstd: Buffer,
    /// All layers' side by side, (T, L·P), twice.
    pub(super) beside: Buffer,
    pub(super) table: Buffer,
    /// Those of the layer at work, of the rows at work, (T, P).
    pub(super) own: Buffer,
}

/// Keys and values of one layer, placed, (T, kv_heads · d), and their gradients by the layers that read them.
#[derive(Debug, Default)]
pub(super) struct SharedKeys {
    pub(super) k: Buffer,
    pub(super) v: Buffer,
    pub(super) d_k: Buffer,
    pub(super) d_v: Buffer,
}

/// By the layer whose they are.
pub(super) type Shared = BTreeMap<usize, SharedKeys>;

/// Memory of the head and the loss. n = rows whose logits are wanted.
#[derive(Debug, Default)]
pub(super) struct HeadBuffers {
    /// Hidden rows before the last norm, (n, H).
    pub(super) rows: Buffer,
    /// The same after it; then their gradient.
    pub(super) normed: Buffer,
    pub(super) rstd: Buffer,
    pub(super) d_rows: Buffer,
    /// Of a head at which nothing trains.
    pub(super) workspace: Workspace,
    /// Of a head at which something trains.
    pub(super) kept: Kept,
    /// A chunk of logits.
    pub(super) logits: Vec<f32>,
}

/// Scratch of one projection.
#[derive(Debug, Default)]
pub(super) struct ProjectScratch {
    /// Packed operands.
    pub(super) workspace: Workspace,
    /// The input after dropout, (T, in).
    pub(super) dropped: Buffer,
    /// Gradient of x·Aᵀ, (T, r).
    pub(super) d_u: Buffer,
    /// Gradient of the dropped input, (T, in).
    pub(super) d_dropped: Buffer,
    /// With DoRA, gain∘dy, (T, out).
    pub(super) scaled: Buffer,
    /// With DoRA under dropout, gain∘dy − dy, (T, out).
    pub(super) beyond: Buffer,
}

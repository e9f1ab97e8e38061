//! Memory that lives as long as the route: grown to the largest batch seen, never shrunk, never cleared. What layers keep for
//! their backward pass; what they don't keep is in `scratch`.
use crate::spec::Projection;
use lora_kernels::memory;
use rayon::prelude::*;

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

    /// The same, to change.
    pub(super) fn used_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.used]
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
    /// Attention output before o_proj and its gate, (T, heads · d); of Gated DeltaNet that of its rule, (T, values).
    pub(super) o: Buffer,
    /// Output of Mamba-2's rule, which can stand beside attention, (T, heads · width).
    pub(super) rule: Buffer,
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
    /// Of a layer with experts, what its router made of its logits, (T, E), and gate and up of those that are chosen, (T·k, I).
    pub(super) router: Buffer,
    pub(super) expert_gate: Buffer,
    pub(super) expert_up: Buffer,
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
            rule,
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
        for buffer in [rule, output_gate, qkv] {
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
            ..
        } = self;
        for buffer in [attention_output_rstd, middle_rstd, mlp_output_rstd] {
            visit(buffer, Precision::Exact);
        }
        for buffer in [attention_output, middle, gate, up, mlp_output] {
            visit(buffer, Precision::Rounded);
        }
        let Self {
            router,
            expert_gate,
            expert_up,
            u,
            ..
        } = self;
        visit(router, Precision::Exact);
        visit(expert_gate, Precision::Rounded);
        visit(expert_up, Precision::Rounded);
        for Kept { u, z } in u {
            visit(u, Precision::Rounded);
            visit(z, Precision::Rounded);
        }
    }
}

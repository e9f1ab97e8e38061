//! Memory that lives as long as the route: grown to the largest batch seen, never shrunk, never cleared.
use crate::spec::Projection;

/// A buffer of at least the asked length.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// The first `n` values; what they hold is left over from earlier use.
    pub(super) fn get(&mut self, n: usize) -> &mut [f32] {
        if self.0.len() < n {
            // Batches differ a little in length, and a buffer that moves leaves a hole of its size behind. Room that is
            // never touched costs no memory.
            self.0.reserve_exact(n + n / 4 - self.0.len());
            self.0.resize(n, 0.0);
        }
        &mut self.0[..n]
    }

    /// The first `n` values, to read.
    pub(super) fn read(&self, n: usize) -> &[f32] {
        &self.0[..n]
    }

    /// Values held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A copy of `values`.
    pub(super) fn set(&mut self, values: &[f32]) {
        self.get(values.len()).copy_from_slice(values);
    }
}

/// What the backward pass of one linear layer needs.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// x·Aᵀ, (T, r).
    pub(super) u: Buffer,
    /// With DoRA, x·Wᵀ + s·u·Bᵀ, (T, out).
    pub(super) z: Buffer,
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
    /// Attention output before o_proj, (T, heads · d).
    pub(super) o: Buffer,
    /// Log-sum-exp of the scores, (T, heads).
    pub(super) lse: Buffer,
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
    /// Output of the MLP before its norm, (T, H), and 1/rms of it, where there is one.
    pub(super) mlp_output: Buffer,
    pub(super) mlp_output_rstd: Buffer,
    pub(super) u: Inner,
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
    /// Gradient of heads before their norm.
    pub(super) d_head: Buffer,
    /// Gradient of the output of attention or MLP before its norm, (T, H).
    pub(super) d_output: Buffer,
    /// Outputs of a stacked linear layer, or their gradients.
    pub(super) stacked: Buffer,
    pub(super) project: ProjectScratch,
}

/// Scratch of one projection.
#[derive(Debug, Default)]
pub(super) struct ProjectScratch {
    /// Widened rows of W.
    pub(super) panel: Vec<f32>,
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

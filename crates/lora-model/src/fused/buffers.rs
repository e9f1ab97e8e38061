//! Memory that lives as long as the route: grown to the largest batch seen, never shrunk, never cleared.

/// A buffer of at least the asked length.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// The first `n` values; what they hold is left over from earlier use.
    pub(super) fn get(&mut self, n: usize) -> &mut [f32] {
        if self.0.len() < n {
            self.0.resize(n, 0.0);
        }
        &mut self.0[..n]
    }

    /// The first `n` values, to read.
    pub(super) fn read(&self, n: usize) -> &[f32] {
        &self.0[..n]
    }

    /// A copy of `values`.
    pub(super) fn set(&mut self, values: &[f32]) {
        self.get(values.len()).copy_from_slice(values);
    }
}

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
    /// Attention output before o_proj, (T, heads · d).
    pub(super) o: Buffer,
    /// Log-sum-exp of the scores, (T, heads).
    pub(super) lse: Buffer,
    /// Hidden state between attention and MLP, (T, H).
    pub(super) middle: Buffer,
    /// 1/rms of it, (T).
    pub(super) middle_rstd: Buffer,
    /// Gate before SiLU, (T, I).
    pub(super) gate: Buffer,
    /// Up, (T, I).
    pub(super) up: Buffer,
    /// x·Aᵀ of each projection, (T, r).
    pub(super) u: [Buffer; 7],
}

/// Scratch that no layer keeps.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Normalised hidden state, (T, H).
    pub(super) normed: Buffer,
    /// silu(gate)∘up, (T, I).
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
}

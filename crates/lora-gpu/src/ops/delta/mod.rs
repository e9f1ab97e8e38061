//! The gated delta rule (Yang, Kautz and Hatamizadeh 2024) in chunks of 64 rows: within a chunk what is written solves a triangular
//! system, whose inverse is made for all chunks at once; only the state goes from chunk to chunk, that of all sequences and heads
//! in one product a step (`kernels/delta.cu` has the formulas).
//!
//! `room` is the memory that it works in, `forward` and `backward` are the passes, each from what the convolution gave; `token` is
//! one more token of each text, in generation.
mod backward;
mod forward;
mod room;
mod token;

pub use backward::DeltaGradients;
pub use room::delta_bytes;

use super::chunks::ChunkSteps;
use super::{check_mat, check_tensor};
use crate::{Dtype, Gpu, Mat, Tensor};

/// Heads and their widths. Each key head, with its queries, serves `value_heads / key_heads` neighbouring value heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads of queries and of keys.
    pub key_heads: usize,
    /// Heads of values, gates and states.
    pub value_heads: usize,
    /// Width of a query and of a key, d.
    pub key_dim: usize,
    /// Width of a value, n.
    pub value_dim: usize,
}

impl DeltaShape {
    /// Columns of queries, keys and values side by side.
    #[must_use]
    pub fn columns(self) -> usize {
        self.keys() + self.values()
    }

    /// Columns of queries and keys.
    fn keys(self) -> usize {
        2 * self.key_heads * self.key_dim
    }

    /// Columns of values, and of the output.
    #[must_use]
    pub fn values(self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Values of the states of all heads.
    #[must_use]
    pub fn states(self) -> usize {
        self.value_heads * self.state()
    }

    /// Values of a head's state.
    fn state(self) -> usize {
        self.key_dim * self.value_dim
    }

    /// Value heads of a key head.
    fn group(self) -> usize {
        self.value_heads / self.key_heads
    }
}

/// What the rule reads.
#[derive(Debug, Clone, Copy)]
pub struct DeltaInputs<'t> {
    /// Its heads.
    pub shape: DeltaShape,
    /// Which rows follow each other.
    pub chunks: &'t ChunkSteps,
    /// Queries, keys and values of all heads side by side, activations (T, columns).
    pub mixed: Mat<'t>,
    /// What decay is made of, activations (T, value heads).
    pub a: Mat<'t>,
    /// What β is made of, activations (T, value heads).
    pub b: Mat<'t>,
    /// The logarithm of the rate of decay, f32 (value heads).
    pub a_log: &'t Tensor,
    /// Added to a, f32 (value heads).
    pub dt_bias: &'t Tensor,
}

impl<'t> DeltaInputs<'t> {
    fn values(&self) -> Mat<'t> {
        self.mixed
            .of_columns(self.shape.keys()..self.shape.columns())
    }

    fn check(&self, gpu: &Gpu) {
        let DeltaShape {
            key_heads,
            value_heads,
            ..
        } = self.shape;
        assert!(
            key_heads > 0 && value_heads > 0 && value_heads.is_multiple_of(key_heads),
            "{value_heads} value heads of {key_heads} key heads"
        );
        let (rows, dtype) = (self.chunks.rows(), gpu.dtype());
        check_mat("q, k and v", self.mixed, dtype, rows, self.shape.columns());
        check_mat("what decay is made of", self.a, dtype, rows, value_heads);
        check_mat("what β is made of", self.b, dtype, rows, value_heads);
        for learned in [self.a_log, self.dt_bias] {
            check_tensor("what gates learn", learned, Dtype::F32, value_heads);
        }
    }
}

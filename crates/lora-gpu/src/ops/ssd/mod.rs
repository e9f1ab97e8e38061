//! Mamba-2's state space rule (Dao and Gu 2024) in chunks of 64 rows: the products are the device's, over all chunks at once, and
//! the state goes from chunk to chunk (`kernels/ssd.cu` has the formulas).
//!
//! `room` is the memory that it works in, `forward` and `backward` are the passes, each from what the convolution gave; `token` is
//! one more token of each text, in generation.
mod backward;
mod forward;
mod room;
mod token;

pub use backward::SsdGradients;
pub use room::ssd_bytes;

use super::chunks::Chunks;
use super::{check_mat, check_tensor};
use crate::{Dtype, Gpu, Mat, Tensor};

/// Heads and their widths. B and C of each group serve `heads / groups` neighbouring heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SsdShape {
    /// Heads.
    pub heads: usize,
    /// Groups of heads.
    pub groups: usize,
    /// Width of a head of x and of the output.
    pub width: usize,
    /// Width of B and C.
    pub state: usize,
}

impl SsdShape {
    /// Columns of x, B and C side by side.
    #[must_use]
    pub fn columns(self) -> usize {
        self.values() + self.sides()
    }

    /// Columns of x, and of the output.
    #[must_use]
    pub fn values(self) -> usize {
        self.heads * self.width
    }

    /// Columns of B and C.
    fn sides(self) -> usize {
        2 * self.groups * self.state
    }

    /// Columns of x of a group.
    fn group_values(self) -> usize {
        self.values() / self.groups
    }

    /// Values of the states of all heads.
    #[must_use]
    pub fn states(self) -> usize {
        self.state * self.values()
    }
}

/// What a layer learns, one number a head each in f32, and the limits of its steps.
#[derive(Debug, Clone, Copy)]
pub struct SsdLearned<'t> {
    /// The logarithm of the rate of decay, −A.
    pub a_log: &'t Tensor,
    /// Added to what steps are made of.
    pub dt_bias: &'t Tensor,
    /// What of x goes past the state.
    pub skip: &'t Tensor,
    /// The least and the largest step.
    pub limits: [f32; 2],
}

/// What the rule reads.
#[derive(Debug, Clone, Copy)]
pub struct SsdInputs<'t> {
    /// Its heads.
    pub shape: SsdShape,
    /// Which rows follow each other.
    pub chunks: &'t Chunks,
    /// x of all heads, B and C of all groups side by side, activations (T, columns).
    pub mixed: Mat<'t>,
    /// What steps are made of, activations (T, heads).
    pub dt: Mat<'t>,
    /// What the layer has learned.
    pub learned: SsdLearned<'t>,
}

impl<'t> SsdInputs<'t> {
    fn x(&self) -> Mat<'t> {
        self.mixed.of_columns(0..self.shape.values())
    }

    fn sides(&self) -> Mat<'t> {
        self.mixed
            .of_columns(self.shape.values()..self.shape.columns())
    }

    fn check(&self, gpu: &Gpu) {
        let SsdShape { heads, groups, .. } = self.shape;
        assert!(
            groups > 0 && heads > 0 && heads.is_multiple_of(groups),
            "{heads} heads in {groups} groups"
        );
        let (rows, dtype) = (self.chunks.rows, gpu.dtype());
        check_mat("x, B and C", self.mixed, dtype, rows, self.shape.columns());
        check_mat("what steps are made of", self.dt, dtype, rows, heads);
        let learned = [self.learned.a_log, self.learned.dt_bias, self.learned.skip];
        for values in learned {
            check_tensor("what heads learn", values, Dtype::F32, heads);
        }
    }
}

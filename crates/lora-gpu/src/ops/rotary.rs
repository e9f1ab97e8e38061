//! Rotary position embedding.
use super::{Args, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// By which angles the rows of a matrix of heads are turned.
#[derive(Debug, Clone, Copy)]
pub struct Rotary<'t> {
    /// cos | sin of every position: (N, 2·half) in f32.
    pub table: &'t Tensor,
    /// Pairs of a head. Features from 2·half on stay as they are.
    pub half: usize,
    /// Which features are turned together.
    pub pairs: Pairs,
    /// The row of `table` for each row, u32.
    pub rows: &'t Tensor,
    /// Features of a head.
    pub head_dim: usize,
}

/// Which features of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// i and i + half.
    Halves,
    /// 2i and 2i + 1.
    Neighbours,
}

impl Gpu {
    /// Turns every head of x (T, heads·d), activations, in place, or back.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit. That rows lie in the table is the caller's promise.
    pub fn rotate(&self, x: Mat<'_>, rotary: Rotary<'_>, back: bool) -> Result<(), Error> {
        let Rotary {
            table,
            half,
            pairs,
            rows,
            head_dim,
        } = rotary;
        let (step, apart) = match pairs {
            Pairs::Halves => (1, half),
            Pairs::Neighbours => (2, 1),
        };
        assert!(
            head_dim > 0 && 2 * half <= head_dim && x.columns().is_multiple_of(head_dim),
            "{half} pairs of heads of {head_dim} in rows of {}",
            x.columns()
        );
        check_mat("heads", x, self.dtype(), x.rows(), x.columns());
        check_tensor("angles", table, Dtype::F32, 2 * half);
        check_tensor("rows of angles", rows, Dtype::U32, x.rows());
        let pairs = x.columns() / head_dim * half;
        if pairs == 0 {
            return Ok(());
        }
        let args = Args::new()
            .mat(x)
            .tensor(table, 0)
            .tensor(rows, 0)
            .int(half)
            .int(step)
            .int(apart)
            .int(head_dim)
            .float(if back { -1.0 } else { 1.0 })
            .long(x.rows())
            .long(pairs);
        self.launch("rotate", over_values(x.rows(), pairs), &args)
    }
}

//! The optimiser's step, and the norm of gradients.
use super::{Args, THREADS, check_mat, check_tensor, over_values};
use crate::device::Grid;
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// What AdamW multiplies with in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// What gradients are multiplied by first.
    pub clip: f32,
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε, added outside the root.
    pub eps: f32,
    /// What parameters are multiplied by: 1 − learning rate · weight decay.
    pub decay: f32,
    /// Learning rate / (1 − β₁ᵗ).
    pub step_size: f32,
    /// √(1 − β₂ᵗ).
    pub correction: f32,
}

/// Parts of a sum of squares.
const PARTS: usize = 512;

impl Gpu {
    /// One step of AdamW in place. All are f32 (1, n): parameters, their gradients, first and second moments.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn adamw(
        &self,
        params: Mat<'_>,
        gradients: Mat<'_>,
        (m, v): (Mat<'_>, Mat<'_>),
        step: AdamStep,
    ) -> Result<(), Error> {
        let count = params.columns();
        let all = [
            ("gradients", gradients),
            ("m", m),
            ("v", v),
            ("parameters", params),
        ];
        for (name, mat) in all {
            check_mat(name, mat, Dtype::F32, 1, count);
        }
        let args = Args::new()
            .first(params)
            .first(gradients)
            .first(m)
            .first(v)
            .long(count)
            .float(step.clip)
            .float(step.beta1)
            .float(step.beta2)
            .float(step.eps)
            .float(step.decay)
            .float(step.step_size)
            .float(step.correction);
        self.launch("adamw", over_values(1, count), &args)
    }

    /// √Σ x² over the first `count` values of a tensor, f32, summed in f64.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If it holds fewer.
    pub fn norm_of(&self, values: &Tensor, count: usize) -> Result<f64, Error> {
        check_tensor("values", values, Dtype::F32, count);
        let parts = self.alloc(Dtype::U8, 8 * PARTS)?;
        let args = Args::new().tensor(values, 0).long(count).tensor(&parts, 0);
        let grid = Grid {
            blocks: [PARTS as u32, 1, 1],
            threads: THREADS as u32,
        };
        self.launch("squares", grid, &args)?;
        let mut bytes = [0u8; 8 * PARTS];
        self.download(&parts, &mut bytes)?;
        let parts = bytes.as_chunks::<8>().0.iter();
        Ok(parts
            .map(|part| f64::from_le_bytes(*part))
            .sum::<f64>()
            .sqrt())
    }
}

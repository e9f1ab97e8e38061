//! A norm of the hidden state or of heads, with its weights as they are multiplied, whatever the file adds to them.
use lora_kernels::layer_norm::{self, Affine};
use lora_kernels::{dora, norm};

/// A vector of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPart {
    /// What is multiplied with.
    Weight,
    /// What is added.
    Bias,
}

/// A norm.
#[derive(Debug)]
pub(super) struct NormLayer {
    /// γ, of the hidden state (H), of each head (d) or of all of them.
    pub(super) gamma: Vec<f32>,
    /// Added after γ, where the family has it.
    pub(super) bias: Option<Vec<f32>>,
    /// LayerNorm, which subtracts the mean; otherwise RMSNorm.
    pub(super) subtracts_mean: bool,
}

impl NormLayer {
    /// Values of a row.
    pub(super) fn width(&self) -> usize {
        self.gamma.len()
    }

    /// One of its vectors.
    pub(super) fn vector_mut(&mut self, part: NormPart) -> Option<&mut Vec<f32>> {
        match part {
            NormPart::Weight => Some(&mut self.gamma),
            NormPart::Bias => self.bias.as_mut(),
        }
    }

    fn affine(&self) -> Affine<'_> {
        Affine {
            gamma: &self.gamma,
            bias: self.bias.as_deref(),
        }
    }

    /// The normalised rows go to n; `rstd` (T) is for the backward pass.
    pub(super) fn forward(&self, x: &[f32], eps: f32, n: &mut [f32], rstd: &mut [f32]) {
        match self.subtracts_mean {
            true => layer_norm::forward(x, self.affine(), eps, n, rstd),
            false => norm::forward(x, &self.gamma, eps, n, rstd),
        }
    }

    /// n as [`Self::forward`] wrote it.
    pub(super) fn again(&self, x: &[f32], rstd: &[f32], n: &mut [f32]) {
        match self.subtracts_mean {
            true => layer_norm::recompute(x, self.affine(), rstd, n),
            false => norm::recompute(x, &self.gamma, rstd, n),
        }
    }

    /// dx += the gradient through the norm of dn, which is used as scratch.
    pub(super) fn backward(&self, x: &[f32], rstd: &[f32], dn: &mut [f32], dx: &mut [f32]) {
        match self.subtracts_mean {
            true => layer_norm::backward(x, &self.gamma, rstd, dn, dx),
            false => norm::backward(x, &self.gamma, rstd, dn, dx),
        }
    }

    /// Adds to the gradient of one of its vectors.
    pub(super) fn gradient(
        &self,
        part: NormPart,
        x: &[f32],
        rstd: &[f32],
        dn: &[f32],
        to: &mut [f32],
    ) {
        match (part, self.subtracts_mean) {
            (NormPart::Weight, true) => layer_norm::weight_gradient(x, rstd, dn, to),
            (NormPart::Weight, false) => norm::weight_gradient(x, rstd, dn, to),
            (NormPart::Bias, _) => dora::bias_gradient(dn, 1.0, to),
        }
    }
}

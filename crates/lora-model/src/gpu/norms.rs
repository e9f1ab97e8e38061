//! A norm on the device. γ has whatever the file adds to it.
use crate::fused::norms::NormPart;
use crate::{Base, Error};
use lora_checkpoint::Norm;
use lora_gpu::{Affine, Dtype, Gpu, Mat, Tensor, Write};

/// A norm of the hidden state.
#[derive(Debug)]
pub(super) struct NormLayer {
    gamma: Tensor,
    bias: Option<Tensor>,
    /// LayerNorm, which subtracts the mean; otherwise RMSNorm.
    subtracts_mean: bool,
}

impl NormLayer {
    /// The norm at a path.
    pub(super) fn load(base: &Base, gpu: &Gpu, path: &str, norm: Norm) -> Result<Self, Error> {
        let facts = base.config().facts();
        let bias = match facts.has_norm_bias(norm) {
            true => {
                let bias = base.checkpoint().tensor(&format!("{path}.bias"))?;
                Some(gpu.uploaded(Dtype::F32, &bias.to_f32())?)
            }
            false => None,
        };
        Ok(Self {
            gamma: gamma(base, gpu, path)?,
            bias,
            subtracts_mean: facts.subtracts_mean(norm),
        })
    }

    /// Whether it is a LayerNorm.
    pub(super) fn subtracts_mean(&self) -> bool {
        self.subtracts_mean
    }

    /// One of its vectors.
    pub(super) fn vector(&self, part: NormPart) -> Option<&Tensor> {
        match part {
            NormPart::Weight => Some(&self.gamma),
            NormPart::Bias => self.bias.as_ref(),
        }
    }

    /// The normalised rows of x, f32 (T, H), go to n; `rstd` (T) is for the backward pass.
    pub(super) fn forward(
        &self,
        gpu: &Gpu,
        x: Mat<'_>,
        eps: f32,
        n: Mat<'_>,
        rstd: &Tensor,
    ) -> Result<(), lora_gpu::Error> {
        if !self.subtracts_mean {
            return gpu.norm(x, &self.gamma, eps, n, rstd);
        }
        let affine = Affine {
            gamma: &self.gamma,
            bias: self.bias.as_ref(),
        };
        gpu.layer_norm(x, affine, eps, n, rstd)
    }

    /// From the gradient of n that of x, f32 (T, H).
    pub(super) fn backward(
        &self,
        gpu: &Gpu,
        x: Mat<'_>,
        rstd: &Tensor,
        dn: Mat<'_>,
        dx: Mat<'_>,
        write: Write,
    ) -> Result<(), lora_gpu::Error> {
        match self.subtracts_mean {
            true => gpu.layer_norm_backward(x, &self.gamma, rstd, dn, dx, write),
            false => gpu.norm_backward(x, &self.gamma, rstd, dn, dx, write),
        }
    }
}

/// γ of a norm.
pub(super) fn gamma(base: &Base, gpu: &Gpu, path: &str) -> Result<Tensor, Error> {
    let offset = base.config().facts().norm_offset;
    let mut gamma = base
        .checkpoint()
        .tensor(&format!("{path}.weight"))?
        .to_f32();
    gamma.iter_mut().for_each(|g| *g += offset);
    Ok(gpu.uploaded(Dtype::F32, &gamma)?)
}

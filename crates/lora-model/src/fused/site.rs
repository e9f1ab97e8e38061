//! What trains at one linear layer or at the embedding, ready to compute with.
use super::matrix::Matrix;
use super::patched::Patched;
use lora_kernels::Rows;
use lora_kernels::lora::Lora;
use lora_kernels::rows::Dense;
use lora_random::Mask;
use std::ops::Range;

/// What trains at one linear layer or at the embedding.
#[derive(Debug, Default)]
pub(super) struct Site<'s> {
    pub(super) lora: Option<Lora<'s>>,
    pub(super) lora_bias: Option<&'s [f32]>,
    pub(super) dora: Option<&'s Dora>,
    /// A and B that were taken out of the base.
    pub(super) origin: Option<Lora<'s>>,
    pub(super) mask: Option<Mask>,
    pub(super) weight: Option<Dense<'s>>,
    /// The weight, where some of its rows train.
    pub(super) patched: Option<Patched<'s>>,
    pub(super) places: Places,
}

/// ‖W + s·B·A‖ of each output, and m divided by it.
#[derive(Debug)]
pub(super) struct Dora {
    pub(super) norms: Vec<f32>,
    pub(super) gain: Vec<f32>,
}

/// Where the gradients go in the flat vector.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) factors: Option<Factors>,
    pub(super) lora_bias: Option<Range<usize>>,
    pub(super) magnitude: Option<Range<usize>>,
    pub(super) weight: Option<Range<usize>>,
    pub(super) bias: Option<Range<usize>>,
}

/// The places of A and B; B lies behind A.
#[derive(Debug)]
pub(super) struct Factors {
    pub(super) a: Range<usize>,
    pub(super) b: Range<usize>,
}

impl Factors {
    /// The gradients of A and B.
    pub(super) fn of<'g>(&self, gradients: &'g mut [f32]) -> [&'g mut [f32]; 2] {
        let (head, tail) = gradients.split_at_mut(self.b.start);
        [&mut head[self.a.clone()], &mut tail[..self.b.len()]]
    }
}

impl Site<'_> {
    /// The weight that trains, or the base's.
    pub(super) fn weight<'w>(&'w self, base: &'w Matrix<'_>) -> &'w dyn Rows {
        match (&self.weight, &self.patched) {
            (Some(trained), _) => trained,
            (None, Some(patched)) => patched,
            (None, None) => base,
        }
    }

    /// True if nothing trains here.
    pub(super) fn is_plain(&self) -> bool {
        self.lora.is_none() && self.weight.is_none() && self.patched.is_none()
    }
}

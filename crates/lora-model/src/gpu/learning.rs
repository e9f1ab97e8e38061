//! What learns on the device: moments, and sums of gradients.
use super::buffer::Buffer;
use crate::Error;
use lora_gpu::{Dtype, Gpu, Tensor};

/// What is kept between the steps, beside the parameters.
#[derive(Debug)]
pub(super) struct Learning {
    pub(super) count: usize,
    pub(super) m: Tensor,
    pub(super) v: Tensor,
    pub(super) sum: TreeSum,
}

/// Sums of gradients over one fixed binary tree, see lora-training's.
#[derive(Debug, Default)]
pub(super) struct TreeSum {
    buffers: Vec<Buffer>,
    /// Leaves in each live sum, larger ones first.
    pub(super) leaves: Vec<usize>,
}

impl TreeSum {
    /// The next leaf, all zero.
    pub(super) fn leaf(&mut self, gpu: &Gpu, count: usize) -> Result<Tensor, Error> {
        let at = self.leaves.len();
        if at == self.buffers.len() {
            self.buffers.push(Buffer::new(Dtype::F32));
        }
        self.leaves.push(1);
        let leaf = self.buffers[at].get(gpu, count)?;
        gpu.zero(&leaf, count)?;
        Ok(leaf)
    }

    /// Adds up whatever subtrees are complete, or all.
    pub(super) fn join(&mut self, gpu: &Gpu, count: usize, all: bool) -> Result<(), Error> {
        while let [.., left, right] = self.leaves[..]
            && (all || left == right)
        {
            let at = self.leaves.len() - 1;
            let from = self.buffers[at].get(gpu, count)?;
            let to = self.buffers[at - 1].get(gpu, count)?;
            gpu.add(from.mat(1, count), to.mat(1, count))?;
            self.leaves.pop();
            self.leaves[at - 1] += right;
        }
        Ok(())
    }
}

impl Learning {
    /// The sum of all leaves.
    pub(super) fn total(&mut self, gpu: &Gpu) -> Result<Tensor, Error> {
        if self.sum.leaves.is_empty() {
            return self.sum.leaf(gpu, self.count);
        }
        self.sum.join(gpu, self.count, true)?;
        Ok(self.sum.buffers[0].get(gpu, self.count)?)
    }
}

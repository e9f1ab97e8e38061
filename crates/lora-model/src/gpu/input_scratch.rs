//! Memory for the inputs of all layers in a pass, where layers have such.
use super::buffer::Buffer;
use lora_checkpoint::ModelConfig;
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// Sizes for a row: L and L·P.
fn sizes(config: &ModelConfig) -> (usize, usize) {
    let table = config.per_layer_table();
    table.map_or((0, 0), |(_, [_, columns])| {
        (config.num_hidden_layers, columns)
    })
}

/// Bytes of what a pass of T rows holds of them.
pub(super) fn bytes(config: &ModelConfig, t: usize, act: usize) -> usize {
    let (layers, all) = sizes(config);
    t * (2 * act * all + 4 * layers)
}

/// Memory for them.
#[derive(Debug)]
pub(super) struct InputBuffers {
    /// L and L·P.
    sizes: (usize, usize),
    raw: Buffer,
    rstd: Buffer,
    all: Buffer,
}

impl InputBuffers {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig) -> Self {
        Self {
            sizes: sizes(config),
            raw: Buffer::new(gpu.dtype()),
            rstd: Buffer::new(Dtype::F32),
            all: Buffer::new(gpu.dtype()),
        }
    }

    pub(super) fn get(&mut self, gpu: &Gpu, rows: usize) -> Result<InputScratch, Error> {
        let (layers, all) = self.sizes;
        Ok(InputScratch {
            raw: self.raw.get(gpu, rows * all)?,
            rstd: self.rstd.get(gpu, rows * layers)?,
            all: self.all.get(gpu, rows * all)?,
        })
    }
}

/// Those of a pass.
#[derive(Debug)]
pub(super) struct InputScratch {
    /// W·x of all layers, (T, L·P), and what its norm is multiplied by, f32 (T, L).
    pub(super) raw: Tensor,
    pub(super) rstd: Tensor,
    /// e of all layers, (T, L·P); after a layer's backward pass the gradient of its own.
    pub(super) all: Tensor,
}

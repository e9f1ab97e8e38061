//! Memory on the device that lives as long as the route: grown to the largest use, never shrunk.
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// Memory for values of one type.
#[derive(Debug)]
pub(super) struct Buffer {
    dtype: Dtype,
    tensor: Option<Tensor>,
}

impl Buffer {
    pub(super) fn new(dtype: Dtype) -> Self {
        Self {
            dtype,
            tensor: None,
        }
    }

    /// Memory for at least `len` values; what they hold is left over from earlier use. New memory holds zeros.
    pub(super) fn get(&mut self, gpu: &Gpu, len: usize) -> Result<Tensor, Error> {
        if let Some(tensor) = self.tensor.as_ref().filter(|t| t.len() >= len) {
            return Ok(tensor.clone());
        }
        self.tensor = None; // given back before the larger one is taken
        let tensor = gpu.alloc(self.dtype, len)?;
        gpu.zero(&tensor, len)?;
        self.tensor = Some(tensor.clone());
        Ok(tensor)
    }

    /// The memory, if it was asked for.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        self.tensor.as_ref()
    }
}

//! Rotary embedding tables, in f32 whatever the model's dtype.
use candle_core::{DType, Device, Result, Tensor};
use lora_checkpoint::ModelConfig;

/// cos and sin of every (position, frequency), each (T, head_dim / 2).
#[derive(Debug, Clone)]
pub(super) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    /// Tables for positions `0..length`.
    pub(super) fn new(config: &ModelConfig, length: usize, device: &Device) -> Result<Self> {
        let frequencies = config.ropes[0].inverse_frequencies(0);
        let half = frequencies.len();
        let positions = Tensor::arange(0u32, length as u32, device)?.to_dtype(DType::F32)?.reshape((length, 1))?;
        let angles = positions.matmul(&Tensor::from_vec(frequencies, (1, half), device)?)?; // (T, d/2)
        Ok(Self { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// Rotates (B, heads, T, d) by position: feature i is paired with i + d/2 (transformers' `rotate_half`).
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, length, width) = x.dims4()?;
        let (cos, sin) = (self.cos.narrow(0, 0, length)?, self.sin.narrow(0, 0, length)?);
        let first = x.narrow(3, 0, width / 2)?;
        let second = x.narrow(3, width / 2, width / 2)?;
        let rotated_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
        let rotated_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
        Tensor::cat(&[rotated_first, rotated_second], 3)
    }
}

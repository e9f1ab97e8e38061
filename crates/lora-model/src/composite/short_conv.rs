//! Causal convolutions in the graph, and a layer that has nothing else: c∘conv(b∘x).
use super::graph::Graph;
use candle_core::{D, Error, Result, Tensor};
use lora_checkpoint::{Projection, ShortConv};

impl Graph<'_> {
    /// Output of a layer of a short convolution, (T, H) -> (T, H).
    pub(super) fn short_conv(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let Some(own) = self.config.short_conv else {
            return Err(Error::Msg("a short convolution without taps".into()));
        };
        let width = self.config.hidden_size;
        let taps = self.weight(&format!("model.layers.{layer}.{}", ShortConv::PATH))?;
        let taps = taps.reshape((width, own.taps))?;
        let sides = self.projection(x, layer, Projection::ConvIn, &mut None)?;
        let side = |index: usize| sides.narrow(D::Minus1, index * width, width);
        let entered = (side(0)? * side(2)?)?;
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let (batch, length) = (run.sequences, run.length);
            let rows = entered.narrow(0, run.row, batch * length)?;
            let rows = rows.reshape((batch, length, width))?;
            outputs.push(convolve(&rows, &taps)?.reshape((batch * length, width))?);
        }
        let y = (Tensor::cat(&outputs, 0)? * side(1)?)?;
        self.projection(&y, layer, Projection::ConvOut, &mut None)
    }
}

/// The causal convolution of each column, (B, length, columns) by (columns, taps).
pub(super) fn convolve(x: &Tensor, taps: &Tensor) -> Result<Tensor> {
    let (batch, length, columns) = x.dims3()?;
    let count = taps.dim(1)?;
    let zeros = Tensor::zeros((batch, count - 1, columns), x.dtype(), x.device())?;
    let padded = Tensor::cat(&[&zeros, x], 1)?;
    let mut sum: Option<Tensor> = None;
    for tap in 0..count {
        let weight = taps.narrow(1, tap, 1)?.reshape((1, 1, columns))?;
        let term = padded.narrow(1, tap, length)?.broadcast_mul(&weight)?;
        sum = Some(match sum {
            None => term,
            Some(sum) => (sum + term)?,
        });
    }
    sum.ok_or_else(|| Error::Msg("a convolution without taps".into()))
}

//! How many layers of a run may keep their activations on the device.
use super::engine::Engine;
use super::predict::GpuPeak;
use super::sizes::Sizes;
use crate::{BatchSize, Error};

/// How a run uses the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Layers that keep their activations until their backward pass.
    pub kept_layers: usize,
    /// Layers that are computed again.
    pub recomputed_layers: usize,
    /// Bytes of weights and what else is there already.
    pub held_bytes: u64,
    /// Bytes of the adapter and of the largest step beside them.
    pub step_bytes: u64,
}

impl Engine<'_> {
    /// Chooses how many layers keep their activations, for the largest batch of a run.
    ///
    /// # Errors
    /// If not even a step that keeps nothing fits.
    pub(super) fn fit(
        &mut self,
        batch: BatchSize,
        parameters: usize,
        drops: bool,
        budget: Option<u64>,
    ) -> Result<GpuMemory, Error> {
        let free = self.gpu.free_memory()?;
        let total = self.gpu.identity().total_memory;
        let held = total.saturating_sub(free);
        let may = budget.map_or(free, |b| b.saturating_sub(held).min(free));
        let sizes = Sizes::of(&self.weights, parameters, self.lowest);
        let peak = GpuPeak::of(self.config, &sizes, batch, drops, self.gpu.dtype());
        let Some(kept) = peak.kept_within(may) else {
            let (tokens, least) = (batch.tokens, peak.total(0));
            let gigabytes = |bytes: u64| bytes as f64 * 1e-9;
            return Err(Error::invalid(format!(
                "a step of {tokens} tokens takes {:.2} GB of the GPU's memory even if every layer is computed again, and {:.2} GB are free",
                gigabytes(least),
                gigabytes(may)
            ))
            .hint("a smaller --batch (or --batch-tokens), shorter rows or a 4-bit base take less; --device cpu works, too"));
        };
        self.kept = kept;
        Ok(GpuMemory {
            kept_layers: kept,
            recomputed_layers: peak.step.layers.len() - kept,
            held_bytes: held,
            step_bytes: peak.total(kept),
        })
    }
}

//! How much of the device's memory a training step takes, and how many layers may keep their activations.
use super::attend;
use super::engine::Engine;
use super::head;
use super::scratch::{Saved, Widths};
use crate::{BatchSize, Error};

/// How a run uses the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Layers that keep their activations until their backward pass.
    pub kept_layers: usize,
    /// Layers that are computed again.
    pub recomputed_layers: usize,
    /// Bytes of weights, factors and what else is there already.
    pub held_bytes: u64,
    /// Bytes of the largest step beside them.
    pub step_bytes: u64,
}

/// What a step takes, in bytes.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Activations of one layer.
    layer: u64,
    /// The input of a layer that is computed again.
    input: u64,
    /// Everything else, with the activations of the layer at work.
    shared: u64,
}

/// The share of the free memory that is planned with: the rest is for what allocations round up to.
const SHARE: f64 = 0.94;

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
        let may = (may as f64 * SHARE) as u64;
        let step = self.bytes(batch, parameters, drops);
        let layers = self.config.num_hidden_layers as u64;
        let others = layers.saturating_sub(1); // the last one's activations are those at work
        let least = step.shared + others * step.input;
        if least > may {
            let tokens = batch.tokens;
            let gigabytes = |bytes: u64| bytes as f64 * 1e-9;
            return Err(Error::invalid(format!(
                "a step of {tokens} tokens takes {:.2} GB of the GPU's memory even if every layer is computed again, and {:.2} GB are free",
                gigabytes(least),
                gigabytes(may)
            ))
            .hint("a smaller --batch (or --batch-tokens), shorter rows or a 4-bit base take less; --device cpu works, too"));
        }
        let more = step.layer.saturating_sub(step.input).max(1);
        let kept = ((may - least) / more).min(others);
        self.kept = kept as usize;
        Ok(GpuMemory {
            kept_layers: kept as usize,
            recomputed_layers: (others - kept) as usize,
            held_bytes: held,
            step_bytes: least + kept * more,
        })
    }

    fn bytes(&self, batch: BatchSize, parameters: usize, drops: bool) -> Step {
        let act = self.gpu.dtype().bytes();
        let w = Widths::of(self.config, &self.weights.layers);
        let (t, n) = (batch.tokens, batch.supervised);
        let layer = t * Saved::bytes_a_row(w, act);
        let heads = self.config.num_attention_heads;
        let scores = attend::scores_of_length(heads, batch.longest);
        let dropped = if drops { 2 * t * w.widest() } else { 0 };
        let acts = t * (w.widest() + w.qkv().max(2 * w.mlp) + w.hidden)
            + t * (w.queries + w.keys)
            + 2 * w.queries * (t + batch.gathered)
            + dropped
            + 2 * scores
            + self.weights.widened();
        let f32s = 2 * t * w.hidden + 2 * w.queries * (t + batch.gathered) + 2 * scores;
        let head = head::bytes(self.config, n, act);
        let shared = layer + act * acts + 4 * f32s + head + 16 * parameters;
        Step {
            layer: layer as u64,
            input: (4 * t * w.hidden) as u64,
            shared: shared as u64,
        }
    }
}

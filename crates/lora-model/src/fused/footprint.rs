//! How much memory the fused route takes, from shapes alone: every buffer that it holds after a training step.
mod sizes;
#[cfg(test)]
mod tests;

use super::batch_size::{BatchSize, attention_shape};
use super::keep::Plan;
use crate::spec::HEAD;
use lora_checkpoint::ModelConfig;
use lora_core::TargetedModule;

/// Bytes that the route holds beside the weights, which stay where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Activations of one layer: of the one at work, and of each that keeps them all. (The last layer computes less, but an
    /// evaluation between the steps does not.)
    pub all: usize,
    /// Activations of a layer that keeps them in bfloat16.
    pub half: usize,
    /// What a layer keeps that is computed again.
    pub input: usize,
    /// Layers below the last one that need a gradient.
    pub layers: usize,
    /// Scratch that all layers share, the hidden state and its gradient.
    pub scratch: usize,
    /// Output head and loss.
    pub head: usize,
    /// Norms and biases, widened to f32.
    pub vectors: usize,
    /// What each thread holds beside all that.
    pub per_thread: usize,
}

impl Footprint {
    /// What the layers keep under a plan, with the layer at work.
    #[must_use]
    pub fn activations(&self, plan: Plan) -> usize {
        let exact = plan.exact.min(self.layers);
        let rounded = plan.rounded.min(self.layers - exact);
        self.all
            + exact * self.all
            + rounded * self.half
            + (self.layers - exact - rounded) * self.input
    }

    /// All of it under a plan.
    #[must_use]
    pub fn total(&self, plan: Plan) -> usize {
        self.activations(plan) + self.scratch + self.head + self.vectors
    }

    /// The plan that computes least again within so many bytes; none if even the leanest takes more. Only if `may_round`
    /// do layers keep their activations in bfloat16, and then only as many as that saves from being computed again.
    #[must_use]
    pub fn plan(&self, bytes: usize, may_round: bool) -> Option<Plan> {
        let rest = bytes.checked_sub(self.total(Plan::LEANEST))?;
        let fitting = |rest: usize, each: usize| (rest / each.max(1)).min(self.layers);
        let exact = fitting(rest, self.all - self.input);
        if !may_round || exact == self.layers {
            return Some(Plan { exact, rounded: 0 });
        }
        let rounded = fitting(rest, self.half - self.input);
        if rounded < self.layers {
            return Some(Plan { exact: 0, rounded });
        }
        let exact = fitting(
            rest - self.layers * (self.half - self.input),
            self.all - self.half,
        );
        Some(Plan {
            exact,
            rounded: self.layers - exact,
        })
    }
}

const F32: usize = size_of::<f32>();
const BF16: usize = 2;

/// What a training step on such a micro-batch takes. `targeted` are the adapter's modules, `dropout` whether it drops
/// inputs.
#[must_use]
pub fn footprint(
    config: &ModelConfig,
    targeted: &[TargetedModule],
    dropout: bool,
    batch: BatchSize,
) -> Footprint {
    let t = batch.tokens;
    let (exact, rounded) = sizes::saved(config);
    let inner = sizes::inner(config, targeted);
    Footprint {
        all: F32 * t * (exact + rounded + inner),
        half: t * (F32 * exact + BF16 * (rounded + inner)),
        input: F32 * t * (config.hidden_size + sizes::down(config, targeted)),
        layers: config.num_hidden_layers
            - 1
            - lowest_layer(targeted).min(config.num_hidden_layers - 1),
        scratch: F32
            * (t * sizes::scratch(config, targeted, dropout)
                + sizes::workspace(config, targeted, dropout, t)
                + sizes::expert_starts(config)
                + batch.attention),
        head: F32 * sizes::head(config, batch.supervised),
        vectors: F32 * sizes::vectors(config),
        per_thread: F32 * sizes::per_thread(config, attention_shape(config, None), targeted, batch),
    }
}

/// The lowest layer of these modules: nothing below it needs a gradient.
pub(crate) fn lowest_layer(targeted: &[TargetedModule]) -> usize {
    let layer = |path: &str| {
        path.strip_prefix("model.layers.")?
            .split('.')
            .next()?
            .parse()
            .ok()
    };
    targeted
        .iter()
        .map(|module| {
            if module.path == HEAD {
                usize::MAX
            } else {
                layer(&module.path).unwrap_or(0)
            }
        })
        .min()
        .unwrap_or(0)
}

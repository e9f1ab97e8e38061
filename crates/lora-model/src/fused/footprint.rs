//! How much memory the fused route takes, from shapes alone: every buffer that it holds after a training step.
#[cfg(test)]
mod held;
mod mixers;
mod sizes;
#[cfg(test)]
mod tests;

use super::batch_size::{BatchSize, attention_shapes};
use super::keep::Plan;
use crate::spec::HEAD;
use lora_checkpoint::ModelConfig;
use lora_core::TargetedModule;

/// Bytes that the route holds beside the weights, which stay where they lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Activations of the layer at work: it has the buffers of all kinds of layers. (The last layer computes less, but an
    /// evaluation between the steps does not.)
    pub work: usize,
    /// What a layer keeps that is computed again.
    pub input: usize,
    /// Layers below the last one that need a gradient, from the lowest on.
    pub layers: Vec<Kept>,
    /// Scratch that all layers share, the hidden state and its gradient.
    pub scratch: usize,
    /// Output head and loss.
    pub head: usize,
    /// Norms and biases, widened to f32.
    pub vectors: usize,
    /// What each thread holds beside all that.
    pub per_thread: usize,
}

/// Bytes that one layer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Of all its activations.
    pub all: usize,
    /// Of the same in bfloat16.
    pub half: usize,
}

impl Footprint {
    /// What the layers keep under a plan, with the layer at work.
    #[must_use]
    pub fn activations(&self, plan: Plan) -> usize {
        let kept = |(at, layer): (usize, &Kept)| match plan.of(at) {
            (false, true) => layer.all,
            (true, true) => layer.half,
            (_, false) => self.input,
        };
        self.work + self.layers.iter().enumerate().map(kept).sum::<usize>()
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
        let layers = self.layers.len();
        let more = |layer: &Kept| layer.all - self.input;
        let exact = fitting(rest, self.layers.iter().map(more));
        if !may_round || exact == layers {
            return Some(Plan::keeping(exact, 0));
        }
        let more = |layer: &Kept| layer.half - self.input;
        let rounded = fitting(rest, self.layers.iter().map(more));
        if rounded < layers {
            return Some(Plan::keeping(0, rounded));
        }
        let rest = rest - self.layers.iter().map(more).sum::<usize>();
        let more = |layer: &Kept| layer.all - layer.half;
        let exact = fitting(rest, self.layers.iter().map(more));
        Some(Plan::keeping(exact, layers - exact))
    }

    /// The plan that rounds what `plan` rounds, and keeps as much of it as so many bytes hold; none if even the leanest takes
    /// more.
    #[must_use]
    pub fn within(&self, bytes: usize, plan: Plan) -> Option<Plan> {
        let rest = bytes.checked_sub(self.total(Plan::LEANEST))?;
        let (first, layers) = plan.rounds;
        let rounding = || self.layers.iter().skip(first).take(layers);
        let more = |layer: &Kept| layer.half - self.input;
        let rounded = fitting(rest, rounding().map(more));
        let rest = rest - rounding().take(rounded).map(more).sum::<usize>();
        let more = |layer: &Kept| layer.all - self.input;
        let exact = fitting(rest, self.layers.iter().take(plan.exact).map(more));
        Some(Plan {
            exact,
            rounded,
            rounds: plan.rounds,
        })
    }
}

/// How many of the first ones fit into so many bytes.
fn fitting(mut rest: usize, each: impl Iterator<Item = usize>) -> usize {
    let fits = |bytes: &usize| {
        let left = rest.checked_sub(*bytes);
        rest = left.unwrap_or(0);
        left.is_some()
    };
    each.take_while(fits).count()
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
    footprint_from(lowest_layer(targeted), config, targeted, dropout, batch)
}

/// The same where a gradient is needed from the layer `lowest` on, as below it (of the embedding, say) something trains.
#[must_use]
pub fn footprint_from(
    lowest: usize,
    config: &ModelConfig,
    targeted: &[TargetedModule],
    dropout: bool,
    batch: BatchSize,
) -> Footprint {
    let t = batch.tokens;
    let kept = |layer: usize| {
        let (exact, rounded) = sizes::saved(config, layer);
        let inner = sizes::inner(config, targeted, layer);
        Kept {
            all: F32 * t * (exact + rounded + inner),
            half: t * (F32 * exact + BF16 * (rounded + inner)),
        }
    };
    let last = config.num_hidden_layers - 1;
    let below = lowest.min(last)..last;
    Footprint {
        work: F32 * t * sizes::work(config, targeted),
        input: F32 * t * (config.hidden_size + sizes::down(config, targeted)),
        layers: below.map(kept).collect(),
        scratch: F32
            * (t * sizes::scratch(config, targeted, dropout)
                + sizes::workspace(config, targeted, dropout, t)
                + sizes::expert_starts(config)
                + batch.attention),
        head: F32 * sizes::head(config, batch.supervised),
        vectors: F32 * sizes::vectors(config),
        per_thread: F32 * sizes::per_thread(config, &attention_shapes(config), targeted, batch),
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

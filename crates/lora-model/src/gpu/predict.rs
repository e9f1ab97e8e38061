//! What a run takes of a device's memory, from shapes alone: every buffer that the route holds there.
use super::buffer::together;
use super::gains;
use super::head_room::{self, HeadSize};
use super::input_scratch;
use super::kinds::{self, Kind};
use super::rotation;
use super::saved::Saved;
use super::score_blocks;
use super::shared_scratch;
use super::sizes::{GpuBase, Sizes};
use super::stack::StackSize;
use super::states::StateLayer;
use super::table_room;
use super::weights::normalises_values;
use super::widths::{AllWidths, Widths};
use crate::BatchSize;
use lora_checkpoint::{ModelConfig, Norm};
use lora_core::{TargetedModule, TrainedRows, TrainedTensor};
use lora_gpu::Dtype;

/// What a run on a GPU takes memory for.
#[derive(Debug, Clone, Copy)]
pub struct GpuDemand<'m> {
    /// Shape of the base.
    pub config: &'m ModelConfig,
    /// Modules that carry an adapter.
    pub modules: &'m [TargetedModule],
    /// Tensors of the base that train: biases, norms, whole weights.
    pub trained: &'m [TrainedTensor],
    /// Rows of embedding and head that train.
    pub rows: &'m [TrainedRows],
    /// What the factors were made of was taken out of the base, and is kept (PiSSA, OLoRA).
    pub keeps_origin: bool,
    /// How the weights lie there.
    pub base: GpuBase<'m>,
    /// The largest micro-batch.
    pub batch: BatchSize,
    /// Dropout is on.
    pub dropout: bool,
}

/// Bytes of a device's memory, part by part. The driver's own, and what allocations round up to, is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuPeak {
    /// Weights, with the columns for factors behind those that are dense.
    pub weights: u64,
    /// The adapter: its parameters, their gradients and moments, and the factors A as products read them.
    pub factors: u64,
    /// The largest step.
    pub step: GpuStep,
}

/// Bytes of a training step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuStep {
    /// Activations of each layer below the last one that needs a gradient, where it keeps them.
    pub layers: Vec<u64>,
    /// The input of a layer that is computed again.
    pub input: u64,
    /// What all layers share, with the activations of the layer at work.
    pub shared: u64,
    /// What is given back after each pass: ids, places, targets.
    pub passing: u64,
}

/// Vectors of f32 as long as the parameters: these, their gradients and AdamW's moments.
const VECTORS: usize = 4;

/// Bytes of the free memory that are not planned with, and a share of it: what allocations round up to, and what the driver
/// loads of cuBLAS's kernels as they are used.
const SLACK: u64 = 128 << 20;
const SLACK_SHARE: u64 = 100;

/// Whether a GPU's own kernels compute attention of heads of this width in bfloat16, so that scores are never in memory.
#[must_use]
pub fn attends_on_gpu(head_dim: usize) -> bool {
    lora_gpu::attends(Dtype::Bf16, head_dim)
}

impl GpuDemand<'_> {
    /// What it takes in bfloat16.
    #[must_use]
    pub fn peak(&self) -> GpuPeak {
        let trained = (self.modules, self.trained, self.rows);
        let sizes = Sizes::planned(self.config, trained, (self.base, self.keeps_origin));
        GpuPeak {
            weights: weights(self.config, &sizes, Dtype::Bf16),
            ..GpuPeak::of(self.config, &sizes, self.batch, self.dropout, Dtype::Bf16)
        }
    }
}

impl GpuPeak {
    /// What comes to weights that are there.
    pub(super) fn of(
        config: &ModelConfig,
        sizes: &Sizes,
        batch: BatchSize,
        drops: bool,
        activations: Dtype,
    ) -> Self {
        Self {
            weights: 0,
            factors: factors(config, sizes, activations.bytes()) as u64,
            step: step(config, sizes, batch, drops, activations),
        }
    }

    /// Bytes with so many layers that keep their activations.
    #[must_use]
    pub fn total(&self, kept: usize) -> u64 {
        self.weights + self.factors + self.step.bytes(kept)
    }

    /// How many layers can keep their activations where so much is free beside the weights; none if not even a step fits
    /// whose layers are all computed again.
    #[must_use]
    pub fn kept_within(&self, free: u64) -> Option<usize> {
        let may = free.saturating_sub(SLACK + free / SLACK_SHARE);
        let mut rest = may.checked_sub(self.factors + self.step.bytes(0))?;
        let keeps = |layer: &&u64| {
            let left = rest.checked_sub(layer.saturating_sub(self.step.input));
            rest = left.unwrap_or(rest);
            left.is_some()
        };
        Some(self.step.layers.iter().take_while(keeps).count())
    }
}

impl GpuStep {
    /// Bytes of a step of which so many layers keep their activations, the lowest ones.
    #[must_use]
    pub fn bytes(&self, kept: usize) -> u64 {
        let (kept, again) = self.layers.split_at(kept.min(self.layers.len()));
        let kept: u64 = kept.iter().sum();
        self.shared + self.passing + kept + again.len() as u64 * self.input
    }
}

fn weights(config: &ModelConfig, sizes: &Sizes, activations: Dtype) -> u64 {
    let act = activations.bytes();
    let tables = [Some(sizes.embedding), sizes.head, sizes.inputs];
    let mut bytes: usize = tables.iter().flatten().map(|table| table.bytes(act)).sum();
    let facts = config.facts();
    let vectors = |norm| 1 + usize::from(facts.has_norm_bias(norm));
    bytes += 4 * config.hidden_size * vectors(Norm::Input); // the last norm
    for layer in 0..config.num_hidden_layers {
        let norms = facts.norms.iter().map(|(norm, _)| *norm);
        let norms = norms.filter(|norm| config.norm_path(layer, *norm).is_some());
        let values = norms.map(|norm| config.norm_width(layer, norm) * vectors(norm));
        bytes += 4 * values.sum::<usize>();
        if normalises_values(config, layer) {
            bytes += 4 * config.heads_of(layer).width;
        }
    }
    for (layer, groups) in sizes.layers.iter().enumerate() {
        for (group, kind) in groups.iter().zip(Kind::ALL) {
            bytes += group.blocks.unwrap_or(act * group.values());
            let mut projections = kind.projections(config, layer);
            if projections.any(|p| config.has_bias(p)) {
                bytes += 4 * group.outputs;
            }
            let multipliers = kinds::multipliers(config, layer, kind);
            bytes += 4 * multipliers.map_or(0, |all| all.len());
        }
    }
    let layers = 0..config.num_hidden_layers;
    let of_states = layers
        .clone()
        .map(|layer| StateLayer::planned(config, layer));
    bytes += 4 * of_states.sum::<usize>();
    let sinks = layers.filter(|&layer| config.sinks(layer).is_some());
    bytes += 4 * config.num_attention_heads * sinks.count();
    let mixtures = sizes.mixtures.iter().flatten();
    bytes += mixtures.map(|own| own.bytes(act)).sum::<usize>();
    bytes as u64
}

fn factors(config: &ModelConfig, sizes: &Sizes, act: usize) -> usize {
    let groups = || sizes.layers.iter().flatten();
    let mixtures = || sizes.mixtures.iter().flatten();
    let of_groups = groups().map(|g| g.columns * g.inputs);
    let of_mixtures = mixtures().map(|own| own.factor_values());
    let a: usize = of_groups.chain(of_mixtures).sum();
    let widened = groups().filter(|g| g.blocks.is_some());
    let widened = widened.map(|g| g.outputs * g.columns);
    let of_mixtures = mixtures().flat_map(|own| [own.gate_up, own.down]);
    let of_mixtures = of_mixtures.map(StackSize::widened_factors);
    let zeros = widened.chain(of_mixtures).max().unwrap_or(0);
    let scaled = groups().filter(|group| group.has_magnitudes);
    let gains = gains::bytes(scaled.map(|group| (group.outputs, group.columns)));
    let biased = groups().filter(|group| group.trains_biases);
    let biases: usize = biased.map(|group| 4 * group.outputs).sum();
    let tables = table_room::held(sizes.tables, config, act);
    let vectors = VECTORS + usize::from(sizes.keeps_origin);
    act * (a + zeros) + tables + gains + biases + 4 * vectors * sizes.parameters
}

fn step(
    config: &ModelConfig,
    sizes: &Sizes,
    batch: BatchSize,
    drops: bool,
    activations: Dtype,
) -> GpuStep {
    let act = activations.bytes();
    let mixtures = sizes.mixture_columns();
    let all = AllWidths::of(config, &sizes.layers, mixtures, activations);
    let w = all.shared;
    let (t, n) = (batch.tokens, batch.supervised);
    let saved = |widths| Saved::bytes(widths, t, activations);
    let at_work = saved(all.work) + all.before.map_or(0, saved);
    let attention = attention(w, batch);
    let dropped = if drops { 2 * t * w.widest() } else { 0 };
    let shared_keys = t * shared_scratch::width(config);
    let acts = t * w.hidden + dropped + attention.activations + shared_keys;
    let rotary = rotation::values(config, batch.longest);
    let f32s = 2 * t * w.hidden + attention.f32s + rotary + shared_keys;
    let inputs = input_scratch::bytes(config, t, act);
    let (wide, looked_up) = sizes.widened_tables(t, act);
    let [embedding, head] = sizes.tables;
    let size = HeadSize {
        rows: n,
        wide,
        needs: head,
        drops,
    };
    let of_loss = head_room::of_loss(config, size, activations);
    let of_embedding = table_room::of_embedding(embedding, (t, w.hidden), activations);
    let of_norms = match embedding.has_magnitudes {
        true => sizes.embedding.widened(),
        false => 0,
    };
    let of_layers = w.of_layers(
        (t, t, (batch.chunks, batch.sequences)),
        sizes.widened(),
        activations,
    );
    let in_turn = together(&of_loss).max(together(&of_layers));
    let in_turn = in_turn.max(together(&of_embedding));
    let in_turn = in_turn.max(together(&[(activations, of_norms)]));
    let head = head_room::bytes(n) + looked_up;
    let spans = if config.is_recurrent() { 6 * t } else { 0 };
    let places = t * (3 + config.ropes.len()) + 2 * batch.gathered + 3 * n + spans;
    let own_rows = if embedding.rows > 0 { 2 * t } else { 0 };
    let by_token = if embedding.is_any() { 3 * t + 1 } else { 0 };
    let last = config.num_hidden_layers.saturating_sub(1); // its activations are those at work
    let layers = all.layers.iter().take(last).skip(sizes.lowest);
    GpuStep {
        layers: layers.map(|own| saved(*own) as u64).collect(),
        input: (4 * t * w.hidden) as u64,
        shared: (at_work + act * acts + 4 * f32s + inputs + head + in_turn) as u64,
        passing: (4 * (places + own_rows + by_token)) as u64,
    }
}

/// Values of what attention works with.
struct AttentionValues {
    activations: usize,
    f32s: usize,
}

fn attention(w: Widths, batch: BatchSize) -> AttentionValues {
    let mut all = AttentionValues {
        activations: 0,
        f32s: 0,
    };
    if w.attends {
        all.f32s += batch.tokens * w.heads;
    }
    if w.by_scores {
        let scores = score_blocks::scores_of_length(w.heads, batch.longest);
        all.activations += 2 * w.queries * (batch.tokens + batch.gathered) + 2 * scores;
        all.f32s += 2 * w.queries * batch.gathered + 2 * scores;
    }
    all
}

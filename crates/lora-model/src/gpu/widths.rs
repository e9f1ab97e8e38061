//! Sizes of what layers work with, for each of T rows.
use super::expert_scratch::{self, Mixed};
use super::kinds::{ALIGNED, Kind};
use super::rules::{self, Rules};
use lora_checkpoint::{ModelConfig, Norm, Projection};
use lora_gpu::Dtype;

/// Sizes of a layer's buffers: for T rows, values a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    pub(super) hidden: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// What mixers read: q, k and v, or what stands in their place.
    pub(super) mixed: usize,
    /// The most that an MLP's unit reads; 0 if no layer has an MLP.
    pub(super) unit: usize,
    /// Input and factors of each group, by [`Kind`].
    pub(super) groups: [usize; Kind::ALL.len()],
    /// Outputs of each group that DoRA's magnitudes scale, by [`Kind`].
    pub(super) scaled: [usize; Kind::ALL.len()],
    pub(super) normalises_heads: bool,
    pub(super) normalises_outputs: bool,
    /// The device's own kernels compute attention.
    pub(super) attends: bool,
    /// Attention's output has a gate, whose rows stand among those of queries.
    pub(super) gates: bool,
    pub(super) experts: Mixed,
    pub(super) rules: Rules,
}

/// Pieces of memory that only layers use.
const PIECES: usize = 6;
const ALL_PIECES: usize = PIECES + rules::PIECES + expert_scratch::PIECES;

impl Widths {
    /// Of a decoder whose groups have inputs of these widths, with their factors, and outputs that are scaled.
    pub(super) fn of(
        config: &ModelConfig,
        (groups, scaled): ([usize; Kind::ALL.len()], [usize; Kind::ALL.len()]),
        mixed: Mixed,
        activations: Dtype,
    ) -> Self {
        let has = |norm| config.facts().norm(norm).is_some();
        Self {
            hidden: config.hidden_size,
            queries: config.num_attention_heads * config.head_dim,
            keys: config.num_key_value_heads * config.head_dim,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            mixed: outputs(config, Kind::Qkv).next_multiple_of(ALIGNED),
            unit: outputs(config, Kind::GateUp),
            groups,
            scaled,
            normalises_heads: has(Norm::Query) || has(Norm::Key),
            normalises_outputs: has(Norm::AttentionOutput) || has(Norm::MlpOutput),
            attends: lora_gpu::attends(activations, config.head_dim),
            gates: config.facts().projections.contains(&Projection::QGate),
            experts: mixed,
            rules: Rules::of(config),
        }
    }

    /// What only layers use: so many values of a widened matrix, and for T rows of a backward pass (`back`) gradients of a
    /// group's input, of its outputs, of these scaled, of keys and values, and of those that stand apart; then what rules and
    /// mixtures use for `rows` of any pass.
    pub(super) fn of_layers(
        self,
        (rows, back, chunks): (usize, usize, (usize, usize)),
        wide: usize,
        activations: Dtype,
    ) -> [(Dtype, usize); ALL_PIECES] {
        let own = [
            (activations, wide),
            (activations, back * self.widest()),
            (activations, back * self.mixed.max(self.unit)),
            (activations, back * widest(self.scaled)),
            (Dtype::F32, back * 2 * self.queries),
            (activations, back * self.apart()),
        ];
        let mut all = [(Dtype::U8, 0); ALL_PIECES];
        let (first, of_experts) = all.split_at_mut(PIECES + rules::PIECES);
        first[..PIECES].copy_from_slice(&own);
        let of_rules = self.rules.pieces((rows, back, chunks), activations);
        first[PIECES..].copy_from_slice(&of_rules);
        let pieces = self.experts.pieces(self.hidden, (rows, back), activations);
        of_experts.copy_from_slice(&pieces);
        all
    }

    /// Queries, keys and values, where they stand apart from what the linear layers give; 0 where they don't.
    pub(super) fn apart(self) -> usize {
        match self.gates {
            true => (self.queries + 2 * self.keys).next_multiple_of(ALIGNED),
            false => 0,
        }
    }

    /// The widest input of a group with its factors.
    pub(super) fn widest(self) -> usize {
        widest(self.groups)
    }
}

/// The most outputs that a kind of group has in a layer.
fn outputs(config: &ModelConfig, kind: Kind) -> usize {
    let layers = 0..config.num_hidden_layers;
    let outputs = layers.map(|layer| {
        let all = kind.projections(config, layer);
        all.map(|p| config.shape(layer, p).0).sum::<usize>()
    });
    outputs.max().unwrap_or(0)
}

fn widest(groups: [usize; Kind::ALL.len()]) -> usize {
    groups.into_iter().max().unwrap_or(0)
}

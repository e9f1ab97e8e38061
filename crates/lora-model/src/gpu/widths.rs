//! Sizes of what layers work with, for each of T rows.
use super::expert_scratch::{self, Mixed};
use super::group::GroupSize;
use super::kinds::{ALIGNED, Kind, mixed_stride, normalised_heads};
use super::mixture_bound::MixtureColumns;
use super::rules::{self, Rules};
use lora_checkpoint::{ModelConfig, Norm, Projection};
use lora_gpu::Dtype;

/// Groups of linear layers, by [`Kind`].
pub(super) type Groups = [GroupSize; Kind::ALL.len()];

/// Sizes of a layer's buffers: for T rows, values a row; 0 and false for what it does not have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Widths {
    pub(super) hidden: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// What mixers read: q, k and v, or what stands in their place.
    pub(super) mixed: usize,
    /// What an MLP's unit reads.
    pub(super) unit: usize,
    /// The layer's own input.
    pub(super) own_input: usize,
    /// Input and factors of each group, by [`Kind`].
    pub(super) groups: [usize; Kind::ALL.len()],
    /// Outputs of each group that DoRA's magnitudes scale, by [`Kind`].
    pub(super) scaled: [usize; Kind::ALL.len()],
    /// Queries, keys and values before the norms of their heads, as far as there are such.
    pub(super) raw: usize,
    pub(super) normalises_values: bool,
    pub(super) normalises_outputs: bool,
    /// The device's own kernels compute attention.
    pub(super) attends: bool,
    /// Attention needs its scores in memory.
    pub(super) by_scores: bool,
    /// Attention's output has a gate, whose rows stand among those of queries.
    pub(super) gates: bool,
    pub(super) experts: Mixed,
    pub(super) rules: Rules,
}

/// Sizes of a decoder.
#[derive(Debug)]
pub(super) struct AllWidths {
    /// Of each layer.
    pub(super) layers: Vec<Widths>,
    /// Of whichever layer is at work.
    pub(super) work: Widths,
    /// Of what precedes the first layer, where layers have inputs of their own.
    pub(super) before: Option<Widths>,
    /// Of what all of these share.
    pub(super) shared: Widths,
}

impl AllWidths {
    /// Of a decoder with these groups in its layers, and columns for the factors of mixtures.
    pub(super) fn of(
        config: &ModelConfig,
        groups: &[Groups],
        mixtures: MixtureColumns,
        activations: Dtype,
    ) -> Self {
        let experts = Mixed::of(config, mixtures);
        let of_layer = |(layer, groups): (usize, &Groups)| {
            Widths::of_layer(config, layer, (groups, experts), activations)
        };
        let layers: Vec<Widths> = groups.iter().enumerate().map(of_layer).collect();
        let work = layers
            .iter()
            .fold(Widths::default(), |all, own| all.cover(*own));
        let first = groups.first().filter(|_| config.per_layer().is_some());
        let before =
            first.map(|groups| Widths::default().with_groups(groups, Kind::is_before_layers));
        Self {
            layers,
            work,
            before,
            shared: work.cover(before.unwrap_or_default()),
        }
    }
}

/// Pieces of memory that only layers use.
const PIECES: usize = 6;
const ALL_PIECES: usize = PIECES + rules::PIECES + expert_scratch::PIECES;

impl Widths {
    fn of_layer(
        config: &ModelConfig,
        layer: usize,
        (groups, experts): (&Groups, Mixed),
        activations: Dtype,
    ) -> Self {
        let facts = config.facts();
        let has = |norm| facts.norm(norm).is_some();
        let own = Self {
            hidden: config.hidden_size,
            mixed: mixed_stride(config, layer, groups[Kind::Qkv as usize].outputs),
            unit: groups[Kind::GateUp as usize].outputs,
            own_input: config.per_layer().map_or(0, |own| own.width),
            normalises_outputs: has(Norm::AttentionOutput) || has(Norm::MlpOutput),
            experts: match config.experts_of(layer) {
                Some(_) => experts,
                None => Mixed::default(),
            },
            rules: Rules::of(config, layer),
            ..Self::default()
        };
        let own = own.with_groups(groups, |kind| !kind.is_before_layers());
        if !config.layers[layer].has_attention() {
            return own;
        }
        let heads = config.heads_of(layer);
        let attends = lora_gpu::attends(activations, heads.width);
        Self {
            queries: config.num_attention_heads * heads.width,
            keys: heads.kv * heads.width,
            heads: config.num_attention_heads,
            kv_heads: heads.kv,
            raw: normalised_heads(config, layer),
            normalises_values: facts.normalised_values,
            attends,
            by_scores: !attends,
            gates: facts.projections.contains(&Projection::QGate),
            ..own
        }
    }

    /// With the inputs of some kinds of groups.
    fn with_groups(mut self, groups: &Groups, is: impl Fn(Kind) -> bool) -> Self {
        for kind in Kind::ALL.into_iter().filter(|kind| is(*kind)) {
            let group = groups[kind as usize];
            self.groups[kind as usize] = group.inputs + group.columns;
            self.scaled[kind as usize] = group.scaled();
        }
        self
    }

    /// The most of both, part by part.
    fn cover(self, other: Self) -> Self {
        let most = |a: [usize; Kind::ALL.len()], b: [usize; Kind::ALL.len()]| {
            Kind::ALL.map(|kind| a[kind as usize].max(b[kind as usize]))
        };
        Self {
            hidden: self.hidden.max(other.hidden),
            queries: self.queries.max(other.queries),
            keys: self.keys.max(other.keys),
            heads: self.heads.max(other.heads),
            kv_heads: self.kv_heads.max(other.kv_heads),
            mixed: self.mixed.max(other.mixed),
            unit: self.unit.max(other.unit),
            own_input: self.own_input.max(other.own_input),
            groups: most(self.groups, other.groups),
            scaled: most(self.scaled, other.scaled),
            raw: self.raw.max(other.raw),
            normalises_values: self.normalises_values || other.normalises_values,
            normalises_outputs: self.normalises_outputs || other.normalises_outputs,
            attends: self.attends || other.attends,
            by_scores: self.by_scores || other.by_scores,
            gates: self.gates || other.gates,
            experts: self.experts.or(other.experts),
            rules: self.rules.or(other.rules),
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
        let outputs = self.mixed.max(self.unit).max(self.own_input);
        let own = [
            (activations, wide),
            (activations, back * self.widest()),
            (activations, back * outputs),
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

fn widest(groups: [usize; Kind::ALL.len()]) -> usize {
    groups.into_iter().max().unwrap_or(0)
}

//! Which linear layers of a decoder layer are one group, how rows of what mixers read lie, and what a model's factors make of a
//! group's outputs and biases.
use crate::spec::Projection::{
    self, ConvIn, ConvOut, DeltaA, DeltaB, DeltaOut, DeltaQkv, DeltaZ, K, MambaDt, MambaOut,
    MambaXbc, MambaZ, O, OutputGate, PerLayerGate, PerLayerModel, PerLayerOut, Q, V,
};
use lora_checkpoint::{ModelConfig, Norm};

/// Values by which rows of what mixers read are aligned: chunks of them are copied at once.
pub(super) const ALIGNED: usize = 8;

/// Which linear layers have one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those of which mixers read: q, k and v, or what stands in their place.
    Qkv,
    /// Attention's output, or that of what stands in its place.
    Output,
    /// The output of what keeps a state beside attention.
    Beside,
    GateUp,
    Down,
    /// What makes the inputs of all layers of the embedding: of the first layer, before it.
    LayerInputs,
    /// The gate of a layer's own input, and what makes of that what is added to the hidden state.
    InputGate,
    InputOutput,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Qkv,
        Self::Output,
        Self::Beside,
        Self::GateUp,
        Self::Down,
        Self::LayerInputs,
        Self::InputGate,
        Self::InputOutput,
    ];

    /// Its linear layers in a decoder layer, in the order of their outputs; none of an MLP where experts are in its place. What
    /// attention reads comes first, so that its rows are aligned.
    pub(super) fn projections(
        self,
        config: &ModelConfig,
        layer: usize,
    ) -> impl Iterator<Item = Projection> + use<> {
        let is_beside = config.layers[layer].beside_attention;
        let parts: &[Projection] = match self {
            Self::Qkv => &[
                Q, OutputGate, K, V, ConvIn, MambaZ, MambaXbc, MambaDt, DeltaQkv, DeltaZ, DeltaB,
                DeltaA,
            ],
            Self::Output if is_beside => &[O],
            Self::Output => &[O, ConvOut, MambaOut, DeltaOut],
            Self::Beside if is_beside => &[MambaOut],
            Self::Beside => &[],
            Self::GateUp => Projection::GateUp.parts(),
            Self::Down => Projection::Down.parts(),
            Self::LayerInputs => &[PerLayerModel],
            Self::InputGate => &[PerLayerGate],
            Self::InputOutput => &[PerLayerOut],
        };
        let place = |part: &Projection| parts.iter().position(|own| own == part);
        let all = config.projections_of(layer).into_iter();
        let mut own: Vec<Projection> = all
            .filter(|p| p.parts().iter().all(|part| parts.contains(part)))
            .collect();
        own.sort_by_key(|p| p.parts().first().and_then(place));
        own.into_iter()
    }

    /// Whether it is computed before the first layer.
    pub(super) fn is_before_layers(self) -> bool {
        self == Self::LayerInputs
    }

    /// Whether what it gives is added to the hidden state.
    pub(super) fn adds_to_hidden(self) -> bool {
        matches!(
            self,
            Self::Output | Self::Beside | Self::Down | Self::InputOutput
        )
    }
}

/// Values from a row of what mixers read to the next, where linear layers give so many: keys and values that a layer has from
/// elsewhere stand behind those.
pub(super) fn mixed_stride(config: &ModelConfig, layer: usize, outputs: usize) -> usize {
    let heads = config.heads_of(layer);
    let columns = (config.num_attention_heads + 2 * heads.kv) * heads.width;
    let attends = config.layers[layer].has_attention();
    let all = if attends { columns } else { 0 };
    outputs.max(all).next_multiple_of(ALIGNED)
}

/// Values of a row that norms of heads read, which are kept: queries, and the layer's own keys and, where they are normalised,
/// values.
pub(super) fn normalised_heads(config: &ModelConfig, layer: usize) -> usize {
    let facts = config.facts();
    let has = [Norm::Query, Norm::Key].map(|norm| facts.norm(norm).is_some());
    if !config.layers[layer].has_attention() || has == [false; 2] && !facts.normalised_values {
        return 0;
    }
    let heads = config.heads_of(layer);
    let of_keys = match config.keys_of(layer) {
        Some(_) => 0,
        None if facts.normalised_values => 2 * heads.kv,
        None => heads.kv,
    };
    (config.num_attention_heads + of_keys) * heads.width
}

/// What a bias is multiplied by where what the layer reads is.
pub(super) fn bias_gain(config: &ModelConfig, projection: Projection) -> f32 {
    (1.0 / config.input_factor(projection)) as f32
}

/// What the outputs of a group are multiplied by, before it and behind it together. Of those that are added to the hidden state
/// that is one number, which the layer knows; None if all are 1.
pub(super) fn multipliers(config: &ModelConfig, layer: usize, kind: Kind) -> Option<Vec<f32>> {
    if kind.adds_to_hidden() {
        return None;
    }
    let all = kind.projections(config, layer).map(|projection| {
        let rows = config.shape(layer, projection).0;
        let own = config.row_factors(layer, projection);
        own.unwrap_or_else(|| vec![(rows, 1.0)])
    });
    let all = all.flatten();
    let all = all.flat_map(|(rows, factor)| std::iter::repeat_n(factor as f32, rows));
    let all: Vec<f32> = all.collect();
    all.iter().any(|&factor| factor != 1.0).then_some(all)
}

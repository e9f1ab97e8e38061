//! Biases of linear layers that train: the base's own (`bias` all or lora_only), in whose place they stand, and those on B
//! (`lora_bias`), which are added times s.
use crate::fused::unbound::Slot;
use lora_core::Adapter;
use std::ops::Range;

/// A bias that trains at a linear layer of a group.
#[derive(Debug, Clone)]
pub(super) struct TrainedBias {
    /// The layer's rows in the group's matrix.
    pub(super) rows: Range<usize>,
    /// Its place in the flat parameters.
    pub(super) place: usize,
    /// What it is multiplied by.
    pub(super) scaling: f32,
    /// Whether it stands in the place of the base's; else it is added.
    pub(super) replaces: bool,
}

impl TrainedBias {
    /// Those at the layer of a slot, with what the base's biases are multiplied by there: its own comes first.
    pub(super) fn of(
        adapter: &Adapter,
        slot: Slot,
        (rows, gain): (&Range<usize>, f32),
    ) -> impl Iterator<Item = Self> + use<> {
        let own = slot.bias.map(|index| Self {
            rows: rows.clone(),
            place: adapter.trained[index].range.start,
            scaling: gain,
            replaces: true,
        });
        let module = slot.module.map(|index| &adapter.modules[index]);
        let on_b = module.and_then(|module| {
            Some(Self {
                rows: rows.clone(),
                place: module.lora_bias.as_ref()?.start,
                scaling: module.scaling * gain,
                replaces: false,
            })
        });
        own.into_iter().chain(on_b)
    }
}

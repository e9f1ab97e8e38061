//! What trains at the embedding and at the head: all of it (modules to save), some of its rows (trainable_token_indices), or
//! factors; of these always one.
use super::pairs::GroupFactors;
use super::table_needs::TableNeeds;
use crate::fused::binding::Binding;
use crate::fused::unbound::Slot;
use lora_checkpoint::ModelConfig;
use lora_core::{Adapter, TrainedRows};

/// What trains at a table.
#[derive(Debug, Clone, Default)]
pub(super) enum TrainedTable {
    #[default]
    Nothing,
    /// All of it, (V, H), from this place of the flat parameters on.
    Whole(usize),
    /// Some of its rows.
    Rows(TrainedRows),
    /// Factors: of the head as at any linear layer; of the embedding A is (r, V) and B (H, r).
    Factors(GroupFactors),
}

/// What trains at the embedding and at the head.
#[derive(Debug, Clone, Default)]
pub(super) struct TrainedTables {
    pub(super) embedding: TrainedTable,
    pub(super) head: TrainedTable,
}

impl TrainedTables {
    /// That of an adapter.
    pub(super) fn of(config: &ModelConfig, adapter: &Adapter, binding: &Binding<'_>) -> Self {
        let (h, v) = (config.hidden_size, config.vocab_size);
        Self {
            embedding: TrainedTable::of(adapter, binding.embedding, h),
            head: TrainedTable::of(adapter, binding.head, v),
        }
    }

    /// The places of whole tables and of biases at them.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let tables = [&self.embedding, &self.head].into_iter();
        tables.flat_map(|table| {
            let (whole, factors) = match table {
                TrainedTable::Whole(place) => (Some(*place), None),
                TrainedTable::Factors(factors) => (None, Some(factors)),
                TrainedTable::Nothing | TrainedTable::Rows(_) => (None, None),
            };
            let of_factors = factors.into_iter().flat_map(GroupFactors::trained_places);
            whole.into_iter().chain(of_factors)
        })
    }

    /// What they take memory for.
    pub(super) fn needs(&self) -> [TableNeeds; 2] {
        [&self.embedding, &self.head].map(TrainedTable::needs)
    }
}

impl TrainedTable {
    fn of(adapter: &Adapter, slot: Slot, outputs: usize) -> Self {
        match slot {
            Slot {
                weight: Some(index),
                ..
            } => Self::Whole(adapter.trained[index].range.start),
            Slot {
                rows: Some(index), ..
            } => Self::Rows(adapter.rows[index].clone()),
            Slot {
                module: Some(_), ..
            } => Self::Factors(GroupFactors::of_one(adapter, slot, outputs)),
            _ => Self::Nothing,
        }
    }

    fn needs(&self) -> TableNeeds {
        match self {
            Self::Nothing => TableNeeds::default(),
            Self::Whole(_) => TableNeeds {
                is_whole: true,
                ..TableNeeds::default()
            },
            Self::Rows(own) => TableNeeds {
                rows: own.rows.len(),
                ..TableNeeds::default()
            },
            Self::Factors(own) => TableNeeds {
                columns: own.columns,
                has_magnitudes: own.has_magnitudes(),
                trains_bias: !own.biases.is_empty(),
                ..TableNeeds::default()
            },
        }
    }
}

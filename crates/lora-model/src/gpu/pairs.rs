//! What trains at a group of linear layers, or at one table: pairs of factors, biases and whole weights; which columns of the
//! group's matrix each pair has, and everything's place in the flat parameters.
use super::group::{ALIGNED, Room};
use super::trained_biases::TrainedBias;
use crate::fused::unbound::Slot;
use lora_core::Adapter;
use std::ops::Range;

/// A pair of factors at a linear layer of a group.
#[derive(Debug, Clone)]
pub(super) struct Factors {
    /// The layer's rows in the group's matrix.
    pub(super) rows: Range<usize>,
    /// Columns of B behind those of the weights; rows of A in the group's A.
    pub(super) columns: Range<usize>,
    /// A (rank, in) in the flat parameters.
    pub(super) a: usize,
    /// B (out, rank).
    pub(super) b: usize,
    /// What u is multiplied by: s, or −s for what was taken out of the base.
    pub(super) scaling: f32,
    /// The adapter's module, by which dropout is keyed.
    pub(super) module: usize,
    /// Whether it trains; otherwise it is what was taken out of the base (PiSSA, OLoRA).
    pub(super) trains: bool,
    /// DoRA's magnitude (out) in the flat parameters, if the layer has one.
    pub(super) magnitude: Option<usize>,
}

impl Factors {
    /// Whether dropout is on its input: of DoRA all that the magnitudes scale has it.
    pub(super) fn drops(&self) -> bool {
        self.trains || self.magnitude.is_some()
    }
}

/// A weight that trains as a whole, in the place of the base's.
#[derive(Debug, Clone)]
pub(super) struct TrainedWeight {
    /// The layer's rows in the group's matrix.
    pub(super) rows: Range<usize>,
    /// Its place in the flat parameters, (out, in).
    pub(super) place: usize,
}

/// What trains at one group.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupFactors {
    pub(super) all: Vec<Factors>,
    /// The base's own come before those on B of the same rows.
    pub(super) biases: Vec<TrainedBias>,
    pub(super) weights: Vec<TrainedWeight>,
    /// Columns that the factors take, rounded up so that rows stay aligned.
    pub(super) columns: usize,
}

impl GroupFactors {
    /// Of a slot's layer alone, with so many outputs.
    pub(super) fn of_one(adapter: &Adapter, slot: Slot, outputs: usize) -> Self {
        let mut factors = Self::default();
        factors.add(adapter, slot, (0..outputs, 1.0));
        factors.align();
        factors
    }

    /// Adds what trains at the layer of a slot with these rows, whose biases are multiplied by `gain`.
    pub(super) fn add(&mut self, adapter: &Adapter, slot: Slot, (rows, gain): (Range<usize>, f32)) {
        if let Some(index) = slot.module {
            self.add_pairs(adapter, index, &rows);
        }
        let biases = TrainedBias::of(adapter, slot, (&rows, gain));
        self.biases.extend(biases);
        let weight = slot.weight.map(|index| TrainedWeight {
            rows,
            place: adapter.trained[index].range.start,
        });
        self.weights.extend(weight);
    }

    fn add_pairs(&mut self, adapter: &Adapter, index: usize, rows: &Range<usize>) {
        let module = &adapter.modules[index];
        let pairs = [
            (module.scaling, true),
            (-module.scaling, false), // what was taken out of the base
        ];
        let count = 1 + usize::from(adapter.origin_factors(index).is_some());
        for &(scaling, trains) in &pairs[..count] {
            let first = self.columns;
            self.columns += module.rank;
            self.all.push(Factors {
                rows: rows.clone(),
                columns: first..self.columns,
                a: module.a.start,
                b: module.b.start,
                scaling,
                module: index,
                trains,
                magnitude: module.magnitude.as_ref().map(|place| place.start),
            });
        }
    }

    /// Rounds the columns up.
    pub(super) fn align(&mut self) {
        self.columns = self.columns.next_multiple_of(ALIGNED);
    }

    /// The places of biases and weights.
    pub(super) fn trained_places(&self) -> impl Iterator<Item = usize> {
        let biases = self.biases.iter().map(|bias| bias.place);
        biases.chain(self.weights.iter().map(|weight| weight.place))
    }

    /// The pairs that train beside a magnitude, with its place.
    pub(super) fn magnitudes(&self) -> impl Iterator<Item = (&Factors, usize)> {
        let pairs = self.all.iter().filter(|pair| pair.trains);
        pairs.filter_map(|pair| Some((pair, pair.magnitude?)))
    }

    /// What they need of their group.
    pub(super) fn room(&self) -> Room {
        Room {
            columns: self.columns,
            has_magnitudes: self.has_magnitudes(),
            trains_biases: !self.biases.is_empty(),
        }
    }

    /// Whether some layer has a magnitude.
    pub(super) fn has_magnitudes(&self) -> bool {
        self.magnitudes().next().is_some()
    }

    /// The pairs of the layer with these rows.
    pub(super) fn of_rows(&self, rows: &Range<usize>) -> impl Iterator<Item = &Factors> {
        self.all.iter().filter(move |pair| pair.rows == *rows)
    }

    /// All pairs with the columns to compute for each: the last one's reach to the end.
    pub(super) fn with_padding(&self) -> impl Iterator<Item = (&Factors, Range<usize>)> {
        let last = self.all.len();
        self.all.iter().enumerate().map(move |(i, pair)| {
            let end = if i + 1 == last {
                self.columns
            } else {
                pair.columns.end
            };
            (pair, pair.columns.start..end)
        })
    }
}

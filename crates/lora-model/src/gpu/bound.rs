//! Where an adapter's factors lie: which columns of a group's matrix each has, and its place in the flat parameters.
use super::group::{ALIGNED, Group, Room};
use super::kinds::{Kind, bias_gain};
use super::mixture_bound::{MixtureColumns, MixtureFactors};
use super::trained_biases::TrainedBias;
use super::trained_norms::{self, TrainedNorm};
use super::trained_tables::TrainedTables;
use crate::Error;
use crate::fused::binding::Binding;
use crate::fused::unbound::Slot;
use lora_checkpoint::ModelConfig;
use lora_core::{Adapter, TargetedModule, TrainedTensor};
use std::collections::HashSet;
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

/// What trains at one group.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupFactors {
    pub(super) all: Vec<Factors>,
    /// The base's own come before those on B of the same rows.
    pub(super) biases: Vec<TrainedBias>,
    /// Columns that they take, rounded up so that rows stay aligned.
    pub(super) columns: usize,
}

/// An adapter's factors, by layer and [`Kind`].
#[derive(Debug, Clone, Default)]
pub(super) struct Bound {
    pub(super) layers: Vec<[GroupFactors; Kind::ALL.len()]>,
    /// Those at the parameters of mixtures, by layer.
    pub(super) mixtures: Vec<MixtureFactors>,
    /// Embedding and head, if they train as a whole.
    pub(super) tables: TrainedTables,
    /// Vectors of norms that train.
    pub(super) norms: Vec<TrainedNorm>,
    /// The first layer in which something trains.
    pub(super) lowest: usize,
    /// What it was made of.
    modules: Vec<TargetedModule>,
    trained: Vec<TrainedTensor>,
    has_origin: bool,
}

impl Bound {
    /// Binds an adapter's factors.
    ///
    /// # Errors
    /// If it trains something that this route does not compute: refused by name.
    pub(super) fn of(config: &ModelConfig, binding: &Binding<'_>) -> Result<Self, Error> {
        let Some(adapter) = binding.adapter else {
            return Ok(Self {
                layers: vec![Default::default(); config.num_hidden_layers],
                mixtures: vec![MixtureFactors::default(); config.num_hidden_layers],
                lowest: config.num_hidden_layers,
                ..Self::default()
            });
        };
        check_modules(&adapter.modules)?;
        let layers = (0..config.num_hidden_layers).map(|layer| {
            Kind::ALL.map(|kind| {
                let mut factors = GroupFactors::default();
                let mut rows = 0;
                for projection in kind.projections(config, layer) {
                    let outputs = config.shape(layer, projection).0;
                    let slot = binding.slot(layer, projection);
                    factors.add(adapter, slot, rows..rows + outputs);
                    let biases = TrainedBias::of(
                        adapter,
                        slot,
                        (&(rows..rows + outputs), bias_gain(config, projection)),
                    );
                    factors.biases.extend(biases);
                    rows += outputs;
                }
                factors.columns = factors.columns.next_multiple_of(ALIGNED);
                factors
            })
        });
        let layers: Vec<_> = layers.collect();
        let norms = trained_norms::of(adapter, binding);
        let place = |index: usize| adapter.trained[index].range.start;
        let tables = TrainedTables {
            embedding: binding.embedding.weight.map(place),
            head: binding.head.weight.map(place),
        };
        check(adapter, &layers, (&norms, tables))?;
        let mixtures = (0..config.num_hidden_layers)
            .map(|layer| MixtureFactors::of(adapter, binding.mixture_slots(layer)));
        Ok(Self {
            layers,
            mixtures: mixtures.collect(),
            norms,
            tables,
            lowest: binding.lowest_layer(),
            modules: adapter.modules.clone(),
            trained: adapter.trained.clone(),
            has_origin: adapter.origin.is_some(),
        })
    }

    /// Whether some layer has a magnitude.
    pub(super) fn has_magnitudes(&self) -> bool {
        self.layers
            .iter()
            .flatten()
            .any(GroupFactors::has_magnitudes)
    }

    /// Whether it was made of an adapter of this shape.
    pub(super) fn is_of(&self, adapter: Option<&Adapter>) -> bool {
        match adapter {
            None => self.modules.is_empty() && self.trained.is_empty(),
            Some(a) => {
                self.modules == a.modules
                    && self.trained == a.trained
                    && self.has_origin == a.origin.is_some()
            }
        }
    }

    /// Whether the groups and mixtures of these layers have columns for all factors, and groups are known to have magnitudes and
    /// biases that train.
    pub(super) fn fits<'g>(
        &self,
        layers: impl Iterator<Item = (&'g [Group], MixtureColumns)>,
    ) -> bool {
        let bound = self.layers.iter().zip(&self.mixtures);
        layers.zip(bound).all(|((groups, columns), bound)| {
            let mut pairs = groups.iter().zip(bound.0);
            columns.hold(bound.1.columns())
                && pairs.all(|(group, factors)| {
                    factors.columns <= group.columns
                        && (group.has_magnitudes || !factors.has_magnitudes())
                        && (group.trains_biases || factors.biases.is_empty())
                })
        })
    }
}

impl GroupFactors {
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

    fn add(&mut self, adapter: &Adapter, slot: Slot, rows: Range<usize>) {
        let Some(index) = slot.module else { return };
        let module = &adapter.modules[index];
        let pairs = [
            (module.scaling, true),
            (-module.scaling, false), // what was taken out of the base
        ];
        let count = if adapter.origin.is_some() { 2 } else { 1 };
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
}

/// That no module is of a kind that this route does not compute.
pub(super) fn check_modules(modules: &[TargetedModule]) -> Result<(), Error> {
    let is_refused = |m: &&TargetedModule| m.is_embedding() || m.path == crate::spec::HEAD;
    match modules.iter().find(is_refused) {
        None => Ok(()),
        Some(module) => Err(refused(&format!("LoRA on {}", module.path))),
    }
}

/// That an adapter has nothing that this route does not compute, beside what is bound.
fn check(
    adapter: &Adapter,
    layers: &[[GroupFactors; Kind::ALL.len()]],
    (norms, tables): (&[TrainedNorm], TrainedTables),
) -> Result<(), Error> {
    let biases = layers.iter().flatten().flat_map(|group| &group.biases);
    let bound = biases.map(|bias| bias.place);
    let bound = bound.chain(norms.iter().map(|norm| norm.place));
    let bound: HashSet<usize> = bound.chain(tables.places()).collect();
    let is_bound = |tensor: &&TrainedTensor| bound.contains(&tensor.range.start);
    if let Some(tensor) = adapter.trained.iter().find(|tensor| !is_bound(tensor)) {
        let what = format!("{}, which trains as a whole", tensor.tensor);
        return Err(refused(&what));
    }
    match adapter.rows.is_empty() {
        true => Ok(()),
        false => Err(refused("trainable_token_indices")),
    }
}

fn refused(what: &str) -> Error {
    let message = format!("on a GPU this version does not compute {what}");
    Error::invalid(message).hint("--device cpu does")
}

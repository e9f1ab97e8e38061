//! An adapter bound to the device's groups of linear layers, mixtures, norms and tables; what has no place there is refused.
use super::group::Group;
use super::kinds::{Kind, bias_gain};
use super::mixture_bound::{MixtureColumns, MixtureFactors};
use super::pairs::GroupFactors;
use super::trained_norms::{self, TrainedNorm};
use super::trained_tables::TrainedTables;
use crate::Error;
use crate::fused::binding::Binding;
use lora_checkpoint::ModelConfig;
use lora_core::{Adapter, TargetedModule, TrainedRows, TrainedTensor};
use std::collections::HashSet;

/// An adapter's factors, by layer and [`Kind`].
#[derive(Debug, Clone, Default)]
pub(super) struct Bound {
    pub(super) layers: Vec<[GroupFactors; Kind::ALL.len()]>,
    /// Those at the parameters of mixtures, by layer.
    pub(super) mixtures: Vec<MixtureFactors>,
    /// What trains at embedding and head.
    pub(super) tables: TrainedTables,
    /// Vectors of norms that train.
    pub(super) norms: Vec<TrainedNorm>,
    /// The first layer in which something trains.
    pub(super) lowest: usize,
    /// What it was made of, with what was taken out of the base or without.
    modules: Vec<TargetedModule>,
    trained: Vec<TrainedTensor>,
    rows: Vec<TrainedRows>,
    pub(super) has_origin: bool,
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
        let layers = (0..config.num_hidden_layers).map(|layer| {
            Kind::ALL.map(|kind| {
                let mut factors = GroupFactors::default();
                let mut rows = 0;
                for projection in kind.projections(config, layer) {
                    let outputs = config.shape(layer, projection).0;
                    let slot = binding.slot(layer, projection);
                    let gain = bias_gain(config, projection);
                    factors.add(adapter, slot, (rows..rows + outputs, gain));
                    rows += outputs;
                }
                factors.align();
                factors
            })
        });
        let layers: Vec<_> = layers.collect();
        let norms = trained_norms::of(adapter, binding);
        let tables = TrainedTables::of(config, adapter, binding);
        check(adapter, &layers, (&norms, &tables))?;
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
            rows: adapter.rows.clone(),
            has_origin: adapter.origin.is_some(),
        })
    }

    /// Whether some linear layer of a group has a magnitude.
    pub(super) fn has_magnitudes(&self) -> bool {
        self.layers
            .iter()
            .flatten()
            .any(GroupFactors::has_magnitudes)
    }

    /// Whether it was made of an adapter of this shape.
    pub(super) fn is_of(&self, adapter: Option<&Adapter>) -> bool {
        match adapter {
            None => self.modules.is_empty() && self.trained.is_empty() && self.rows.is_empty(),
            Some(a) => {
                self.modules == a.modules
                    && self.trained == a.trained
                    && self.rows == a.rows
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

/// That an adapter has nothing that this route does not compute, beside what is bound.
fn check(
    adapter: &Adapter,
    layers: &[[GroupFactors; Kind::ALL.len()]],
    (norms, tables): (&[TrainedNorm], &TrainedTables),
) -> Result<(), Error> {
    let groups = layers.iter().flatten();
    let bound = groups.flat_map(GroupFactors::trained_places);
    let bound = bound.chain(norms.iter().map(|norm| norm.place));
    let bound: HashSet<usize> = bound.chain(tables.places()).collect();
    let is_bound = |tensor: &&TrainedTensor| bound.contains(&tensor.range.start);
    match adapter.trained.iter().find(|tensor| !is_bound(tensor)) {
        None => Ok(()),
        Some(tensor) => {
            let what = format!("{}, which trains as a whole", tensor.tensor);
            Err(refused(&what))
        }
    }
}

fn refused(what: &str) -> Error {
    let message = format!("on a GPU this version does not compute {what}");
    Error::invalid(message).hint("--device cpu does")
}

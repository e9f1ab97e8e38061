//! Which projection carries which module of an adapter, and the dropout of each.
use crate::spec::Projection;
use crate::{Dropout, Error};
use lora_checkpoint::ModelConfig;
use lora_core::Adapter;
use lora_kernels::linear::Lora;
use lora_kernels::rng::Mask;
use std::collections::HashMap;

/// An adapter bound to a decoder's projections.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    adapter: Option<&'a Adapter>,
    /// Module index of each projection of each layer.
    modules: Vec<[Option<usize>; Projection::ALL.len()]>,
    dropout: Option<Dropout>,
}

impl<'a> Binding<'a> {
    /// Binds every module of the adapter; one that no projection carries is an error, never ignored.
    pub(super) fn new(
        config: &ModelConfig,
        adapter: Option<&'a Adapter>,
        dropout: Option<Dropout>,
    ) -> Result<Self, Error> {
        let mut modules = vec![[None; Projection::ALL.len()]; config.num_hidden_layers];
        let mut open: HashMap<&str, usize> =
            adapter.iter().flat_map(|a| a.modules.iter().enumerate()).map(|(i, m)| (m.path.as_str(), i)).collect();
        for (layer, slots) in modules.iter_mut().enumerate() {
            for &projection in config.projections() {
                slots[projection.index()] = open.remove(projection.path(layer).as_str());
            }
        }
        if let Some(path) = open.into_keys().min() {
            return Err(Error::Invalid(format!(
                "the adapter targets {path}, which can't carry LoRA here\nhint: target projections of the layers, e.g. all-linear"
            )));
        }
        let more = |a: &Adapter| {
            let beyond = a.modules.iter().any(|m| m.magnitude.is_some() || m.lora_bias.is_some());
            beyond || !a.trained.is_empty() || a.origin.is_some()
        };
        if adapter.is_some_and(more) {
            return Err(Error::Invalid("this adapter trains more than A and B\nhint: use the composite route".into()));
        }
        let binding = Self { adapter, modules, dropout: dropout.filter(|d| d.p > 0.0) };
        binding.check_shapes(config)?;
        Ok(binding)
    }

    fn check_shapes(&self, config: &ModelConfig) -> Result<(), Error> {
        for slots in &self.modules {
            for &projection in config.projections() {
                let Some((adapter, index)) = self.adapter.zip(slots[projection.index()]) else { continue };
                let (m, (out, inn)) = (&adapter.modules[index], config.shape(projection));
                if (m.out_features, m.in_features) != (out, inn) {
                    return Err(Error::Invalid(format!(
                        "{}: the adapter is for a layer of shape ({}, {}), the base's is ({out}, {inn})\nhint: use the base that the adapter was trained on",
                        m.path, m.out_features, m.in_features
                    )));
                }
            }
        }
        Ok(())
    }

    /// Module index of a projection, if it carries an adapter.
    pub(super) fn module(&self, layer: usize, projection: Projection) -> Option<usize> {
        self.modules[layer][projection.index()]
    }

    /// The factors of a projection, if it carries an adapter.
    pub(super) fn lora(&self, layer: usize, projection: Projection) -> Option<Lora<'a>> {
        let (adapter, index) = self.adapter.zip(self.module(layer, projection))?;
        let (m, (a, b)) = (&adapter.modules[index], adapter.factors(index));
        Some(Lora { a, b, rank: m.rank, scaling: m.scaling })
    }

    /// The dropout mask of a projection, if dropout is on.
    pub(super) fn mask(&self, layer: usize, projection: Projection) -> Option<Mask> {
        let (dropout, index) = self.dropout.zip(self.module(layer, projection))?;
        Some(Mask::new(dropout.seed, dropout.step, index as u64, dropout.p))
    }

    /// The first layer that carries an adapter: nothing below it needs a gradient.
    pub(super) fn lowest_layer(&self) -> usize {
        self.modules.iter().position(|slots| slots.iter().any(Option::is_some)).unwrap_or(self.modules.len())
    }

    /// The gradients of a projection's A and B inside the flat gradient.
    pub(super) fn gradients<'g>(&self, module: usize, flat: &'g mut [f32]) -> Option<(&'g mut [f32], &'g mut [f32])> {
        let m = &self.adapter?.modules[module];
        let (first, second) = if m.a.start <= m.b.start { (&m.a, &m.b) } else { (&m.b, &m.a) };
        let (head, tail) = flat.split_at_mut(second.start);
        let (x, y) = (&mut head[first.clone()], &mut tail[..second.len()]);
        Some(if m.a.start <= m.b.start { (x, y) } else { (y, x) })
    }
}

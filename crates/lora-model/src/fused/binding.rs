//! Where an adapter sits in a decoder: what trains at each linear layer, at the embedding and at the norms.
use super::weights::Matrix;
use crate::spec::{EMBEDDING, HEAD, Projection};
use crate::{Dropout, Error};
use lora_checkpoint::{ModelConfig, Norm};
use lora_core::Adapter;
use lora_kernels::Rows;
use lora_kernels::linear::{Dense, Lora};
use lora_kernels::rng::Mask;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// What trains at one linear layer or at the embedding: indices into the adapter's modules and trained tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) module: Option<usize>,
    weight: Option<usize>,
    bias: Option<usize>,
}

/// An adapter bound to a decoder.
#[derive(Debug, Clone)]
pub(super) struct Binding<'a> {
    pub(super) adapter: Option<&'a Adapter>,
    /// By layer and [`Projection::index`].
    layers: Vec<[Slot; Projection::ALL.len()]>,
    pub(super) embedding: Slot,
    pub(super) head: Slot,
    /// Trained weights of norms: the layer (none for the last norm), which, and the trained tensor.
    norms: Vec<(Option<usize>, Norm, usize)>,
    dropout: Option<Dropout>,
    /// DoRA's norms and gains, by module.
    dora: Arc<Vec<Option<Dora>>>,
}

/// ‖W + s·B·A‖ of each output, and m divided by it.
#[derive(Debug)]
pub(super) struct Dora {
    pub(super) norms: Vec<f32>,
    pub(super) gain: Vec<f32>,
}

/// What trains at one linear layer or at the embedding, ready to compute with.
#[derive(Debug)]
pub(super) struct Site<'s> {
    pub(super) lora: Option<Lora<'s>>,
    pub(super) lora_bias: Option<&'s [f32]>,
    pub(super) dora: Option<&'s Dora>,
    /// A and B that were taken out of the base.
    pub(super) origin: Option<Lora<'s>>,
    pub(super) mask: Option<Mask>,
    weight: Option<Dense<'s>>,
    pub(super) places: Places,
}

/// Where the gradients go in the flat vector.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) factors: Option<(Range<usize>, Range<usize>)>,
    pub(super) lora_bias: Option<Range<usize>>,
    pub(super) magnitude: Option<Range<usize>>,
    pub(super) weight: Option<Range<usize>>,
    pub(super) bias: Option<Range<usize>>,
}

impl Site<'_> {
    /// The weight that trains, or the base's.
    pub(super) fn weight<'w>(&'w self, base: &'w Matrix<'_>) -> &'w dyn Rows {
        match &self.weight {
            Some(trained) => trained,
            None => base,
        }
    }

    /// True if nothing trains here.
    pub(super) fn is_plain(&self) -> bool {
        self.lora.is_none() && self.weight.is_none()
    }
}

impl<'a> Binding<'a> {
    /// Binds everything that the adapter trains; what has no place in the decoder is an error, never ignored.
    pub(super) fn new(
        config: &ModelConfig,
        adapter: Option<&'a Adapter>,
        dropout: Option<Dropout>,
    ) -> Result<Self, Error> {
        let mut binding = Self {
            adapter,
            layers: vec![Default::default(); config.num_hidden_layers],
            embedding: Slot::default(),
            head: Slot::default(),
            norms: Vec::new(),
            dropout: dropout.filter(|d| d.p > 0.0),
            dora: Arc::default(),
        };
        let Some(adapter) = adapter else {
            return Ok(binding);
        };
        let mut open = Open::of(adapter);
        let (h, v) = (config.hidden_size, config.vocab_size);
        binding.embedding = open.slot(EMBEDDING, (h, v))?;
        for layer in 0..config.num_hidden_layers {
            for &projection in config.projections() {
                let slot = open.slot(&projection.path(layer), config.shape(projection))?;
                binding.layers[layer][projection.index()] = slot;
            }
            for &(norm, _) in config.facts().norms {
                let path = config.norm_path(layer, norm);
                let trained =
                    path.and_then(|path| open.trained.remove(format!("{path}.weight").as_str()));
                binding
                    .norms
                    .extend(trained.map(|index| (Some(layer), norm, index)));
            }
        }
        let last = open.trained.remove("model.norm.weight");
        binding
            .norms
            .extend(last.map(|index| (None, Norm::Input, index)));
        binding.head = open.slot(HEAD, (v, h))?;
        open.nothing_left()?;
        Ok(binding)
    }

    /// True if inputs are dropped: masks are those of all rows.
    pub(super) fn drops(&self) -> bool {
        self.dropout.is_some()
    }

    /// Module index of a projection, if it carries LoRA.
    pub(super) fn slot(&self, layer: usize, projection: Projection) -> Slot {
        self.layers[layer][projection.index()]
    }

    /// What trains in a slot.
    pub(super) fn site(&self, slot: Slot) -> Site<'_> {
        let mut site = Site {
            lora: None,
            lora_bias: None,
            dora: None,
            origin: None,
            mask: None,
            weight: None,
            places: Places::default(),
        };
        let Some(adapter) = self.adapter else {
            return site;
        };
        let trained = |index: usize| {
            (
                &adapter.trained[index],
                &adapter.params[adapter.trained[index].range.clone()],
            )
        };
        if let Some((tensor, values)) = slot.weight.map(trained) {
            site.weight = Some(Dense {
                values,
                columns: tensor.shape.last().copied().unwrap_or(1),
            });
            site.places.weight = Some(tensor.range.clone());
        }
        if let Some((tensor, _)) = slot.bias.map(trained) {
            site.places.bias = Some(tensor.range.clone());
        }
        let Some(index) = slot.module else {
            return site;
        };
        let (m, (a, b)) = (&adapter.modules[index], adapter.factors(index));
        let params = |range: &Range<usize>| &adapter.params[range.clone()];
        site.lora = Some(Lora {
            a,
            b,
            rank: m.rank,
            scaling: m.scaling,
        });
        site.lora_bias = m.lora_bias.as_ref().map(params);
        site.dora = self.dora.get(index).and_then(Option::as_ref);
        site.origin = adapter.origin_factors(index).map(|(a, b)| Lora {
            a,
            b,
            rank: m.rank,
            scaling: -m.scaling,
        });
        site.mask = self
            .dropout
            .map(|d| Mask::new(d.seed, d.step, index as u64, d.p));
        site.places.factors = Some((m.a.clone(), m.b.clone()));
        site.places.lora_bias = m.lora_bias.clone();
        site.places.magnitude = m.magnitude.clone();
        site
    }

    /// The slot of every module that carries LoRA, with its layer and projection (none for embedding and head).
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, Option<(usize, Projection)>)> + '_ {
        let layers = self.layers.iter().enumerate().flat_map(|(layer, slots)| {
            Projection::ALL
                .into_iter()
                .map(move |p| (slots[p.index()], Some((layer, p))))
        });
        [(self.embedding, None), (self.head, None)]
            .into_iter()
            .chain(layers)
            .filter(|(slot, _)| slot.module.is_some())
    }

    /// DoRA's norms and gains, by module.
    pub(super) fn set_dora(&mut self, dora: Vec<Option<Dora>>) {
        self.dora = Arc::new(dora);
    }

    /// Biases that train in the layers, with their values.
    pub(super) fn biases(&self) -> impl Iterator<Item = (usize, Projection, &'a [f32])> + '_ {
        self.layers
            .iter()
            .enumerate()
            .flat_map(move |(layer, slots)| {
                Projection::ALL.into_iter().filter_map(move |p| {
                    let tensor = &self.adapter?.trained[slots[p.index()].bias?];
                    Some((layer, p, &self.adapter?.params[tensor.range.clone()]))
                })
            })
    }

    /// Norms that train (no layer for the last norm), with their weights.
    pub(super) fn norms(&self) -> impl Iterator<Item = (Option<usize>, Norm, &'a [f32])> + '_ {
        self.norms.iter().filter_map(|&(layer, norm, index)| {
            let adapter = self.adapter?;
            Some((
                layer,
                norm,
                &adapter.params[adapter.trained[index].range.clone()],
            ))
        })
    }

    /// Adds to the gradient of a norm's weight, if it trains: `x` and `rstd` are those of the forward pass.
    pub(super) fn norm_gradient(
        &self,
        (layer, norm): (Option<usize>, Norm),
        x: &[f32],
        rstd: &[f32],
        dy: &[f32],
        gradients: &mut [f32],
    ) {
        let found = self
            .norms
            .iter()
            .find(|(l, n, _)| (*l, *n) == (layer, norm));
        let Some((adapter, &(.., index))) = self.adapter.zip(found) else {
            return;
        };
        let place = adapter.trained[index].range.clone();
        lora_kernels::norm::weight_gradient(x, rstd, dy, &mut gradients[place]);
    }

    /// The first layer in or below which something trains: nothing below it needs a gradient.
    pub(super) fn lowest_layer(&self) -> usize {
        if self.embedding != Slot::default() {
            return 0;
        }
        let linears = self
            .layers
            .iter()
            .position(|slots| slots.iter().any(|slot| *slot != Slot::default()));
        let norms = self.norms.iter().filter_map(|(layer, ..)| *layer).min();
        linears
            .into_iter()
            .chain(norms)
            .min()
            .unwrap_or(self.layers.len())
    }
}

/// What of an adapter has not found its place yet.
struct Open<'a> {
    adapter: &'a Adapter,
    modules: HashMap<&'a str, usize>,
    trained: HashMap<&'a str, usize>,
}

impl<'a> Open<'a> {
    fn of(adapter: &'a Adapter) -> Self {
        let modules = adapter
            .modules
            .iter()
            .enumerate()
            .map(|(i, m)| (m.path.as_str(), i))
            .collect();
        let trained = adapter
            .trained
            .iter()
            .enumerate()
            .map(|(i, t)| (t.tensor.as_str(), i))
            .collect();
        Self {
            adapter,
            modules,
            trained,
        }
    }

    /// What trains at a path, of shape (out, in).
    fn slot(&mut self, path: &str, (out, inn): (usize, usize)) -> Result<Slot, Error> {
        let slot = Slot {
            module: self.modules.remove(path),
            weight: self.trained.remove(format!("{path}.weight").as_str()),
            bias: self.trained.remove(format!("{path}.bias").as_str()),
        };
        if let Some(m) = slot.module.map(|index| &self.adapter.modules[index])
            && (m.out_features, m.in_features) != (out, inn)
        {
            return Err(Error::invalid(format!(
                "{path}: the adapter is for a layer of shape ({}, {}), the base's is ({out}, {inn})",
                m.out_features, m.in_features
            ))
            .hint("use the base that the adapter was trained on"));
        }
        let whole = slot.weight.map(|index| &self.adapter.trained[index]);
        if let Some(t) = whole.filter(|t| t.range.len() != out * inn) {
            return Err(Error::invalid(format!(
                "{}: the adapter holds shape {:?}, the base's is of {} values",
                t.tensor,
                t.shape,
                out * inn
            ))
            .hint("use the base that the adapter was trained on"));
        }
        Ok(slot)
    }

    fn nothing_left(self) -> Result<(), Error> {
        match self
            .modules
            .into_keys()
            .chain(self.trained.into_keys())
            .min()
        {
            None => Ok(()),
            Some(path) => Err(Error::invalid(format!(
                "the adapter trains {path}, which this base does not have"
            ))
            .hint("use the base that the adapter was trained on")),
        }
    }
}

//! Where an adapter sits in a decoder: what trains at each linear layer, at the embedding and at the norms.
use super::expert_sites::{MixtureSite, MixtureSlots};
use super::matrix::Matrix;
use super::norms::{NormLayer, NormPart};
use super::patched::Patched;
use super::site::{Dora, Factors, Site};
use super::unbound::{Slot, Unbound};
use crate::spec::{EMBEDDING, HEAD, Projection};
use crate::{Dropout, Error};
use lora_checkpoint::{ModelConfig, Norm};
use lora_core::{Adapter, TargetedModule};
use lora_kernels::lora::Lora;
use lora_kernels::matrix::Mat;
use lora_kernels::rows::Dense;
use lora_random::Mask;
use std::ops::Range;
use std::sync::Arc;

/// Whose norm it is: the layer (none for the last norm), and which.
pub(crate) type NormPlace = (Option<usize>, Norm);

/// An adapter bound to a decoder.
#[derive(Debug, Clone)]
pub(crate) struct Binding<'a> {
    pub(crate) adapter: Option<&'a Adapter>,
    /// By layer and [`Projection::index`].
    layers: Vec<[Slot; Projection::ALL.len()]>,
    /// By layer.
    mixtures: Vec<MixtureSlots>,
    pub(crate) embedding: Slot,
    pub(crate) head: Slot,
    /// Trained vectors of norms: whose, which, and the trained tensor.
    norms: Vec<(NormPlace, NormPart, usize)>,
    dropout: Option<Dropout>,
    /// DoRA's norms and gains, by module.
    dora: Arc<Vec<Option<Dora>>>,
}

impl<'a> Binding<'a> {
    /// Binds everything that the adapter trains; what has no place in the decoder is an error, never ignored.
    pub(crate) fn new(
        config: &ModelConfig,
        adapter: Option<&'a Adapter>,
        dropout: Option<Dropout>,
    ) -> Result<Self, Error> {
        let mut binding = Self {
            adapter,
            layers: vec![Default::default(); config.num_hidden_layers],
            mixtures: vec![MixtureSlots::default(); config.num_hidden_layers],
            embedding: Slot::default(),
            head: Slot::default(),
            norms: Vec::new(),
            dropout: dropout.filter(|d| d.p > 0.0),
            dora: Arc::default(),
        };
        let Some(adapter) = adapter else {
            return Ok(binding);
        };
        let mut open = Unbound::of(adapter);
        let (h, v) = (config.hidden_size, config.vocab_size);
        binding.embedding = open.slot(EMBEDDING, (h, v))?;
        for layer in 0..config.num_hidden_layers {
            for projection in config.projections_of(layer) {
                let shape = config.shape(layer, projection);
                let slot = open.slot(&config.path(projection, layer), shape)?;
                binding.layers[layer][projection.index()] = slot;
            }
            binding.mixtures[layer] = MixtureSlots::of(&mut open, config, layer)?;
            for &(norm, _) in config.facts().norms {
                let Some(path) = config.norm_path(layer, norm) else {
                    continue;
                };
                let trained = open.norm(&path).into_iter();
                let place = (Some(layer), norm);
                binding
                    .norms
                    .extend(trained.map(|(part, index)| (place, part, index)));
            }
        }
        let last = open.norm(config.facts().last_norm).into_iter();
        let place = (None, Norm::Input);
        binding
            .norms
            .extend(last.map(|(part, index)| (place, part, index)));
        binding.head = open.slot(HEAD, (v, h))?;
        open.nothing_left()?;
        let of_mixture = |slots: &MixtureSlots| *slots != MixtureSlots::default();
        if binding.drops() && binding.mixtures.iter().any(of_mixture) {
            let message = "there is no dropout on the parameters of a mixture of experts";
            return Err(Error::invalid(message.to_owned()).hint("train without dropout"));
        }
        Ok(binding)
    }

    /// True if inputs are dropped: masks are those of all rows.
    pub(crate) fn drops(&self) -> bool {
        self.dropout.is_some()
    }

    /// Module index of a projection, if it carries LoRA.
    pub(crate) fn slot(&self, layer: usize, projection: Projection) -> Slot {
        self.layers[layer][projection.index()]
    }

    /// Module indices of a mixture's parameters, of those that carry LoRA.
    pub(crate) fn mixture_slots(&self, layer: usize) -> MixtureSlots {
        self.mixtures[layer]
    }

    /// What trains at the router and the experts of a layer.
    pub(super) fn mixture(&self, layer: usize) -> MixtureSite<'_> {
        let site = |adapter| self.mixtures[layer].site(adapter);
        self.adapter.map(site).unwrap_or_default()
    }

    /// What trains in a slot.
    pub(super) fn site(&self, slot: Slot) -> Site<'_> {
        let mut site = Site::default();
        let Some(adapter) = self.adapter else {
            return site;
        };
        if let Some(tensor) = slot.weight.map(|index| &adapter.trained[index]) {
            site.weight = Some(Dense {
                values: &adapter.params[tensor.range.clone()],
                columns: tensor.shape.last().copied().unwrap_or(1),
            });
            site.places.weight = Some(tensor.range.clone());
        }
        let bias = slot.bias.map(|index| &adapter.trained[index]);
        site.places.bias = bias.map(|tensor| tensor.range.clone());
        let Some(index) = slot.module else {
            return site;
        };
        let module = &adapter.modules[index];
        site.lora = Some(lora(module, adapter.factors(index), module.scaling));
        let origin = adapter.origin_factors(index);
        site.origin = origin.map(|factors| lora(module, factors, -module.scaling));
        let params = |range: &Range<usize>| &adapter.params[range.clone()];
        site.lora_bias = module.lora_bias.as_ref().map(params);
        site.dora = self.dora.get(index).and_then(Option::as_ref);
        let mask = |d: Dropout| Mask::new(d.seed, d.step, index as u64, d.p);
        site.mask = self.dropout.map(mask);
        site.places.factors = Some(Factors {
            a: module.a.clone(),
            b: module.b.clone(),
        });
        site.places.lora_bias = module.lora_bias.clone();
        site.places.magnitude = module.magnitude.clone();
        site
    }

    /// What trains at the embedding or the head, whose base weight is `table`: rows of it can train alone.
    pub(super) fn table<'s>(&'s self, slot: Slot, table: &'s Matrix<'s>) -> Site<'s> {
        let mut site = self.site(slot);
        let own = self.adapter.zip(slot.rows);
        site.patched = own.map(|(adapter, index)| {
            let rows = &adapter.rows[index];
            Patched::new(table, (rows, &adapter.params[rows.range.clone()]))
        });
        site
    }

    /// The slot of every module that carries LoRA, with its layer and projection (none for embedding and head).
    pub(crate) fn slots(&self) -> impl Iterator<Item = (Slot, Option<(usize, Projection)>)> + '_ {
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
    pub(crate) fn biases(&self) -> impl Iterator<Item = (usize, Projection, &'a [f32])> + '_ {
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

    /// Vectors of norms that train: whose, which, and the adapter's trained tensor.
    pub(crate) fn norm_slots(&self) -> &[(NormPlace, NormPart, usize)] {
        &self.norms
    }

    /// Vectors of norms that train (no layer for the last norm), with their values.
    pub(super) fn norms(
        &self,
    ) -> impl Iterator<Item = (Option<usize>, Norm, NormPart, &'a [f32])> + '_ {
        self.norms
            .iter()
            .filter_map(|&((layer, norm), part, index)| {
                let adapter = self.adapter?;
                let values = &adapter.params[adapter.trained[index].range.clone()];
                Some((layer, norm, part, values))
            })
    }

    /// Adds to the gradients of what trains of a norm: `x` and `rstd` are those of the forward pass.
    pub(super) fn norm_gradient(
        &self,
        (place, norm): (NormPlace, &NormLayer),
        x: &[f32],
        rstd: &[f32],
        dy: &[f32],
        gradients: &mut [f32],
    ) {
        let Some(adapter) = self.adapter else { return };
        let own = self.norms.iter().filter(|(own, ..)| *own == place);
        for &(_, part, index) in own {
            let to = adapter.trained[index].range.clone();
            norm.gradient(part, x, rstd, dy, &mut gradients[to]);
        }
    }

    /// The first layer in or below which something trains: nothing below it needs a gradient.
    pub(crate) fn lowest_layer(&self) -> usize {
        if self.embedding != Slot::default() {
            return 0;
        }
        let linears = self
            .layers
            .iter()
            .position(|slots| slots.iter().any(|slot| *slot != Slot::default()));
        let norms = self
            .norms
            .iter()
            .filter_map(|((layer, _), ..)| *layer)
            .min();
        let mixtures = self
            .mixtures
            .iter()
            .position(|slots| *slots != MixtureSlots::default());
        linears
            .into_iter()
            .chain(mixtures)
            .chain(norms)
            .min()
            .unwrap_or(self.layers.len())
    }
}

fn lora<'a>(module: &TargetedModule, (a, b): (&'a [f32], &'a [f32]), scaling: f32) -> Lora<'a> {
    Lora {
        a: Mat::new(a, module.rank, module.in_features),
        b: Mat::new(b, module.out_features, module.rank),
        scaling,
    }
}

//! A base's weights on the device.
use super::bound::Bound;
use super::group::Group;
use super::input_table::InputTable;
use super::kinds::Kind;
use super::load::Loader;
use super::mixture::{Mixture, MixtureSize};
use super::mixture_bound::MixtureColumns;
use super::norms::{NormLayer, gamma};
use super::states::StateLayer;
use super::table::Table;
use super::table_needs::TableNeeds;
use super::unit::Unit;
use super::widths::Groups;
use crate::fused::binding::NormPlace;
use crate::fused::norms::NormPart;
use crate::{Base, Error};
use lora_checkpoint::{ModelConfig, Norm};
use lora_gpu::{Dtype, Gpu, Tensor};

/// One decoder layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) input_norm: Option<NormLayer>,
    /// γ of each head, (d), or of all of them.
    pub(super) query_norm: Option<Tensor>,
    pub(super) key_norm: Option<Tensor>,
    /// 1 for each value of a head, where values are normalised.
    pub(super) value_norm: Option<Tensor>,
    pub(super) attention_output_norm: Option<Tensor>,
    pub(super) mlp_norm: Option<NormLayer>,
    pub(super) mlp_output_norm: Option<Tensor>,
    /// Of what the layer makes of its own input.
    pub(super) input_output_norm: Option<Tensor>,
    /// What its output is multiplied by.
    pub(super) output_scale: f32,
    /// The score of each head's sink, f32 (heads).
    pub(super) sinks: Option<Tensor>,
    /// What a layer that keeps a state has in attention's place.
    pub(super) state: Option<StateLayer>,
    /// What stands between the MLP's projections.
    pub(super) unit: Unit,
    /// The experts in the place of an MLP.
    pub(super) mixture: Option<Mixture>,
    /// By [`Kind`].
    pub(super) groups: Vec<Group>,
}

impl Layer {
    pub(super) fn group(&self, kind: Kind) -> &Group {
        &self.groups[kind as usize]
    }

    /// Columns for factors of its mixture.
    pub(super) fn mixture_columns(&self) -> MixtureColumns {
        let size = self.mixture_size();
        size.map_or_else(MixtureColumns::default, MixtureSize::columns)
    }

    /// Its mixture as memory sees it.
    pub(super) fn mixture_size(&self) -> Option<MixtureSize> {
        self.mixture.as_ref().map(Mixture::size)
    }
}

/// All weights of a decoder.
#[derive(Debug)]
pub(super) struct Weights {
    /// (V, H).
    pub(super) embedding: Table,
    /// What makes the inputs of layers, where they have such.
    pub(super) inputs: Option<InputTable>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: NormLayer,
    /// (V, H): the embedding again if tied.
    pub(super) head: Table,
    pub(super) is_tied: bool,
    /// What trains at embedding and head, of the adapter that it was loaded for.
    pub(super) tables: [TableNeeds; 2],
    /// Whether something was taken out of the base for it.
    pub(super) keeps_origin: bool,
}

impl Weights {
    /// Takes a base to the device, with room for the factors of `bound`.
    pub(super) fn load(base: &Base, gpu: &Gpu, bound: &Bound) -> Result<Self, Error> {
        let config = base.config();
        let experts = config.experts.map_or(0, |own| own.width);
        let mlp = config.intermediate_size.max(experts);
        let own = config.per_layer_table();
        let own = own.map_or(0, |(_, [_, columns])| columns);
        let widest = config.hidden_size.max(mlp).max(own);
        let mut loader = Loader::new(gpu, widest)?;
        let mut table = |name: &str| -> Result<Table, Error> {
            let view = base.checkpoint().tensor(name)?;
            Ok(Table::load(&mut loader, &view)?)
        };
        let embedding = table("model.embed_tokens.weight")?;
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            table("lm_head.weight")?
        };
        let inputs = InputTable::load(base, &mut loader)?;
        let layers = (0..config.num_hidden_layers)
            .map(|layer| load_layer(base, &mut loader, layer, bound))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            embedding,
            inputs,
            layers,
            norm: NormLayer::load(base, gpu, config.facts().last_norm, Norm::Input)?,
            head,
            is_tied: config.tie_word_embeddings,
            tables: bound.tables.needs(),
            keeps_origin: bound.has_origin,
        })
    }

    /// A vector of a norm, f32.
    pub(super) fn norm_vector(&self, (layer, norm): NormPlace, part: NormPart) -> Option<&Tensor> {
        let is_weight = |_: &&Tensor| part == NormPart::Weight;
        let Some(layer) = layer.map(|layer| &self.layers[layer]) else {
            return self.norm.vector(part);
        };
        let own = match norm {
            Norm::Input => return layer.input_norm.as_ref()?.vector(part),
            Norm::MlpInput => return layer.mlp_norm.as_ref()?.vector(part),
            Norm::Query => &layer.query_norm,
            Norm::Key => &layer.key_norm,
            Norm::AttentionOutput => &layer.attention_output_norm,
            Norm::MlpOutput => &layer.mlp_output_norm,
            Norm::PerLayerOutput => &layer.input_output_norm,
            Norm::PerLayerInput => return Some(&self.inputs.as_ref()?.norm).filter(is_weight),
        };
        own.as_ref().filter(is_weight)
    }

    /// All groups as memory sees them, by layer.
    pub(super) fn groups(&self) -> Vec<Groups> {
        let of_layer = |layer: &Layer| Kind::ALL.map(|kind| layer.group(kind).size());
        self.layers.iter().map(of_layer).collect()
    }

    /// Columns for factors of mixtures, the most of each kind.
    pub(super) fn mixture_columns(&self) -> MixtureColumns {
        let layers = self.layers.iter().map(Layer::mixture_columns);
        layers.fold(MixtureColumns::default(), MixtureColumns::with)
    }

    /// Values of the widest matrix that is widened at each use.
    pub(super) fn widened(&self) -> usize {
        let groups = self.layers.iter().flat_map(|layer| &layer.groups);
        let widened = groups.filter(|group| group.is_widened());
        let mixtures = self.layers.iter().filter_map(Layer::mixture_size);
        let of_mixtures = mixtures.map(MixtureSize::widened);
        widened
            .map(Group::values)
            .chain(of_mixtures)
            .max()
            .unwrap_or(0)
    }
}

fn load_layer(
    base: &Base,
    loader: &mut Loader<'_>,
    layer: usize,
    bound: &Bound,
) -> Result<Layer, Error> {
    let gpu = loader.gpu();
    let path = |norm| base.config().norm_path(layer, norm);
    let hidden = |norm| -> Result<Option<NormLayer>, Error> {
        let path = path(norm);
        path.map(|path| NormLayer::load(base, gpu, &path, norm))
            .transpose()
    };
    let gamma = |norm| -> Result<Option<Tensor>, Error> {
        path(norm).map(|path| gamma(base, gpu, &path)).transpose()
    };
    let sinks = base.config().sinks(layer).map(|name| {
        let values = base.checkpoint().tensor(&name)?.to_f32();
        Ok::<_, Error>(gpu.uploaded(Dtype::F32, &values)?)
    });
    let mut groups = Vec::new();
    for kind in Kind::ALL {
        let factors = &bound.layers[layer][kind as usize];
        groups.push(Group::load(base, loader, (layer, kind), factors.room())?);
    }
    Ok(Layer {
        input_norm: hidden(Norm::Input)?,
        query_norm: gamma(Norm::Query)?,
        key_norm: gamma(Norm::Key)?,
        value_norm: value_norm(base.config(), gpu, layer)?,
        attention_output_norm: gamma(Norm::AttentionOutput)?,
        mlp_norm: hidden(Norm::MlpInput)?,
        mlp_output_norm: gamma(Norm::MlpOutput)?,
        input_output_norm: gamma(Norm::PerLayerOutput)?,
        output_scale: output_scale(base, layer)?,
        sinks: sinks.transpose()?,
        state: StateLayer::load(base, gpu, layer)?,
        unit: Unit::of(base, layer)?,
        mixture: Mixture::load(base, loader, layer, bound.mixtures[layer].columns())?,
        groups,
    })
}

/// Whether a layer has values of its own that are normalised.
pub(super) fn normalises_values(config: &ModelConfig, layer: usize) -> bool {
    let attends = config.layers[layer].has_attention();
    attends && config.facts().normalised_values && config.keys_of(layer).is_none()
}

/// The norm of values, which has no weight.
fn value_norm(config: &ModelConfig, gpu: &Gpu, layer: usize) -> Result<Option<Tensor>, Error> {
    let ones = || vec![1f32; config.heads_of(layer).width];
    let own = normalises_values(config, layer).then(|| gpu.uploaded(Dtype::F32, &ones()));
    Ok(own.transpose()?)
}

/// The number that a layer's output is multiplied by; 1 where it has none.
fn output_scale(base: &Base, layer: usize) -> Result<f32, Error> {
    let Some(name) = base.config().output_scale(layer) else {
        return Ok(1.0);
    };
    let found = base.checkpoint().tensor(&name)?.to_f32();
    Ok(found.first().copied().unwrap_or(1.0))
}

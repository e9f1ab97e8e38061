//! The groups of linear layers as memory sees them: of weights that are loaded, and of those that could be.
use super::expert_biases::Biases;
use super::group::{ALIGNED, GroupSize, blocks_of};
use super::kinds::Kind;
use super::mixture::MixtureSize;
use super::mixture_bound::{MixtureColumns, columns_of};
use super::stack::{StackSize, blocks_in};
use super::table::TableSize;
use super::table_needs::TableNeeds;
use super::trains::{Trained, lowest_layer, parameters_of, table_needs};
use super::unit::{GIVES, READS};
use super::weights::{Layer, Weights};
use super::widths::Groups;
use crate::Base;
use crate::spec::{EMBEDDING, HEAD, MixturePaths};
use lora_checkpoint::{Experts, ModelConfig, Projection};
use lora_core::TargetedModule;
use std::collections::{HashMap, HashSet};

/// How the weights of a base's linear layers, its embedding and its head lie on the device. Norms are never held in blocks.
#[derive(Debug, Clone, Copy)]
pub enum GpuBase<'b> {
    /// In the type of activations.
    Dense,
    /// In blocks of so many values and bytes.
    Blocks {
        /// Values of a block.
        values: usize,
        /// Bytes of it.
        bytes: usize,
    },
    /// As the files of this base have them: blocks that the device can widen stay blocks.
    Files(&'b Base),
}

impl GpuBase<'_> {
    /// The embedding, the head or the table of layers' inputs.
    fn table(self, name: &str, [rows, columns]: [usize; 2]) -> TableSize {
        let row_bytes = match self {
            Self::Dense => None,
            Self::Blocks { values, bytes } => Some(columns.div_ceil(values.max(1)) * bytes),
            Self::Files(base) => base.checkpoint().tensor(name).ok().and_then(|view| {
                blocks_of(&view).map(|_| view.stored_bytes() / view.rows().max(1))
            }),
        };
        TableSize {
            rows,
            columns,
            row_bytes,
        }
    }

    /// Bytes of the blocks of a linear layer; none if it is dense.
    fn blocks(self, config: &ModelConfig, layer: usize, projection: Projection) -> Option<usize> {
        match self {
            Self::Dense => None,
            // GGUF has its columns in another order, or leaves it as it is.
            Self::Blocks { .. }
                if matches!(projection, Projection::DeltaOut | Projection::PerLayerModel) =>
            {
                None
            }
            Self::Blocks { values, bytes } => {
                let (rows, columns) = config.shape(layer, projection);
                Some((rows * columns).div_ceil(values.max(1)) * bytes)
            }
            Self::Files(base) => {
                let name = format!("{}.weight", config.path(projection, layer));
                let view = base.checkpoint().tensor(&name).ok()?;
                blocks_of(&view).map(|_| view.stored_bytes())
            }
        }
    }

    /// Some projections of all experts of a layer.
    fn stack(
        self,
        config: &ModelConfig,
        layer: usize,
        (own, projections): (Experts, &[Projection]),
        factors: usize,
    ) -> StackSize {
        let shapes = projections.iter().map(|&p| config.expert_shape(own, p));
        let in_blocks = |values: usize, bytes: usize| {
            let each = shapes.clone();
            let each = each.map(|(rows, columns)| (rows * columns).div_ceil(values.max(1)) * bytes);
            own.count * each.sum::<usize>()
        };
        StackSize {
            experts: own.count,
            rows: shapes.clone().map(|(rows, _)| rows).sum(),
            columns: shapes
                .clone()
                .map(|(_, columns)| columns)
                .max()
                .unwrap_or(0),
            factors,
            blocks: match self {
                Self::Dense => None,
                Self::Blocks { values, bytes } => Some(in_blocks(values, bytes)),
                Self::Files(base) => blocks_in(base, layer, projections),
            },
        }
    }

    /// The mixture of a layer, if it has one, with columns for the factors of these modules.
    fn mixture(
        self,
        config: &ModelConfig,
        layer: usize,
        named: &HashMap<&str, &TargetedModule>,
    ) -> Option<MixtureSize> {
        let (paths, _) = MixturePaths::of(config, layer)?;
        let columns = |path: &String| columns_of(named.get(&path[..]).map_or(0, |m| m.rank));
        let own = config.experts_of(layer)?;
        Some(MixtureSize {
            router: own.count * config.hidden_size,
            biases: Biases::planned(config, own),
            router_factors: columns(&paths.router),
            gate_up: self.stack(config, layer, (own, READS), columns(&paths.gate_up)),
            down: self.stack(config, layer, (own, GIVES), columns(&paths.down)),
        })
    }
}

/// The groups of a decoder's layers, and what trains there.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) layers: Vec<Groups>,
    /// The mixture of each layer that has one.
    pub(super) mixtures: Vec<Option<MixtureSize>>,
    /// The first layer in which something trains.
    pub(super) lowest: usize,
    /// Trainable parameters.
    pub(super) parameters: usize,
    /// The embedding, and the head if it is another.
    pub(super) embedding: TableSize,
    pub(super) head: Option<TableSize>,
    /// The table of layers' inputs, where they have such.
    pub(super) inputs: Option<TableSize>,
    /// What trains at embedding and head.
    pub(super) tables: [TableNeeds; 2],
    /// Whether what was taken out of the base is kept.
    pub(super) keeps_origin: bool,
}

impl Sizes {
    /// Of weights that are loaded, of which something trains from a layer on.
    pub(super) fn of(weights: &Weights, parameters: usize, lowest: usize) -> Self {
        let layers = &weights.layers;
        Self {
            layers: weights.groups(),
            mixtures: layers.iter().map(Layer::mixture_size).collect(),
            lowest,
            parameters,
            embedding: weights.embedding.size(),
            head: (!weights.is_tied).then(|| weights.head.size()),
            inputs: weights.inputs.as_ref().map(|own| own.table.size()),
            tables: weights.tables,
            keeps_origin: weights.keeps_origin,
        }
    }

    /// Of a base that would be loaded for these modules.
    pub(super) fn planned(
        config: &ModelConfig,
        (modules, trained, rows): Trained<'_>,
        (base, keeps_origin): (GpuBase<'_>, bool),
    ) -> Self {
        let pairs = if keeps_origin { 2 } else { 1 };
        let named: HashMap<&str, &TargetedModule> =
            modules.iter().map(|m| (&m.path[..], m)).collect();
        let biases: HashSet<&str> = trained.iter().map(|t| &t.tensor[..]).collect();
        let size = |layer: usize, kind: Kind| {
            let mut size = GroupSize {
                outputs: 0,
                inputs: 0,
                columns: 0,
                has_magnitudes: false,
                trains_biases: false,
                blocks: Some(0),
            };
            for projection in kind.projections(config, layer) {
                let (rows, width) = config.shape(layer, projection);
                size.outputs += rows;
                size.inputs = width;
                let path = config.path(projection, layer);
                size.trains_biases |= biases.contains(&format!("{path}.bias")[..]);
                if let Some(module) = named.get(&path[..]) {
                    size.columns += pairs * module.rank;
                    size.has_magnitudes |= module.magnitude.is_some();
                    size.trains_biases |= module.lora_bias.is_some();
                }
                let blocks = base.blocks(config, layer, projection);
                size.blocks = size.blocks.zip(blocks).map(|(sum, more)| sum + more);
            }
            size.columns = size.columns.next_multiple_of(ALIGNED);
            size
        };
        let layers = (0..config.num_hidden_layers).map(|l| Kind::ALL.map(|kind| size(l, kind)));
        let of_vocabulary = [config.vocab_size, config.hidden_size];
        let mixtures = (0..config.num_hidden_layers).map(|l| base.mixture(config, l, &named));
        Self {
            layers: layers.collect(),
            mixtures: mixtures.collect(),
            lowest: lowest_layer(config, (modules, trained, rows)),
            parameters: parameters_of((modules, trained, rows)),
            embedding: base.table("model.embed_tokens.weight", of_vocabulary),
            head: (!config.tie_word_embeddings)
                .then(|| base.table("lm_head.weight", of_vocabulary)),
            inputs: config
                .per_layer_table()
                .map(|(name, shape)| base.table(&name, shape)),
            tables: [EMBEDDING, HEAD].map(|path| TableNeeds {
                is_whole: biases.contains(&format!("{path}.weight")[..]),
                ..table_needs(path, named.get(path).copied(), (rows, pairs))
            }),
            keeps_origin,
        }
    }

    /// Values of what is widened of the head, and bytes of what is widened of the embedding and of the table of layers' inputs for T
    /// rows; tables that train are dense.
    pub(super) fn widened_tables(&self, t: usize, act: usize) -> (usize, usize) {
        let head = self.head.unwrap_or(self.embedding).widened();
        let embedding = self.embedding.looked_up(t, act);
        let [own_embedding, own_head] = self.tables;
        let or_none = |own: TableNeeds, value| if own.is_whole { 0 } else { value };
        let inputs = self.inputs.map_or(0, |own| own.looked_up(t, act));
        (
            or_none(own_head, head),
            or_none(own_embedding, embedding) + inputs,
        )
    }

    /// Columns for factors of mixtures, the most of each kind.
    pub(super) fn mixture_columns(&self) -> MixtureColumns {
        let mixtures = self.mixtures.iter().flatten();
        let columns = mixtures.map(|own| own.columns());
        columns.fold(MixtureColumns::default(), MixtureColumns::with)
    }

    /// Values of the widest matrix that is widened at each use.
    pub(super) fn widened(&self) -> usize {
        let groups = self.layers.iter().flatten();
        let widened = groups.filter(|group| group.blocks.is_some());
        let mixtures = self.mixtures.iter().flatten();
        let of_mixtures = mixtures.map(|own| own.widened());
        widened
            .map(|g| g.values())
            .chain(of_mixtures)
            .max()
            .unwrap_or(0)
    }
}

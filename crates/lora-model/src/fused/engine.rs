//! Weights and memory of the fused route, and its passes over all layers. Runs inside the route's pool.
//! `train` has the passes of a training step, `head` what follows the last layer, `adopt` what an adapter changes.
use super::batch::{Batch, Prefixes};
use super::binding::Binding;
use super::buffers::{Buffer, Kept, Saved};
use super::cache::LayerCache;
use super::chosen::{Chooser, ChosenExperts};
use super::embed;
use super::keep::{Plan, Store};
use super::layer::{self, Reads};
use super::pass::{LayerPass, Pass};
use super::rotation::Tables;
use super::scratch::{HeadBuffers, Scratch};
use super::watch::{InputSquares, Watch};
use super::weights::Weights;
use crate::{Base, Error, Packed};
use lora_checkpoint::ModelConfig;
use lora_kernels::profile::{Part, Profile};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Engine<'b> {
    pub(super) base: &'b Base,
    pub(super) config: &'b ModelConfig,
    pub(super) weights: Weights<'b>,
    /// One for each of the config's rotary embeddings.
    tables: Vec<Tables>,
    /// What is kept of the layers' forward passes.
    pub(super) plan: Plan,
    /// The layer at work, where it keeps nothing of its own.
    pub(super) work: Saved,
    /// One a layer, in training.
    pub(super) stores: Vec<Store>,
    pub(super) scratch: Scratch,
    /// The hidden state, (T, H).
    pub(super) x: Buffer,
    /// Its gradient.
    pub(super) d_x: Buffer,
    pub(super) head: HeadBuffers,
    /// What the backward pass needs of the embedding.
    pub(super) embedded: Kept,
    /// Where the time goes.
    pub(super) profile: Arc<Profile>,
    /// Who looks at the inputs of linear layers.
    pub(super) watch: Watch,
    /// Who sees or gives the experts that tokens choose.
    pub(super) chooser: Chooser,
    /// Σ W² of each output of the modules that DoRA has met.
    pub(super) squares: BTreeMap<String, Vec<f64>>,
}

/// What a forward pass does beside the layers themselves.
#[derive(Debug, Default)]
pub(super) struct Around<'r> {
    /// Keys and values of each layer are appended to it, and attention reads from it.
    pub(super) cache: Option<&'r mut [LayerCache]>,
    /// Rows of the last layer's output that are asked for; None for all.
    pub(super) wanted: Option<&'r [usize]>,
}

impl<'b> Engine<'b> {
    pub(super) fn new(base: &'b Base) -> Result<Self, Error> {
        let ropes = base.config().ropes.iter();
        Ok(Self {
            base,
            config: base.config(),
            weights: Weights::of(base)?,
            tables: ropes.map(|_| Tables::default()).collect(),
            plan: Plan::ALL,
            work: Saved::default(),
            stores: Vec::new(),
            scratch: Scratch::default(),
            x: Buffer::default(),
            d_x: Buffer::default(),
            head: HeadBuffers::default(),
            embedded: Kept::default(),
            profile: Arc::default(),
            watch: Watch::default(),
            chooser: Chooser::default(),
            squares: BTreeMap::new(),
        })
    }

    /// The rows of a pack.
    pub(super) fn batch(&self, packed: &Packed, prefixes: Prefixes) -> Batch {
        let ropes = &self.config.ropes;
        let variants = |length| {
            let all = ropes.iter().map(|rope| rope.variant(length));
            all.collect::<Vec<_>>()
        };
        Batch::of(packed, prefixes, variants)
    }

    /// What a pass over a batch needs beside the weights.
    pub(super) fn pass<'p>(&mut self, binding: &'p Binding<'p>, batch: &'p Batch) -> Pass<'p>
    where
        'b: 'p,
    {
        let tables = self.config.ropes.iter().zip(&mut self.tables);
        let rotations = tables
            .map(|(rope, tables)| tables.rotation(rope, &batch.layout, &batch.lengths))
            .collect();
        Pass {
            config: self.config,
            binding,
            batch,
            rotations,
            profile: Arc::clone(&self.profile),
            watch: self.watch.clone(),
            chooser: self.chooser.clone(),
            balancing: None,
        }
    }

    /// The hidden state before the first layer, in `self.x`.
    pub(super) fn embed(&mut self, binding: &Binding<'_>, ids: &[u32]) {
        let x = self.x.get(ids.len() * self.config.hidden_size);
        let site = binding.table(binding.embedding, &self.weights.embedding);
        let embedding = embed::Embedding {
            site: &site,
            ids,
            scale: self.config.embedding_scale() as f32,
        };
        let (table, embedded) = (&self.weights.embedding, &mut self.embedded);
        self.profile.time(Part::Embedding, 0, || {
            embedding.forward(table, x, embedded);
        });
    }

    /// Leaves the hidden states after the last layer in `self.x`, of the wanted rows if only some are. Nothing is saved for
    /// a backward pass.
    pub(super) fn forward(&mut self, binding: &Binding<'_>, batch: &Batch, around: Around<'_>) {
        let pass = self.pass(binding, batch);
        self.embed(binding, &batch.ids);
        let x = self.x.get(batch.tokens() * self.config.hidden_size);
        let layers = self.weights.layers.len();
        let mut cache = around.cache;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let at = LayerPass {
                pass: &pass,
                index,
                layer,
                rows: batch.tokens(),
            };
            // A layer that reads the keys of an earlier one reads its cache.
            let own = layer.keys_of.unwrap_or(index);
            let reads = Reads {
                cache: cache.as_deref_mut().map(|caches| &mut caches[own]),
                wanted: around.wanted.filter(|_| index + 1 == layers),
            };
            layer::forward(at, x, &mut self.work, reads, &mut self.scratch);
        }
    }

    /// Logits of the given positions of the pack, (n, V).
    pub(super) fn logits(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        places: &[usize],
    ) -> Vec<f32> {
        let batch = self.batch(packed, Prefixes::Separate);
        self.forward(binding, &batch, Around::default());
        self.logits_of(binding, places)
    }

    /// Logits of all positions, (T, V), and the experts that the tokens choose; where some are `followed`, they go to those.
    pub(super) fn logits_by_experts(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        followed: Option<ChosenExperts>,
    ) -> (Vec<f32>, ChosenExperts) {
        self.chooser = Chooser::begun(followed);
        let places: Vec<usize> = (0..packed.tokens()).collect();
        let logits = self.logits(binding, packed, &places);
        (logits, std::mem::take(&mut self.chooser).ended())
    }

    /// Runs a pack through the decoder, and adds the squares of all linear layers' inputs.
    pub(super) fn watch_inputs(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        squares: &mut InputSquares,
    ) {
        self.watch = Watch::begun(std::mem::take(squares));
        let batch = self.batch(packed, Prefixes::Separate);
        self.forward(binding, &batch, Around::default());
        *squares = std::mem::take(&mut self.watch).ended();
        squares.tokens += packed.tokens() as u64;
    }
}

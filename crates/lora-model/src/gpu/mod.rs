//! The route on a GPU: weights, activations and the adapter lie in the device's memory; every operation is lora-gpu's.
//!
//! A [`Route`] call becomes a `batch` (rows) and a `binding` (where an adapter sits), as on the CPU; the `engine` walks the
//! layers with them. A `layer` reads top to bottom as the model does: `mixers` are its `attention` and what keeps a state in the
//! place of that or beside it (`short_conv`, `mamba`, `delta`; `states` has their weights), `linear` one `group` of
//! linear layers with an adapter's `factors` and, where DoRA is, its `gains`, `experts` what a `mixture` of experts does in the
//! place of an MLP, `per_layer` what a layer makes of an input of its own. `embed` is what precedes the layers.
mod attention;
mod bound;
mod buffer;
mod by_scores;
mod by_token;
mod decoders;
mod delta;
mod dora;
mod embed;
mod embedding;
mod engine;
mod expert_biases;
mod expert_scratch;
mod experts;
mod factors;
mod following;
mod footprint;
mod gains;
mod generate;
mod group;
mod head;
mod head_dora;
mod head_product;
mod head_room;
mod heads;
mod input_scratch;
mod input_table;
mod kinds;
mod layer;
mod layer_inputs;
mod learn;
mod learning;
mod linear;
mod load;
mod mamba;
mod mixers;
mod mixture;
mod mixture_bound;
mod mixture_factors;
mod mlp;
mod norms;
mod output;
mod own_biases;
mod own_norms;
mod own_rows;
mod own_tables;
mod own_weights;
mod pairs;
mod pass;
mod per_layer;
mod places;
mod predict;
mod profile;
mod rotation;
mod route;
mod router;
mod rule_layers;
mod rules;
mod saved;
mod score_blocks;
mod scratch;
mod sequences;
mod shared_keys;
mod shared_scratch;
mod short_conv;
mod sizes;
mod stack;
mod stack_factors;
mod states;
mod step;
mod table;
mod table_factors;
mod table_gains;
mod table_needs;
mod table_room;
mod trained_biases;
mod trained_norms;
mod trained_tables;
mod trains;
mod unit;
mod weights;
mod widths;

use crate::fused::batch::{Batch, Prefixes};
use crate::fused::binding::Binding;
use crate::{Base, BatchSize, Dropout, Error, Packed};
use bound::Bound;
use engine::Engine;
pub use footprint::GpuMemory;
use learning::Learning;
use lora_checkpoint::ModelConfig;
use lora_core::Adapter;
use lora_gpu::Gpu;
pub use predict::{GpuDemand, GpuPeak, GpuStep, attends_on_gpu};
pub use sizes::GpuBase;
use std::sync::Arc;

/// The route on a GPU.
#[derive(Debug)]
pub struct OnGpu<'b> {
    engine: Engine<'b>,
    share_prefixes: bool,
    /// What learns on the device, if something does.
    learning: Option<Learning>,
}

impl<'b> OnGpu<'b> {
    /// Takes a base to the device, with room for an adapter like `adapter`.
    ///
    /// # Errors
    /// If the device has not enough memory, or the adapter trains what this route does not compute.
    pub fn new(base: &'b Base, gpu: Gpu, adapter: Option<&Adapter>) -> Result<Self, Error> {
        Ok(Self {
            engine: Engine::new(base, gpu, adapter)?,
            share_prefixes: true,
            learning: None,
        })
    }

    /// The base on a GPU with room for the largest of these adapters, each of which can be computed there.
    ///
    /// # Errors
    /// As for [`OnGpu::new`] and [`OnGpu::check`].
    pub fn for_adapters<'a>(
        base: &'b Base,
        gpu: Gpu,
        adapters: impl Iterator<Item = &'a Adapter> + Clone,
    ) -> Result<Self, Error> {
        let largest = adapters.clone().max_by_key(|adapter| adapter.params.len());
        let route = Self::new(base, gpu, largest)?;
        for adapter in adapters {
            route.check(adapter)?;
        }
        Ok(route)
    }

    /// Whether a decoder can be computed here.
    ///
    /// # Errors
    /// If its layers hold something that this route does not compute.
    pub fn check_decoder(config: &ModelConfig) -> Result<(), Error> {
        decoders::check(config)
    }

    /// Whether an adapter can be computed here.
    ///
    /// # Errors
    /// If it does not fit the base, or trains what this route does not compute.
    pub fn check(&self, adapter: &Adapter) -> Result<(), Error> {
        let binding = Binding::new(self.engine.config, Some(adapter), None)?;
        Bound::of(self.engine.config, &binding).map(|_| ())
    }

    /// Whether tokens that several sequences of a pack begin with are computed once (the default). With dropout nothing is
    /// shared, for each sequence has masks of its own.
    #[must_use]
    pub fn with_shared_prefixes(mut self, on: bool) -> Self {
        self.share_prefixes = on;
        self
    }

    /// How many layers keep their activations for the backward pass; all by default. The others are computed again: the
    /// results are the same, bit for bit.
    #[must_use]
    pub fn with_kept_layers(mut self, layers: usize) -> Self {
        self.engine.kept = layers;
        self
    }

    /// Chooses how many layers keep their activations, for the largest `batch` of a run that trains so many parameters, with
    /// or without dropout, in the memory that is free or of a smaller `budget` (bytes).
    ///
    /// # Errors
    /// If not even a step fits whose layers are all computed again.
    pub fn fit(
        &mut self,
        batch: BatchSize,
        parameters: usize,
        drops: bool,
        budget: Option<u64>,
    ) -> Result<GpuMemory, Error> {
        self.engine.fit(batch, parameters, drops, budget)
    }

    /// Whether some weights stay on the device as the file's blocks, and are widened when they are used.
    #[must_use]
    pub fn holds_blocks(&self) -> bool {
        self.engine.weights.widened() > 0
    }

    /// Measures where the time goes; steps then take longer, since the device is waited for part by part.
    #[must_use]
    pub fn with_profile(mut self) -> Self {
        self.engine.profile = Some(Arc::default());
        self
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.engine.gpu
    }

    fn batch(&self, packed: &Packed, dropout: Option<Dropout>) -> Batch {
        let may_share = self.share_prefixes && !self.engine.chooser.follows();
        let shares = may_share && dropout.is_none_or(|d| d.p == 0.0);
        let prefixes = if shares {
            Prefixes::Shared
        } else {
            Prefixes::Separate
        };
        self.laid_out(packed, prefixes)
    }

    fn laid_out(&self, packed: &Packed, prefixes: Prefixes) -> Batch {
        let ropes = &self.engine.config.ropes;
        let variants = |length| {
            let all = ropes.iter().map(|rope| rope.variant(length));
            all.collect::<Vec<_>>()
        };
        Batch::of(packed, prefixes, variants)
    }

    fn binding<'a>(
        &self,
        adapter: Option<&'a Adapter>,
        packed: &Packed,
        dropout: Option<Dropout>,
    ) -> Result<Binding<'a>, Error> {
        let config = self.engine.config;
        packed.check_vocabulary(config.vocab_size)?;
        Binding::new(config, adapter, dropout)
    }
}

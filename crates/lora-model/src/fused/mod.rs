//! The fused route: hand-written forward and backward over slices, layer by layer, on the CPU. Frozen weights are read
//! where they lie; only what trains gets a gradient.
//!
//! A [`Route`] call becomes a `batch` (rows) and a `binding` (where an adapter sits); the `engine` walks the layers with
//! them, `train` in a training step, `generate` token by token. A `layer` reads top to bottom as the model does: `attend`
//! (or `delta` and `short_conv`, where a layer keeps a state) and `output` are one half of it, `mlp` (with `experts`) is the other, `per_layer` what it makes of an input of its own, `sharing` the
//! keys that later layers read, `linears` its linear layers, `project` one of them with what trains at it (`site`).
mod adopt;
mod attend;
pub(crate) mod balance;
pub(crate) mod batch;
mod batch_size;
pub(crate) mod binding;
mod buffers;
mod cache;
pub(crate) mod chosen;
mod delta;
mod dropout;
mod embed;
mod engine;
mod expert_factors;
pub(crate) mod expert_sites;
mod experts;
mod footprint;
mod generate;
mod head;
mod keep;
mod layer;
mod linears;
mod mamba;
mod matrix;
mod mixture;
mod mlp;
pub(crate) mod norms;
mod output;
mod pass;
mod patched;
mod per_layer;
mod project;
mod project_dora;
mod rotation;
pub(crate) mod rows;
mod scratch;
mod sharing;
mod short_conv;
mod site;
pub(crate) mod states;
pub(crate) mod targets;
mod train;
pub(crate) mod unbound;
mod watch;
mod weights;

use crate::route::check_balance;
use crate::{Base, Dropout, Error, Packed, Route, Scales, SequenceLoss};
use batch::Prefixes;
pub use batch_size::BatchSize;
use binding::Binding;
pub(crate) use cache::first_row;
pub use chosen::ChosenExperts;
use engine::Engine;
pub(crate) use footprint::lowest_layer;
pub use footprint::{Footprint, footprint, footprint_from};
use head::Scaled;
pub use keep::Plan;
use lora_core::Adapter;
use lora_kernels::profile::Profile;
pub(crate) use mixture::choice_of;
use rayon::ThreadPool;
pub use watch::InputSquares;

/// The CPU route of hand-written kernels over weights where they lie. Owns one pool of threads.
#[derive(Debug)]
pub struct Fused<'b> {
    base: &'b Base,
    pool: ThreadPool,
    engine: Engine<'b>,
    share_prefixes: bool,
}

impl<'b> Fused<'b> {
    /// Prepares the route with a pool of `threads` (at least one).
    ///
    /// # Errors
    /// If a weight is missing, or the threads can't be started.
    pub fn new(base: &'b Base, threads: usize) -> Result<Self, Error> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()
            .map_err(|error| {
                Error::invalid(format!("failed to start {threads} threads: {error}"))
                    .hint("allow more threads (ulimit -u) or memory (ulimit -v), or ask for fewer threads")
            })?;
        Ok(Self {
            base,
            pool,
            engine: Engine::new(base)?,
            share_prefixes: true,
        })
    }

    /// Whether tokens that several sequences of a pack begin with are computed once (the default); the results differ by
    /// rounding only. With dropout nothing is shared, for each sequence has masks of its own.
    #[must_use]
    pub fn with_shared_prefixes(mut self, on: bool) -> Self {
        self.share_prefixes = on;
        self
    }

    /// How much of the forward pass is kept for the backward pass; all of it by default. Without rounding the results are
    /// the same, bit for bit, under every plan.
    #[must_use]
    pub fn with_plan(mut self, plan: Plan) -> Self {
        self.engine.plan = plan;
        self
    }

    /// Where the time went so far.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.engine.profile
    }

    /// Logits of the given positions of a pack, (n, V) row-major.
    ///
    /// # Errors
    /// As for [`Route::logits`].
    ///
    /// # Panics
    /// If a position lies outside the pack.
    pub fn logits_at(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
        places: &[usize],
    ) -> Result<Vec<f32>, Error> {
        self.run(adapter, packed, None, |engine, binding| {
            engine.logits(&binding, packed, places)
        })
    }

    /// Runs a pack through the decoder, and adds the squares of the inputs of each linear layer to `squares`.
    ///
    /// # Errors
    /// As for [`Route::logits`].
    pub fn watch_inputs(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
        squares: &mut InputSquares,
    ) -> Result<(), Error> {
        self.run(adapter, packed, None, |engine, binding| {
            engine.watch_inputs(&binding, packed, squares);
        })
    }

    /// Logits of all positions, (T, V) row-major, and the experts that the tokens choose. Those of another pass over the same
    /// pack may be `followed`: tokens go to them, whatever they would choose.
    ///
    /// # Errors
    /// As for [`Route::logits`].
    ///
    /// # Panics
    /// If those followed are of another pack, or of a base with fewer experts.
    pub fn logits_by_experts(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
        followed: Option<&ChosenExperts>,
    ) -> Result<(Vec<f32>, ChosenExperts), Error> {
        self.run(adapter, packed, None, |engine, binding| {
            engine.logits_by_experts(&binding, packed, followed.cloned())
        })
    }

    fn prefixes(&self, dropout: Option<Dropout>) -> Prefixes {
        let may_share = self.share_prefixes && dropout.is_none_or(|d| d.p == 0.0);
        Prefixes::of(self.base.config(), may_share)
    }

    /// Losses and gradients of a pack; of the balance of experts, too, if it has a weight.
    fn learn(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        (to, balance): (Scaled<'_>, Option<f32>),
    ) -> Result<(Vec<SequenceLoss>, Option<f64>), Error> {
        if to.gradients.len() != adapter.params.len() {
            let (got, want) = (to.gradients.len(), adapter.params.len());
            return Err(Error::invalid(format!(
                "the gradient has {got} values, the adapter {want}"
            )));
        }
        let prefixes = self.prefixes(dropout);
        self.run(Some(adapter), packed, dropout, |engine, binding| {
            engine.gradients(&binding, packed, prefixes, (to, balance))
        })
    }

    /// Runs `work` on the engine inside the pool, after the batch and the adapter were checked against the base.
    fn run<R: Send>(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
        dropout: Option<Dropout>,
        work: impl FnOnce(&mut Engine<'b>, Binding<'_>) -> R + Send,
    ) -> Result<R, Error> {
        packed.check_vocabulary(self.base.config().vocab_size)?;
        let mut binding = Binding::new(self.base.config(), adapter, dropout)?;
        let engine = &mut self.engine;
        self.pool.install(|| {
            engine.adopt(&mut binding)?;
            Ok(work(engine, binding))
        })
    }
}

impl Route for Fused<'_> {
    fn profile(&self) -> Option<&Profile> {
        Some(&self.engine.profile)
    }

    fn computed_tokens(&self, packed: &Packed, dropout: Option<Dropout>) -> usize {
        let prefixes = self.prefixes(dropout);
        self.engine.batch(packed, prefixes).tokens()
    }

    fn logits(&mut self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<f32>, Error> {
        let all: Vec<usize> = (0..packed.tokens()).collect();
        self.logits_at(adapter, packed, &all)
    }

    fn losses(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
    ) -> Result<Vec<SequenceLoss>, Error> {
        let prefixes = self.prefixes(None);
        self.run(adapter, packed, None, |engine, binding| {
            engine.losses(&binding, packed, prefixes)
        })
    }

    fn gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error> {
        let to = Scaled { scale, gradients };
        Ok(self.learn(adapter, packed, dropout, (to, None))?.0)
    }

    fn balanced_gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scales: Scales,
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        check_balance(self.base.config())?;
        let to = Scaled {
            scale: scales.nll,
            gradients,
        };
        let (losses, balance) = self.learn(adapter, packed, dropout, (to, Some(scales.balance)))?;
        Ok((losses, balance.unwrap_or(0.0)))
    }
}

//! Weights and memory on the device, and the passes over all layers.
use super::bound::Bound;
use super::buffer::{Buffer, InTurn, together};
use super::decoders;
use super::factors::OnDevice;
use super::head_room::{self, HeadBuffers};
use super::own_norms::OwnNorms;
use super::own_tables::OwnTables;
use super::own_weights::OwnWeights;
use super::pass::{LayerPass, Pass};
use super::places::{Places, PlacesOfPass};
use super::rotation::{Rotations, Tables};
use super::score_blocks::scores_of;
use super::scratch::{Asked, Buffers, Scratch};
use super::table::Lookup;
use super::table_room;
use super::weights::Weights;
use super::widths::AllWidths;
use crate::fused::batch::Batch;
use crate::fused::binding::Binding;
use crate::fused::chosen::Chooser;
use crate::fused::targets::Targets;
use crate::{Base, Error, Packed, SequenceLoss};
use lora_checkpoint::ModelConfig;
use lora_core::Adapter;
use lora_gpu::{Dtype, Gpu, Keys, Tensor};
use lora_kernels::profile::Profile;
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Engine<'b> {
    pub(super) base: &'b Base,
    pub(super) config: &'b ModelConfig,
    pub(super) gpu: Gpu,
    pub(super) weights: Weights,
    /// Of the weights' groups.
    widths: AllWidths,
    pub(super) on_device: Option<OnDevice>,
    /// The first layer in which the adapter that the base was loaded for trains something.
    pub(super) lowest: usize,
    /// Norms that train, in the weights' place.
    norms: OwnNorms,
    /// What trains at embedding and head.
    pub(super) own_tables: OwnTables,
    /// Linear layers that train as a whole, in the weights' place.
    own_weights: OwnWeights,
    /// Layers that keep their activations; the others are computed again from their inputs.
    pub(super) kept: usize,
    places: Places,
    /// Inputs of the layers that are computed again.
    pub(super) inputs: Vec<Buffer>,
    buffers: Buffers,
    pub(super) head: HeadBuffers,
    /// What the head and the layers use.
    pub(super) in_turn: InTurn,
    pub(super) x: Buffer,
    pub(super) d_x: Buffer,
    tables: Tables,
    pub(super) lookup: Lookup,
    /// Of the inputs of layers.
    pub(super) inputs_lookup: Lookup,
    /// Gradients as they came back.
    pub(super) found: Vec<f32>,
    /// Who sees or gives the experts that tokens choose.
    pub(super) chooser: Chooser,
    /// Where the time goes, if that is asked for.
    pub(super) profile: Option<Arc<Profile>>,
}

impl<'b> Engine<'b> {
    /// Takes a base to the device, with room for the factors of `adapter`.
    pub(super) fn new(base: &'b Base, gpu: Gpu, adapter: Option<&Adapter>) -> Result<Self, Error> {
        decoders::check(base.config())?;
        let binding = Binding::new(base.config(), adapter, None)?;
        let bound = Bound::of(base.config(), &binding)?;
        let weights = Weights::load(base, &gpu, &bound)?;
        Ok(Self {
            base,
            config: base.config(),
            widths: widths(base.config(), &weights, &gpu),
            weights,
            on_device: None,
            lowest: adapter.map_or(0, |_| bound.lowest),
            norms: OwnNorms::default(),
            own_tables: OwnTables::default(),
            own_weights: OwnWeights::default(),
            kept: usize::MAX,
            places: Places::default(),
            inputs: Vec::new(),
            buffers: Buffers::new(&gpu, base.config()),
            head: HeadBuffers::new(),
            in_turn: InTurn::new(),
            x: Buffer::new(Dtype::F32),
            d_x: Buffer::new(Dtype::F32),
            tables: Tables::new(base.config()),
            lookup: Lookup::new(&gpu),
            inputs_lookup: Lookup::new(&gpu),
            found: Vec::new(),
            chooser: Chooser::default(),
            profile: None,
            gpu,
        })
    }

    /// Takes an adapter on: its values go to the device.
    pub(super) fn adopt(&mut self, binding: &Binding<'_>) -> Result<OnDevice, Error> {
        let adapter = binding.adapter;
        let held = self.on_device.take();
        let held = held.filter(|held| held.bound.is_of(adapter));
        let mut on_device = match held {
            Some(held) => held,
            None => {
                let bound = Bound::of(self.config, binding)?;
                self.norms.restore(&self.gpu)?;
                self.own_tables = OwnTables::default();
                self.own_weights
                    .restore(self.base, &self.gpu, &self.weights)?;
                let layers = self.weights.layers.iter();
                if !bound.fits(layers.map(|l| (&l.groups[..], l.mixture_columns()))) {
                    self.places = Places::default(); // of other widths
                    self.weights = Weights::load(self.base, &self.gpu, &bound)?;
                    self.widths = widths(self.config, &self.weights, &self.gpu);
                }
                let wide = self.wide(&bound)?;
                let offset = self.config.facts().norm_offset;
                self.norms = OwnNorms::new(&self.gpu, &bound.norms, &self.weights, offset)?;
                let from = (&self.weights, &wide);
                self.own_tables = OwnTables::new(&self.gpu, &bound.tables, from)?;
                self.own_weights = OwnWeights::of(&bound, &self.weights);
                OnDevice::new(&self.gpu, bound, adapter, (&self.weights, &wide))?
            }
        };
        if let Some(adapter) = adapter {
            let wide = self.wide(&on_device.bound)?;
            on_device.set(&self.gpu, adapter, (&self.weights, &wide))?;
            self.set_own(&on_device, &wide)?;
        }
        Ok(on_device)
    }

    /// Norms, embedding and head that train become what the parameters on the device are.
    fn set_own(&self, on_device: &OnDevice, wide: &Tensor) -> Result<(), Error> {
        let Some(params) = on_device.params() else {
            return Ok(());
        };
        self.norms.set(&self.gpu, params)?;
        let from = (&self.weights, wide);
        Ok(self.own_tables.set(&self.gpu, on_device, from)?)
    }

    /// Room for the widest weight that is in blocks and is needed outside of a pass: for the norms of DoRA.
    fn wide(&mut self, bound: &Bound) -> Result<Tensor, Error> {
        let of_groups = (bound.has_magnitudes(), self.weights.widened());
        let [embedding, head] = bound.tables.needs();
        let of_tables = [
            (embedding.has_magnitudes, self.weights.embedding.widened()),
            (head.has_magnitudes, self.weights.head.widened()),
        ];
        let needed = of_tables.into_iter().chain([of_groups]);
        let needed = needed.filter(|(is_needed, _)| *is_needed);
        let values = needed.map(|(_, values)| values).max().unwrap_or(0);
        let [wide] = self.in_turn.get(&self.gpu, [(self.gpu.dtype(), values)])?;
        Ok(wide)
    }

    /// Keeps an adapter's memory for the next call.
    pub(super) fn give_back(&mut self, on_device: OnDevice) {
        self.on_device = Some(on_device);
    }

    /// The rotary tables of a batch's rows.
    pub(super) fn rotations(&mut self, batch: &Batch) -> Result<Rotations, Error> {
        Ok(self.tables.rotations(&self.gpu, self.config, batch)?)
    }

    /// Memory for a pass.
    pub(super) fn scratch(&mut self, pass: &Pass<'_>, trains: bool) -> Result<Scratch, Error> {
        let heads = self.config.num_attention_heads;
        let segments = pass.segments.iter();
        let scores = segments.clone().map(|s| scores_of(heads, s)).max();
        let listed = segments.filter(|s| matches!(s.keys, Keys::Listed(_)));
        let widths = self.widths.shared;
        let asked = Asked {
            widths,
            rows: pass.rows,
            chunks: pass.chunks(),
            gathered: listed.map(|s| s.seen()).max().unwrap_or(0),
            scores: scores.unwrap_or(0),
            widened: self.weights.widened(),
            drops: pass.dropout.is_some(),
            trains,
            attends: pass.attention.is_some(),
            by_scores: pass.attention.is_none() || widths.by_scores,
            shares: pass.cache.is_none(),
        };
        Ok(self.buffers.get(&self.gpu, asked, &mut self.in_turn)?)
    }

    /// Places for what a pass of so many rows keeps, of these layers too.
    pub(super) fn places(
        &mut self,
        kept: Range<usize>,
        rows: usize,
    ) -> Result<PlacesOfPass, Error> {
        Ok(self.places.get(&self.gpu, &self.widths, kept, rows)?)
    }

    /// Room for what the head uses for n targets, and layers for the rows of a pass.
    pub(super) fn reserve(&mut self, pass: &Pass<'_>, targets: usize) -> Result<(), Error> {
        let dtype = self.gpu.dtype();
        let size = self.head_size(targets, pass.dropout.is_some());
        let of_head = head_room::of_loss(self.config, size, dtype);
        let hidden = (pass.rows, self.config.hidden_size);
        let of_embedding = table_room::of_embedding(self.own_tables.needs[0], hidden, dtype);
        let of_layers = self.widths.shared.of_layers(
            (pass.rows, pass.rows, pass.chunks()),
            self.weights.widened(),
            dtype,
        );
        let most = together(&of_head).max(together(&of_layers));
        let most = most.max(together(&of_embedding));
        Ok(self.in_turn.reserve(&self.gpu, most)?)
    }

    /// The hidden states after the last layer; nothing is kept for a backward pass.
    pub(super) fn forward(&mut self, pass: &Pass<'_>) -> Result<Tensor, Error> {
        self.embedding_room(pass)?; // so that nothing that is given out moves
        let scratch = self.scratch(pass, false)?;
        let places = self.places(0..0, pass.rows)?;
        let x = self.x.get(&self.gpu, pass.rows * self.config.hidden_size)?;
        self.begin(pass, (&scratch, &places), &x)?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let at = LayerPass {
                pass,
                index,
                layer,
                scratch: &scratch,
            };
            at.run(&x, &places.work)?;
        }
        Ok(x)
    }

    /// Logits of all positions, (T, V).
    pub(super) fn logits(
        &mut self,
        binding: &Binding<'_>,
        batch: &Batch,
    ) -> Result<Vec<f32>, Error> {
        let on_device = self.adopt(binding)?;
        let gpu = self.gpu.clone();
        let rotations = self.rotations(batch)?;
        let pass = Pass::new(&gpu, self.config, &on_device, batch, rotations, None)?;
        let pass = pass.with_chooser(&self.chooser);
        let x = self.forward(&pass)?;
        let all: Vec<u32> = (0..pass.rows as u32).collect();
        let logits = self.logits_of(&x, pass.rows, &all)?;
        self.give_back(on_device);
        Ok(logits)
    }

    /// Loss of each sequence.
    pub(super) fn losses(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        batch: &Batch,
    ) -> Result<Vec<SequenceLoss>, Error> {
        let targets = Targets::of(packed, batch, binding, false);
        let on_device = self.adopt(binding)?;
        let gpu = self.gpu.clone();
        let rotations = self.rotations(batch)?;
        let pass = Pass::new(&gpu, self.config, &on_device, batch, rotations, None)?;
        let pass = pass.with_chooser(&self.chooser);
        let x = self.forward(&pass)?;
        let losses = self.loss(pass.rows, &x, &targets, None)?;
        self.give_back(on_device);
        Ok(targets.by_sequence(&losses))
    }

    /// The adapter's parameters on the device.
    pub(super) fn params(&self) -> Option<Tensor> {
        self.on_device.as_ref()?.params().cloned()
    }

    /// Parameters that changed on the device go to where products read them.
    pub(super) fn spread_params(&mut self) -> Result<(), Error> {
        let Some(on_device) = self.on_device.take() else {
            return Ok(());
        };
        let wide = self.wide(&on_device.bound)?;
        on_device.spread(&self.gpu, (&self.weights, &wide))?;
        self.set_own(&on_device, &wide)?;
        self.give_back(on_device);
        Ok(())
    }
}

fn widths(config: &ModelConfig, weights: &Weights, gpu: &Gpu) -> AllWidths {
    let (groups, mixtures) = (weights.groups(), weights.mixture_columns());
    AllWidths::of(config, &groups, mixtures, gpu.dtype())
}

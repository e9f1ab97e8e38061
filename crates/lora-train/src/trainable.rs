//! What the training loop sees of a model: flat parameters, their gradients, losses, and a folder to save into.
use lora_cli::Result;
use lora_core::Adapter;
use lora_model::{Dropout, Packed, Route, SequenceLoss};
use std::ops::Range;
use std::path::Path;

/// One tensor of the flat parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Name as people know it, e.g. `model.layers.0.self_attn.q_proj.lora_A`.
    pub(crate) name: String,
    /// Its place in the flat parameters.
    pub(crate) range: Range<usize>,
    /// Weight decay applies.
    pub(crate) decays: bool,
    /// For a lora_A, where its lora_B lies: as long as that is all zero, A's gradient is exactly zero.
    pub(crate) follows: Option<Range<usize>>,
}

/// A model whose parameters, or a part of them, are one flat vector that trains.
pub(crate) trait Trainable {
    /// The tensors, in order; together they are all parameters.
    fn slots(&self) -> &[Slot];
    /// Values.
    fn params(&self) -> &[f32];
    /// Values, to be changed by the optimiser.
    fn params_mut(&mut self) -> &mut [f32];
    /// Adds `scale` · d(Σ nll)/d(params) to `gradients`. `micro_step` counts micro-batches over the run (dropout's key).
    fn gradients(
        &mut self,
        packed: &Packed,
        micro_step: u64,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>>;
    /// Tokens of a pack that are computed: all of them, unless common beginnings are shared.
    fn computed_tokens(&self, packed: &Packed) -> usize {
        packed.tokens()
    }
    /// Loss of each sequence, without dropout.
    fn losses(&mut self, packed: &Packed) -> Result<Vec<SequenceLoss>>;
    /// Writes the model with other `params` than its own into an existing folder.
    fn save(&self, params: &[f32], dir: &Path) -> Result<()>;
    /// PEFT's summary line.
    fn summary(&self) -> String;
}

/// An adapter on a frozen base.
pub(crate) struct LoraTrainable<'b> {
    route: Box<dyn Route + 'b>,
    adapter: Adapter,
    slots: Vec<Slot>,
    seed: u64,
    base_parameters: u64,
}

impl<'b> LoraTrainable<'b> {
    /// `seed` keys dropout; `base_parameters` are the frozen ones.
    pub(crate) fn new(route: Box<dyn Route + 'b>, adapter: Adapter, seed: u64, base_parameters: u64) -> Self {
        let slots = adapter.modules.iter().flat_map(|module| {
            let slot = |factor: &str, range: &Range<usize>, follows| Slot {
                name: format!("{}.{factor}", module.path),
                range: range.clone(),
                decays: true,
                follows,
            };
            [slot("lora_A", &module.a, Some(module.b.clone())), slot("lora_B", &module.b, None)]
        });
        Self { slots: slots.collect(), route, adapter, seed, base_parameters }
    }

    fn dropout(&self, micro_step: u64) -> Option<Dropout> {
        let p = self.adapter.config.lora_dropout as f32;
        (p > 0.0).then_some(Dropout { p, seed: self.seed, step: micro_step })
    }
}

impl Trainable for LoraTrainable<'_> {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn params(&self) -> &[f32] {
        &self.adapter.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.adapter.params
    }

    fn gradients(
        &mut self,
        packed: &Packed,
        micro_step: u64,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>> {
        let dropout = self.dropout(micro_step);
        Ok(self.route.gradients(&self.adapter, packed, dropout, scale, gradients)?)
    }

    fn computed_tokens(&self, packed: &Packed) -> usize {
        self.route.computed_tokens(packed, self.dropout(0))
    }

    fn losses(&mut self, packed: &Packed) -> Result<Vec<SequenceLoss>> {
        Ok(self.route.losses(Some(&self.adapter), packed)?)
    }

    fn save(&self, params: &[f32], dir: &Path) -> Result<()> {
        let adapter = Adapter { params: params.to_vec(), ..self.adapter.clone() };
        Ok(adapter.save(dir)?)
    }

    fn summary(&self) -> String {
        let (trainable, added) = (self.adapter.params.len(), self.adapter.added_parameters());
        lora_core::trainable_line(trainable as u64, added as u64, self.base_parameters)
    }
}

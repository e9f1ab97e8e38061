//! What the training loop sees of a model: flat parameters, their gradients, losses, and a folder to save into.
use crate::args::Args;
use crate::memory::Chosen;
use lora_cli::Result;
use lora_core::{Adapter, AdapterTensor, Part};
use lora_kernels::profile::Profile;
use lora_model::{Dropout, Packed, Route, SequenceLoss};
use std::ops::Range;
use std::path::Path;

/// One tensor of the flat parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    /// Name as people know it, e.g. `model.layers.0.self_attn.q_proj.lora_A`.
    pub(crate) name: String,
    /// Its place in the flat parameters.
    pub(crate) range: Range<usize>,
    /// Weight decay applies.
    pub(crate) decays: bool,
    /// Its learning rate as a multiple of the run's (LoRA+).
    pub(crate) rate: f64,
    /// For a factor A or B, where the other lies: as long as that is all zero, the gradient is exactly zero.
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
    /// How it uses memory, if that was planned.
    fn memory(&self) -> Option<&Chosen> {
        None
    }
    /// Where the time went, if that is counted.
    fn profile(&self) -> Option<&Profile> {
        None
    }
}

/// An adapter on a frozen base.
pub(crate) struct LoraTrainable<'b> {
    route: Box<dyn Route + 'b>,
    adapter: Adapter,
    slots: Vec<Slot>,
    seed: u64,
    base_parameters: u64,
    memory: Option<Chosen>,
}

impl<'b> LoraTrainable<'b> {
    /// `args` has dropout's seed and LoRA+'s ratio; `base_parameters` are the frozen ones.
    pub(crate) fn new(
        route: Box<dyn Route + 'b>,
        adapter: Adapter,
        args: &Args,
        base_parameters: u64,
        memory: Option<Chosen>,
    ) -> Self {
        let slots = slots(&adapter, args.lora.lora_plus_ratio, args.lr);
        Self {
            slots,
            route,
            adapter,
            seed: args.seed,
            base_parameters,
            memory,
        }
    }

    fn dropout(&self, micro_step: u64) -> Option<Dropout> {
        let p = self.adapter.config.lora_dropout as f32;
        (p > 0.0).then_some(Dropout {
            p,
            seed: self.seed,
            step: micro_step,
        })
    }
}

/// The factors of embeddings learn at this rate under LoRA+ (PEFT's `loraplus_lr_embedding`).
const LORA_PLUS_EMBEDDING_RATE: f64 = 1e-6;

/// One slot a tensor. Biases and norms don't decay (transformers' Trainer); under LoRA+, B and all vectors learn at `ratio`
/// times the rate (PEFT's `create_loraplus_optimizer`).
fn slots(adapter: &Adapter, ratio: Option<f64>, lr: f64) -> Vec<Slot> {
    let other = |place: &Range<usize>| {
        let pair = adapter.modules.iter().find_map(|m| {
            let (a, b) = (&m.a, &m.b);
            if a == place {
                Some((b, m))
            } else {
                (b == place).then_some((a, m))
            }
        });
        pair.map(|(other, module)| (other.clone(), module.is_embedding()))
    };
    let slot = |tensor: AdapterTensor| {
        let pair = other(&tensor.range);
        let is_vector = tensor.shape.len() == 1;
        let rate = match ratio {
            Some(_) if pair.as_ref().is_some_and(|(_, is_embedding)| *is_embedding) => {
                LORA_PLUS_EMBEDDING_RATE / lr
            }
            Some(ratio) if tensor.part == Part::B || is_vector => ratio,
            _ => 1.0,
        };
        let name = tensor
            .name
            .strip_prefix("base_model.model.")
            .unwrap_or(&tensor.name);
        Slot {
            name: if pair.is_some() {
                name.trim_end_matches(".weight")
            } else {
                name
            }
            .to_owned(),
            range: tensor.range,
            decays: !is_vector || tensor.part == Part::Magnitude,
            rate,
            follows: pair.map(|(range, _)| range),
        }
    };
    adapter.tensors().into_iter().map(slot).collect()
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
        Ok(self
            .route
            .gradients(&self.adapter, packed, dropout, scale, gradients)?)
    }

    fn computed_tokens(&self, packed: &Packed) -> usize {
        self.route.computed_tokens(packed, self.dropout(0))
    }

    fn losses(&mut self, packed: &Packed) -> Result<Vec<SequenceLoss>> {
        Ok(self.route.losses(Some(&self.adapter), packed)?)
    }

    fn save(&self, params: &[f32], dir: &Path) -> Result<()> {
        Ok(self.adapter.save_as(params, dir)?)
    }

    fn memory(&self) -> Option<&Chosen> {
        self.memory.as_ref()
    }

    fn profile(&self) -> Option<&Profile> {
        self.route.profile()
    }

    fn summary(&self) -> String {
        let (trainable, added) = (self.adapter.params.len(), self.adapter.added_parameters());
        lora_core::trainable_line(trainable as u64, added as u64, self.base_parameters)
    }
}

//! An adapter on a frozen base as the trainable.
use crate::error::{Error, Result};
use crate::event::Warning;
use crate::pack::pack;
use crate::trainable::{BatchLoss, MicroBatch, Resident, RowSize, Slot, Trainable, Update};
use lora_core::{Adapter, AdapterTensor, Part, TargetedModule};
use lora_data::Example;
use lora_kernels::profile::Profile;
use lora_model::{Dropout, ProductPeak, Route, SlotStep};
use std::ops::Range;
use std::path::Path;

/// What of a run concerns adapters alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraSettings {
    /// Seed of dropout.
    pub seed: u64,
    /// The run's learning rate, to which LoRA+ sets its own in proportion.
    pub lr: f64,
    /// LoRA+: B and vectors learn at so many times the rate.
    pub lora_plus_ratio: Option<f64>,
}

/// An adapter on a frozen base.
pub struct LoraTrainable<'b> {
    route: Box<dyn Route + 'b>,
    adapter: Adapter,
    slots: Vec<Slot>,
    seed: u64,
}

impl<'b> LoraTrainable<'b> {
    /// Trains `adapter` along `route`.
    pub fn new(route: Box<dyn Route + 'b>, adapter: Adapter, settings: LoraSettings) -> Self {
        let slots = slots(&adapter, settings);
        Self {
            slots,
            route,
            adapter,
            seed: settings.seed,
        }
    }

    /// The adapter as it is now.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    fn dropout(&self, number: u64) -> Option<Dropout> {
        let p = self.adapter.config.lora_dropout as f32;
        (p > 0.0).then_some(Dropout {
            p,
            seed: self.seed,
            step: number,
        })
    }
}

/// Says so if a rank is above the smaller side of its module: W + s·B·A then has nothing more to gain from it.
pub fn rank_warning(modules: &[TargetedModule]) -> Option<Warning> {
    let side = |module: &TargetedModule| module.in_features.min(module.out_features);
    let above: Vec<_> = modules.iter().filter(|m| m.rank > side(m)).collect();
    let first = above.first()?;
    Some(Warning::RankAboveSide {
        rank: first.rank,
        module: first.path.clone(),
        side: side(first),
        modules: above.len(),
    })
}

/// The factors of embeddings learn at this rate under LoRA+ (PEFT's `loraplus_lr_embedding`).
const LORA_PLUS_EMBEDDING_RATE: f64 = 1e-6;

/// One slot a tensor. Biases and norms don't decay (transformers' Trainer).
fn slots(adapter: &Adapter, settings: LoraSettings) -> Vec<Slot> {
    let tensors = adapter.tensors().into_iter();
    tensors.map(|t| slot(adapter, t, settings)).collect()
}

fn slot(adapter: &Adapter, tensor: AdapterTensor, settings: LoraSettings) -> Slot {
    let pair = factor_beside(adapter, &tensor.range);
    let is_vector = tensor.shape.len() == 1;
    let is_embedding = pair.as_ref().is_some_and(|(_, m)| m.is_embedding());
    let name = tensor
        .name
        .strip_prefix("base_model.model.")
        .unwrap_or(&tensor.name);
    let name = if pair.is_some() {
        name.trim_end_matches(".weight")
    } else {
        name
    };
    Slot {
        name: name.to_owned(),
        decays: !is_vector || tensor.part == Part::Magnitude,
        rate: rate(tensor.part == Part::B || is_vector, is_embedding, settings),
        follows: pair.map(|(range, _)| range),
        range: tensor.range,
    }
}

/// Under LoRA+, B and all vectors learn at `ratio` times the rate, factors of embeddings at one of their own (PEFT's
/// `create_loraplus_optimizer`).
fn rate(is_fast: bool, is_embedding: bool, settings: LoraSettings) -> f64 {
    match settings.lora_plus_ratio {
        Some(_) if is_embedding => LORA_PLUS_EMBEDDING_RATE / settings.lr,
        Some(ratio) if is_fast => ratio,
        _ => 1.0,
    }
}

/// For a factor A or B, where the other lies, and whose they are.
fn factor_beside<'a>(
    adapter: &'a Adapter,
    place: &Range<usize>,
) -> Option<(Range<usize>, &'a TargetedModule)> {
    adapter.modules.iter().find_map(|module| {
        if module.a == *place {
            Some((module.b.clone(), module))
        } else if module.b == *place {
            Some((module.a.clone(), module))
        } else {
            None
        }
    })
}

impl Trainable for LoraTrainable<'_> {
    type Row = Example;

    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn params(&self) -> &[f32] {
        &self.adapter.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.adapter.params
    }

    fn size(&self, row: &Example) -> RowSize {
        RowSize::of(row)
    }

    fn gradients(
        &mut self,
        rows: &[&Example],
        batch: MicroBatch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss> {
        let packed = pack(rows);
        let dropout = self.dropout(batch.number);
        let (route, adapter) = (&mut self.route, &self.adapter);
        let (rows, balance) = match batch.scales() {
            None => (
                route.gradients(adapter, &packed, dropout, batch.scale, gradients)?,
                None,
            ),
            Some(scales) => {
                let (rows, balance) =
                    route.balanced_gradients(adapter, &packed, dropout, scales, gradients)?;
                (rows, Some(balance))
            }
        };
        Ok(BatchLoss {
            rows,
            tokens: packed.tokens(),
            computed: self.route.computed_tokens(&packed, dropout),
            balance,
        })
    }

    fn losses(&mut self, rows: &[&Example]) -> Result<BatchLoss> {
        let packed = pack(rows);
        Ok(BatchLoss {
            rows: self.route.losses(Some(&self.adapter), &packed)?,
            tokens: packed.tokens(),
            computed: self.route.computed_tokens(&packed, None),
            balance: None,
        })
    }

    fn save(&self, params: &[f32], dir: &Path) -> Result<()> {
        Ok(self.adapter.save_as(params, dir)?)
    }

    fn resident(&mut self) -> Option<&mut dyn Resident<Example>> {
        match self.route.resident() {
            Some(_) => Some(self),
            None => None,
        }
    }

    fn profile(&self) -> Option<&Profile> {
        self.route.profile()
    }

    fn product_peak(&self) -> Result<Option<ProductPeak>> {
        Ok(self.route.product_peak()?)
    }
}

impl LoraTrainable<'_> {
    fn there(&mut self) -> Result<&mut dyn lora_model::Resident> {
        self.route.resident().ok_or(Error::NotResident)
    }
}

impl Resident<Example> for LoraTrainable<'_> {
    fn set(&mut self, m: &[f32], v: &[f32]) -> Result<()> {
        let route = self.route.resident().ok_or(Error::NotResident)?;
        Ok(route.set(&self.adapter, m, v)?)
    }

    fn clear(&mut self) {
        if let Some(route) = self.route.resident() {
            route.clear();
        }
    }

    fn accumulate(&mut self, rows: &[&Example], batch: MicroBatch) -> Result<BatchLoss> {
        let packed = pack(rows);
        let dropout = self.dropout(batch.number);
        let route = self.route.resident().ok_or(Error::NotResident)?;
        let weights = (batch.scale, batch.balance);
        let (rows, balance) = route.accumulate(&self.adapter, &packed, dropout, weights)?;
        Ok(BatchLoss {
            rows,
            tokens: packed.tokens(),
            computed: self.route.computed_tokens(&packed, dropout),
            balance,
        })
    }

    fn norm(&mut self) -> Result<f64> {
        Ok(self.there()?.norm()?)
    }

    fn gradients(&mut self, to: &mut [f32]) -> Result<()> {
        Ok(self.there()?.gradients(to)?)
    }

    fn step(&mut self, weight_decay: f32, update: Update) -> Result<()> {
        let slot = |slot: &Slot| SlotStep {
            range: slot.range.clone(),
            adamw: slot.adamw(weight_decay),
            step: slot.step(update),
        };
        let slots: Vec<SlotStep> = self.slots.iter().map(slot).collect();
        Ok(self.there()?.step(&slots)?)
    }

    fn fetch(&mut self) -> Result<()> {
        let route = self.route.resident().ok_or(Error::NotResident)?;
        Ok(route.params(&mut self.adapter.params)?)
    }

    fn moments(&mut self, m: &mut [f32], v: &mut [f32]) -> Result<()> {
        Ok(self.there()?.moments(m, v)?)
    }
}

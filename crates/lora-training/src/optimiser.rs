//! AdamW over flat parameters, tensor by tensor.
use crate::trainable::{Slot, Update};
use lora_kernels::optim::{AdamW, Moments, Step};

/// AdamW and its moments.
#[derive(Debug)]
pub(crate) struct Optimiser {
    /// First moments.
    pub(crate) m: Vec<f32>,
    /// Second moments.
    pub(crate) v: Vec<f32>,
    weight_decay: f32,
}

impl Optimiser {
    pub(crate) fn new(parameters: usize, weight_decay: f64) -> Self {
        Self {
            m: vec![0.0; parameters],
            v: vec![0.0; parameters],
            weight_decay: weight_decay as f32,
        }
    }

    /// Not every tensor decays, and each may have a rate of its own.
    pub(crate) fn step(
        &mut self,
        slots: &[Slot],
        params: &mut [f32],
        gradients: &[f32],
        update: Update,
    ) {
        for slot in slots {
            let adamw = slot.adamw(self.weight_decay);
            let at = slot.range.clone();
            let moments = Moments {
                first: &mut self.m[at.clone()],
                second: &mut self.v[at.clone()],
            };
            let step = slot.step(update);
            adamw.step(&mut params[at.clone()], &gradients[at], moments, step);
        }
    }
}

impl Slot {
    /// The optimiser of this tensor: not every one decays.
    pub(crate) fn adamw(&self, weight_decay: f32) -> AdamW {
        AdamW {
            weight_decay: if self.decays { weight_decay } else { 0.0 },
            ..AdamW::default()
        }
    }

    /// A step of this tensor: each may have a rate of its own.
    pub(crate) fn step(&self, update: Update) -> Step {
        Step {
            number: update.step,
            lr: update.lr * self.rate,
            clip: update.clip,
        }
    }
}

//! AdamW over flat parameters, tensor by tensor.
use crate::trainable::Slot;
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

/// One step of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    /// Counted from 1.
    pub(crate) step: u64,
    /// Learning rate.
    pub(crate) lr: f64,
    /// What gradients are multiplied by.
    pub(crate) clip: f32,
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
            let weight_decay = if slot.decays { self.weight_decay } else { 0.0 };
            let adamw = AdamW {
                weight_decay,
                ..AdamW::default()
            };
            let at = slot.range.clone();
            let moments = Moments {
                first: &mut self.m[at.clone()],
                second: &mut self.v[at.clone()],
            };
            let step = Step {
                number: update.step,
                lr: update.lr * slot.rate,
                clip: update.clip,
            };
            adamw.step(&mut params[at.clone()], &gradients[at], moments, step);
        }
    }
}

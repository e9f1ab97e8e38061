//! The loss for the balance of a mixture's experts in a training step, on the CPU or a GPU: the forward pass counts, and what that comes to goes into
//! the gradients of the routers' logits on the way back.
use super::batch::Batch;
use lora_kernels::experts::{Balance, Choice, Routing, add_balance_gradients};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Of one pass over a batch.
#[derive(Debug)]
pub(crate) struct Balancing {
    /// Factor of the loss in what is differentiated.
    weight: f64,
    /// Sequences that each row stands for, (T).
    times: Vec<u32>,
    counted: Mutex<Balance>,
    /// Gradient by an expert's probability at any token, (E), once all layers have been counted.
    slopes: OnceLock<Vec<f32>>,
}

impl Balancing {
    pub(crate) fn new(weight: f32, batch: &Batch, experts: usize) -> Self {
        Self {
            weight: f64::from(weight),
            times: batch.sequences_of_rows(),
            counted: Mutex::new(Balance::new(experts)),
            slopes: OnceLock::new(),
        }
    }

    /// Counts a layer, unless it is computed again for the way back.
    pub(crate) fn count(&self, probabilities: &[f32], routing: &Routing, choice: Choice) {
        if self.slopes.get().is_some() {
            return;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.count(probabilities, routing, choice, &self.times);
    }

    /// The loss, after the forward pass.
    pub(crate) fn close(&self) -> f64 {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.slopes.get_or_init(|| counted.slopes(self.weight));
        counted.loss()
    }

    /// Adds its part to the gradient of a router's logits, (T, E), after [`Self::close`].
    pub(crate) fn add_logit_gradients(&self, probabilities: &[f32], d_logits: &mut [f32]) {
        if let Some(slopes) = self.slopes.get() {
            add_balance_gradients(probabilities, slopes, &self.times, d_logits);
        }
    }
}

//! Who keeps gradients and moments between steps: the trainer, on the host, or the model, where it computes.
use crate::error::Result;
use crate::optimiser::Optimiser;
use crate::sum::TreeSum;
use crate::trainable::{BatchLoss, MicroBatch, Slot, Trainable, Update};
use lora_kernels::optim::global_norm;
use std::borrow::Cow;

/// Gradients and moments of a run.
pub(crate) enum Keeper {
    /// With the trainer.
    Host {
        gradients: TreeSum,
        optimiser: Optimiser,
    },
    /// With the model; a copy of the gradients where they were asked for.
    Model { weight_decay: f32, copy: Vec<f32> },
}

impl Keeper {
    /// All zero.
    pub(crate) fn new<M: Trainable + ?Sized>(model: &mut M, weight_decay: f64) -> Result<Self> {
        let n = model.params().len();
        if let Some(resident) = model.resident() {
            let zeros = vec![0.0; n];
            resident.set(&zeros, &zeros)?;
            return Ok(Self::Model {
                weight_decay: weight_decay as f32,
                copy: Vec::new(),
            });
        }
        Ok(Self::Host {
            gradients: TreeSum::new(n),
            optimiser: Optimiser::new(n, weight_decay),
        })
    }

    /// Goes on from these moments and the model's present parameters.
    pub(crate) fn resume<M: Trainable + ?Sized>(
        &mut self,
        model: &mut M,
        m: Vec<f32>,
        v: Vec<f32>,
    ) -> Result<()> {
        match (self, model.resident()) {
            (Self::Host { optimiser, .. }, _) => (optimiser.m, optimiser.v) = (m, v),
            (Self::Model { .. }, Some(resident)) => resident.set(&m, &v)?,
            (Self::Model { .. }, None) => {}
        }
        Ok(())
    }

    pub(crate) fn clear<M: Trainable + ?Sized>(&mut self, model: &mut M) {
        match (self, model.resident()) {
            (Self::Host { gradients, .. }, _) => gradients.clear(),
            (Self::Model { .. }, Some(resident)) => resident.clear(),
            (Self::Model { .. }, None) => {}
        }
    }

    /// Adds a micro-batch.
    pub(crate) fn accumulate<M: Trainable + ?Sized>(
        &mut self,
        model: &mut M,
        rows: &[&M::Row],
        batch: MicroBatch,
    ) -> Result<BatchLoss> {
        match self {
            Self::Host { gradients, .. } => {
                let losses = model.gradients(rows, batch, gradients.leaf())?;
                gradients.add();
                Ok(losses)
            }
            Self::Model { .. } => match model.resident() {
                Some(resident) => resident.accumulate(rows, batch),
                None => Ok(BatchLoss::default()),
            },
        }
    }

    /// √Σ g² of the sum of all micro-batches.
    pub(crate) fn norm<M: Trainable + ?Sized>(&mut self, model: &mut M) -> Result<f64> {
        match (self, model.resident()) {
            (Self::Host { gradients, .. }, _) => Ok(global_norm(gradients.total())),
            (Self::Model { .. }, Some(resident)) => resident.norm(),
            (Self::Model { .. }, None) => Ok(0.0),
        }
    }

    /// The sum, after [`Keeper::norm`], with the parameters that it was taken at in the model's own place.
    pub(crate) fn gradients<M: Trainable + ?Sized>(&mut self, model: &mut M) -> Result<&[f32]> {
        let n = model.params().len();
        match (self, model.resident()) {
            (Self::Host { gradients, .. }, _) => Ok(gradients.values()),
            (Self::Model { copy, .. }, resident) => {
                copy.resize(n, 0.0);
                if let Some(resident) = resident {
                    resident.gradients(copy)?;
                    resident.fetch()?;
                }
                Ok(copy)
            }
        }
    }

    /// One step of AdamW.
    pub(crate) fn step<M: Trainable + ?Sized>(
        &mut self,
        model: &mut M,
        slots: &[Slot],
        update: Update,
    ) -> Result<()> {
        match self {
            Self::Host {
                gradients,
                optimiser,
            } => {
                optimiser.step(slots, model.params_mut(), gradients.values(), update);
                Ok(())
            }
            Self::Model { weight_decay, .. } => match model.resident() {
                Some(resident) => resident.step(*weight_decay, update),
                None => Ok(()),
            },
        }
    }

    /// Brings parameters that are kept with the model to where it shows them.
    pub(crate) fn fetch<M: Trainable + ?Sized>(&self, model: &mut M) -> Result<()> {
        match (self, model.resident()) {
            (Self::Model { .. }, Some(resident)) => resident.fetch(),
            _ => Ok(()),
        }
    }

    /// First and second moments.
    pub(crate) fn moments<M: Trainable + ?Sized>(
        &self,
        model: &mut M,
    ) -> Result<[Cow<'_, [f32]>; 2]> {
        let n = model.params().len();
        match (self, model.resident()) {
            (Self::Host { optimiser, .. }, _) => {
                Ok([Cow::Borrowed(&optimiser.m), Cow::Borrowed(&optimiser.v)])
            }
            (Self::Model { .. }, resident) => {
                let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
                if let Some(resident) = resident {
                    resident.moments(&mut m, &mut v)?;
                }
                Ok([Cow::Owned(m), Cow::Owned(v)])
            }
        }
    }
}

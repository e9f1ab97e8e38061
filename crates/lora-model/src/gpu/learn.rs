//! An adapter that learns on the device.
use super::OnGpu;
use super::learning::{Learning, TreeSum};
use crate::resident::{Resident, SlotStep};
use crate::{Dropout, Error, Packed, SequenceLoss};
use lora_core::Adapter;
use lora_gpu::{AdamStep, Dtype, Gpu, Tensor};

impl OnGpu<'_> {
    fn learning(&mut self) -> Result<(&mut Learning, &Gpu), Error> {
        let gpu = &self.engine.gpu;
        match &mut self.learning {
            Some(learning) => Ok((learning, gpu)),
            None => Err(Error::invalid(
                "the adapter's parameters are not on the device",
            )),
        }
    }

    fn resident_params(&self) -> Result<Tensor, Error> {
        let params = self.engine.params();
        params.ok_or_else(|| Error::invalid("the adapter's parameters are not on the device"))
    }
}

impl Resident for OnGpu<'_> {
    fn set(&mut self, adapter: &Adapter, m: &[f32], v: &[f32]) -> Result<(), Error> {
        let binding = self.binding(Some(adapter), &Packed::default(), None)?;
        let on_device = self.engine.adopt(&binding)?;
        self.engine.give_back(on_device);
        let gpu = &self.engine.gpu;
        self.learning = Some(Learning {
            count: adapter.params.len(),
            m: gpu.uploaded(Dtype::F32, m)?,
            v: gpu.uploaded(Dtype::F32, v)?,
            sum: TreeSum::default(),
        });
        Ok(())
    }

    fn clear(&mut self) {
        if let Some(learning) = &mut self.learning {
            learning.sum.leaves.clear();
        }
    }

    fn accumulate(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        weights: (f32, Option<f32>),
    ) -> Result<(Vec<SequenceLoss>, Option<f64>), Error> {
        let (learning, gpu) = self.learning()?;
        let gpu = gpu.clone();
        let count = learning.count;
        let leaf = learning.sum.leaf(&gpu, count)?;
        let found = match self.nothing_to_learn(packed, weights.1)? {
            Some(nothing) => nothing,
            None => {
                let binding = self.binding(Some(adapter), packed, dropout)?;
                let batch = self.batch(packed, dropout);
                let work = (packed, &batch);
                self.engine
                    .gradients_there(&binding, work, dropout, weights, &leaf)?
            }
        };
        let (learning, _) = self.learning()?;
        learning.sum.join(&gpu, count, false)?;
        Ok(found)
    }

    fn norm(&mut self) -> Result<f64, Error> {
        let (learning, gpu) = self.learning()?;
        let total = learning.total(gpu)?;
        Ok(gpu.norm_of(&total, learning.count)?)
    }

    fn gradients(&mut self, to: &mut [f32]) -> Result<(), Error> {
        let (learning, gpu) = self.learning()?;
        let total = learning.total(gpu)?;
        Ok(gpu.download(&total, to)?)
    }

    fn step(&mut self, slots: &[SlotStep]) -> Result<(), Error> {
        let params = self.resident_params()?;
        let (learning, gpu) = self.learning()?;
        let total = learning.total(gpu)?;
        for slot in alike(slots) {
            let factors = slot.adamw.factors(slot.step);
            let step = AdamStep {
                clip: factors.clip,
                beta1: slot.adamw.beta1,
                beta2: slot.adamw.beta2,
                eps: slot.adamw.eps,
                decay: factors.decay,
                step_size: factors.step_size,
                correction: factors.correction2,
            };
            let (first, count) = (slot.range.start, slot.range.len());
            let part = |tensor| Tensor::strided(tensor, first, 1, count, count);
            let moments = (part(&learning.m), part(&learning.v));
            gpu.adamw(part(&params), part(&total), moments, step)?;
        }
        self.engine.spread_params()
    }

    fn params(&mut self, to: &mut [f32]) -> Result<(), Error> {
        let params = self.resident_params()?;
        Ok(self.engine.gpu.download(&params, to)?)
    }

    fn moments(&mut self, m: &mut [f32], v: &mut [f32]) -> Result<(), Error> {
        let (learning, gpu) = self.learning()?;
        gpu.download(&learning.m, m)?;
        Ok(gpu.download(&learning.v, v)?)
    }
}

/// Neighbours with the same rate and decay as one.
fn alike(slots: &[SlotStep]) -> Vec<SlotStep> {
    let mut joined: Vec<SlotStep> = Vec::new();
    for slot in slots {
        match joined.last_mut() {
            Some(last)
                if last.range.end == slot.range.start
                    && (last.adamw, last.step) == (slot.adamw, slot.step) =>
            {
                last.range.end = slot.range.end;
            }
            _ => joined.push(slot.clone()),
        }
    }
    joined
}

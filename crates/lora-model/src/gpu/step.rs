//! A training step on the device: forward, loss and backward over all layers.
use super::buffer::Buffer;
use super::engine::Engine;
use super::head::LossGradient;
use super::pass::{LayerPass, Pass};
use crate::fused::balance::Balancing;
use crate::fused::batch::Batch;
use crate::fused::binding::Binding;
use crate::fused::targets::Targets;
use crate::{Dropout, Error, Packed, SequenceLoss};
use lora_gpu::{Dtype, Tensor};
use lora_kernels::loss::TokenLoss;
use lora_kernels::vector;
use rayon::prelude::*;

/// Values that a thread adds at once.
const PART: usize = 1 << 16;

impl Engine<'_> {
    /// Loss of each sequence, and the loss for the balance of experts if it has a weight; adds to the gradients of what trains.
    pub(super) fn gradients(
        &mut self,
        binding: &Binding<'_>,
        (packed, batch): (&Packed, &Batch),
        dropout: Option<Dropout>,
        weights: (f32, Option<f32>),
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, Option<f64>), Error> {
        let mut on_device = self.adopt(binding)?;
        let gpu = self.gpu.clone();
        let to = on_device.gradients.get(&gpu, gradients.len())?;
        gpu.zero(&to, gradients.len())?;
        self.give_back(on_device);
        let losses = self.gradients_there(binding, (packed, batch), dropout, weights, &to)?;
        self.found.resize(gradients.len(), 0.0);
        gpu.download(&to, &mut self.found)?;
        gradients
            .par_chunks_mut(PART)
            .zip(self.found.par_chunks(PART))
            .for_each(|(sum, found)| vector::add(sum, found));
        Ok(losses)
    }

    /// The same with the parameters that are on the device, for gradients there.
    pub(super) fn gradients_there(
        &mut self,
        binding: &Binding<'_>,
        (packed, batch): (&Packed, &Batch),
        dropout: Option<Dropout>,
        (scale, balance): (f32, Option<f32>),
        gradients: &Tensor,
    ) -> Result<(Vec<SequenceLoss>, Option<f64>), Error> {
        let targets = Targets::of(packed, batch, binding, false);
        let on_device = match self.on_device.take() {
            Some(held) => held,
            None => self.adopt(binding)?,
        };
        let gpu = self.gpu.clone();
        let rotations = self.rotations(batch)?;
        let pass = Pass::new(&gpu, self.config, &on_device, batch, rotations, None)?;
        let pass = pass
            .with_dropout(dropout)
            .with_balance(balance, batch)
            .with_chooser(&self.chooser)
            .with_profile(self.profile.clone());
        let (losses, balance) = self.step(&pass, (&targets, &batch.ids), scale, gradients)?;
        self.give_back(on_device);
        Ok((targets.by_sequence(&losses), balance))
    }

    /// Forward, loss and backward.
    fn step(
        &mut self,
        pass: &Pass<'_>,
        (targets, ids): (&Targets, &[u32]),
        scale: f32,
        gradients: &Tensor,
    ) -> Result<(Vec<TokenLoss>, Option<f64>), Error> {
        let layers = self.weights.layers.len();
        let lowest = pass.on_device.bound.lowest;
        let kept = self.kept.min(layers.saturating_sub(lowest + 1));
        self.reserve(pass, targets.ids.len())?;
        let scratch = self.scratch(pass, true)?;
        let places = self.places(lowest..lowest + kept, pass.rows)?;
        let work = &places.work; // of the last layer at the end of the forward pass
        let keeps = |index: usize| places.of(index);
        let size = pass.rows * self.config.hidden_size;
        let x = self.x.get(&self.gpu, size)?;
        self.begin(pass, (&scratch, &places), &x)?;
        self.inputs.resize_with(layers, || Buffer::new(Dtype::F32));
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let at = LayerPass {
                pass,
                index,
                layer,
                scratch: &scratch,
            };
            let is_again = index >= lowest && keeps(index).is_none() && index + 1 < layers;
            if is_again {
                let input = self.inputs[index].get(&self.gpu, size)?;
                self.gpu.copy(&x, &input, size)?;
            }
            at.run(&x, keeps(index).unwrap_or(work))?;
        }
        let balance = pass.balancing.as_ref().map(Balancing::close);
        let d_x = self.d_x.get(&self.gpu, size)?;
        let back = LossGradient {
            scale,
            dx: &d_x,
            norms: &pass.on_device.bound.norms,
            gradients,
            dropout: pass.dropout,
        };
        let losses = self.loss(pass.rows, &x, targets, Some(back))?;
        for (index, layer) in self.weights.layers.iter().enumerate().skip(lowest).rev() {
            let at = LayerPass {
                pass,
                index,
                layer,
                scratch: &scratch,
            };
            let saved = match keeps(index) {
                Some(saved) => saved,
                None => {
                    if index + 1 < layers {
                        let input = self.inputs[index].get(&self.gpu, size)?;
                        self.gpu.copy(&input, &x, size)?;
                        at.run(&x, work)?;
                    }
                    work
                }
            };
            at.run_backward(&d_x, saved, gradients)?;
        }
        if lowest == 0 {
            self.end(pass, (&scratch, &places), &d_x, gradients)?;
        }
        self.embedding_backward(pass, ids, (&d_x, &x), gradients)?;
        Ok((losses, balance))
    }
}

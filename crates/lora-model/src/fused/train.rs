//! The passes of a training step: forward through the layers, each of which keeps what its plan says, the loss, and back.
use super::balance::Balancing;
use super::batch::{Batch, Prefixes};
use super::binding::Binding;
use super::embed::Embedding;
use super::engine::{Around, Engine};
use super::head::Scaled;
use super::keep::{self, Keeping};
use super::layer::{self, Reads};
use super::pass::{LayerPass, Pass};
use super::project::Back;
use super::targets::Targets;
use crate::{Packed, SequenceLoss};
use lora_kernels::profile::Part;

impl Engine<'_> {
    /// Loss of each sequence.
    pub(super) fn losses(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        prefixes: Prefixes,
    ) -> Vec<SequenceLoss> {
        let batch = self.batch(packed, prefixes);
        let targets = Targets::of(packed, &batch, binding, false);
        let around = Around {
            wanted: targets.wanted.rows.as_deref(),
            cache: None,
        };
        self.forward(binding, &batch, around);
        self.loss(binding, &batch, &targets, None)
    }

    /// Loss of each sequence, and the loss for the balance of experts if it has a weight; adds to the gradients of what trains.
    pub(super) fn gradients(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        prefixes: Prefixes,
        (to, balance): (Scaled<'_>, Option<f32>),
    ) -> (Vec<SequenceLoss>, Option<f64>) {
        let batch = self.batch(packed, prefixes);
        // The routers of the last layer count every token.
        let targets = Targets::of(packed, &batch, binding, balance.is_some());
        let wanted = targets.wanted.rows.as_deref();
        let mut pass = self.pass(binding, &batch);
        pass.balancing = self
            .config
            .experts
            .zip(balance)
            .map(|(experts, weight)| Balancing::new(weight, &batch, experts.count));
        self.forward_keeping(&pass, wanted);
        let balance = pass.balancing.as_ref().map(Balancing::close);
        let Scaled { scale, gradients } = to;
        let to = Scaled { scale, gradients };
        let losses = self.loss(binding, &batch, &targets, Some(to));
        self.backward(&pass, wanted, gradients);
        self.embed_backward(binding, &batch, gradients);
        (losses, balance)
    }

    /// The hidden states after the last layer in `self.x`, of the `wanted` rows if only some are; what the backward pass
    /// needs is kept as the plan says.
    fn forward_keeping(&mut self, pass: &Pass<'_>, wanted: Option<&[usize]>) {
        let layers = self.weights.layers.len();
        let lowest = pass.binding.lowest_layer();
        self.stores.resize_with(layers, Default::default);
        self.embed(pass.binding, &pass.batch.ids);
        let x = self.x.get(pass.tokens() * self.config.hidden_size);
        let weights = self.weights.layers.iter().zip(&mut self.stores);
        for (index, (layer, store)) in weights.enumerate() {
            let keeping = self.plan.of_layer(index, lowest, layers);
            let saved = match keeping {
                Keeping::All => &mut store.all,
                _ => &mut self.work,
            };
            saved.visit(|buffer, _| buffer.forget());
            let at = LayerPass {
                pass,
                index,
                layer,
                rows: pass.tokens(),
            };
            let reads = Reads {
                wanted: wanted.filter(|_| index + 1 == layers),
                cache: None,
            };
            layer::forward(at, x, saved, reads, &mut self.scratch);
            match keeping {
                Keeping::Half => self
                    .profile
                    .time(Part::Keep, 0, || store.keep_half(&mut self.work)),
                Keeping::Input { .. } => self
                    .profile
                    .time(Part::Keep, 0, || store.keep_input(&self.work)),
                Keeping::All | Keeping::Nothing => {}
            }
        }
    }

    /// From the gradient of the last layer's output, in `self.d_x`, to that of the lowest layer's input that needs one.
    fn backward(&mut self, pass: &Pass<'_>, wanted: Option<&[usize]>, gradients: &mut [f32]) {
        let layers = self.weights.layers.len();
        let lowest = pass.binding.lowest_layer();
        let size = pass.tokens() * self.config.hidden_size;
        let x = self.x.get(size);
        let dx = self.d_x.get(size);
        let weights = self.weights.layers.iter().zip(&mut self.stores);
        for (index, (layer, store)) in weights.enumerate().skip(lowest).rev() {
            let at = LayerPass {
                pass,
                index,
                layer,
                rows: pass.tokens(),
            };
            let keeping = self.plan.of_layer(index, lowest, layers);
            match keeping {
                Keeping::Half => self
                    .profile
                    .time(Part::Keep, 0, || store.restore_half(&mut self.work)),
                Keeping::Input { rounds } => {
                    x.copy_from_slice(store.restore_input(&mut self.work));
                    layer::recompute(at, x, &mut self.work, &mut self.scratch);
                    if rounds {
                        keep::round(&mut self.work);
                    }
                }
                Keeping::All | Keeping::Nothing => {} // the last layer is still in `work`
            }
            let saved = match keeping {
                Keeping::All => &mut store.all,
                _ => &mut self.work,
            };
            let wanted = wanted.filter(|_| index + 1 == layers);
            layer::backward(at, dx, saved, wanted, gradients, &mut self.scratch);
        }
    }

    /// Adds to the gradients of what trains at the embedding, from that of the hidden state before the first layer.
    fn embed_backward(&mut self, binding: &Binding<'_>, batch: &Batch, gradients: &mut [f32]) {
        let site = binding.table(binding.embedding, &self.weights.embedding);
        let embedding = Embedding {
            site: &site,
            ids: &batch.ids,
            scale: self.config.embedding_scale() as f32,
        };
        let dx = self.d_x.get(batch.tokens() * self.config.hidden_size);
        let back = Back {
            gradients,
            scratch: &mut self.scratch.project,
        };
        embedding.backward(dx, &self.embedded, back);
    }
}

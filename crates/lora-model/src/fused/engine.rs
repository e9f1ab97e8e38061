//! Weights and memory of the fused route, and its passes over all layers. Runs inside the route's pool.
use super::binding::Binding;
use super::buffers::{Buffer, Saved, Scratch};
use super::cache::LayerCache;
use super::layer;
use super::pass::{Pass, Tables};
use super::weights::Weights;
use crate::{Base, Error, Packed, SequenceLoss};
use lora_checkpoint::ModelConfig;
use lora_kernels::attention::{Segment, segments};
use lora_kernels::loss::{self, TokenLoss};
use lora_kernels::{embedding, linear, norm};

#[derive(Debug)]
pub(super) struct Engine<'b> {
    pub(super) config: &'b ModelConfig,
    pub(super) weights: Weights<'b>,
    /// One for each of the config's rotary embeddings.
    tables: Vec<Tables>,
    /// One a layer in training; the first alone serves passes without gradients.
    saved: Vec<Saved>,
    scratch: Scratch,
    /// The hidden state, (T, H), and then its gradient.
    x: Buffer,
    d_x: Buffer,
    head: HeadBuffers,
}

/// Memory of the head and the loss. n = rows whose logits are wanted.
#[derive(Debug, Default)]
struct HeadBuffers {
    /// Hidden rows before the last norm, (n, H).
    rows: Buffer,
    /// The same after it; then their gradient.
    normed: Buffer,
    rstd: Buffer,
    d_rows: Buffer,
    panel: Vec<f32>,
    loss: loss::Scratch,
}

impl<'b> Engine<'b> {
    pub(super) fn new(base: &'b Base) -> Result<Self, Error> {
        Ok(Self {
            config: base.config(),
            weights: Weights::of(base)?,
            tables: base.config().ropes.iter().map(|_| Tables::default()).collect(),
            saved: Vec::new(),
            scratch: Scratch::default(),
            x: Buffer::default(),
            d_x: Buffer::default(),
            head: HeadBuffers::default(),
        })
    }

    /// What a pass over these segments needs beside the weights.
    fn pass<'p>(&mut self, binding: Binding<'p>, positions: Vec<u32>, segments: Vec<Segment>) -> Pass<'p>
    where
        'b: 'p,
    {
        let tables = self.config.ropes.iter().zip(&mut self.tables);
        let rotations = tables.map(|(rope, tables)| tables.rotation(rope, &segments)).collect();
        Pass { config: self.config, binding, positions, segments, rotations }
    }

    /// The hidden state before the first layer, in `self.x`.
    fn embed(&mut self, ids: &[u32]) {
        let x = self.x.get(ids.len() * self.config.hidden_size);
        embedding::forward(&self.weights.embedding, ids, self.config.embedding_scale() as f32, x);
    }

    pub(super) fn logits(&mut self, binding: Binding<'_>, packed: &Packed) -> Vec<f32> {
        self.forward(binding, &packed.input_ids, packed.positions().collect(), segments(&packed.starts), None);
        let all: Vec<usize> = (0..packed.tokens()).collect();
        self.logits_of(&all)
    }

    pub(super) fn losses(&mut self, binding: Binding<'_>, packed: &Packed) -> Vec<SequenceLoss> {
        self.forward(binding, &packed.input_ids, packed.positions().collect(), segments(&packed.starts), None);
        self.loss(packed, 1.0, false)
    }

    pub(super) fn gradients(
        &mut self,
        binding: Binding<'_>,
        packed: &Packed,
        scale: f32,
        gradients: &mut [f32],
    ) -> Vec<SequenceLoss> {
        let (config, ids) = (self.config, &packed.input_ids);
        let lowest = binding.lowest_layer();
        let pass = self.pass(binding, packed.positions().collect(), segments(&packed.starts));
        self.saved.resize_with(config.num_hidden_layers, Saved::default);
        self.embed(ids);
        let x = self.x.get(ids.len() * config.hidden_size);
        for (i, (layer, saved)) in self.weights.layers.iter().zip(&mut self.saved).enumerate() {
            layer::forward(&pass, i, layer, x, saved, None, &mut self.scratch);
        }
        let losses = self.loss(packed, scale, true);
        let dx = self.d_x.get(ids.len() * config.hidden_size);
        for (i, (layer, saved)) in self.weights.layers.iter().zip(&mut self.saved).enumerate().skip(lowest).rev() {
            layer::backward(&pass, i, layer, dx, saved, gradients, &mut self.scratch);
        }
        losses
    }

    /// Leaves the hidden states after the last layer in `self.x`. Nothing is saved for a backward pass.
    pub(super) fn forward(
        &mut self,
        binding: Binding<'_>,
        ids: &[u32],
        positions: Vec<u32>,
        segments: Vec<Segment>,
        mut cache: Option<&mut [LayerCache]>,
    ) {
        let pass = self.pass(binding, positions, segments);
        self.saved.resize_with(self.saved.len().max(1), Saved::default);
        self.embed(ids);
        let x = self.x.get(ids.len() * self.config.hidden_size);
        for (i, layer) in self.weights.layers.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|c| &mut c[i]);
            layer::forward(&pass, i, layer, x, &mut self.saved[0], cache, &mut self.scratch);
        }
    }

    /// Copies the given rows of the hidden state and normalises them: (n, H) in `head.normed`.
    fn final_norm(&mut self, rows: &[usize]) {
        let (h, eps) = (self.config.hidden_size, self.config.rms_norm_eps as f32);
        let last = rows.iter().max().map_or(0, |&r| (r + 1) * h);
        let x = self.x.read(last);
        let gathered = self.head.rows.get(rows.len() * h);
        for (to, &from) in gathered.chunks_exact_mut(h).zip(rows) {
            to.copy_from_slice(&x[from * h..(from + 1) * h]);
        }
        norm::forward(
            gathered,
            &self.weights.norm,
            eps,
            self.head.normed.get(rows.len() * h),
            self.head.rstd.get(rows.len()),
        );
    }

    /// Logits of the given rows of the hidden state, (n, V).
    pub(super) fn logits_of(&mut self, rows: &[usize]) -> Vec<f32> {
        self.final_norm(rows);
        let mut logits = vec![0.0; rows.len() * self.config.vocab_size];
        let normed = self.head.normed.read(rows.len() * self.config.hidden_size);
        linear::forward(&self.weights.head, normed, rows.len(), &mut logits, false, &mut self.head.panel);
        if let Some(cap) = self.config.logit_softcap {
            loss::soft_cap(&mut logits, cap as f32);
        }
        logits
    }

    /// Losses of the supervised rows; with `gradient`, `self.d_x` gets scale · dΣnll/dx for all rows.
    fn loss(&mut self, packed: &Packed, scale: f32, gradient: bool) -> Vec<SequenceLoss> {
        let targets: Vec<(usize, usize, u32)> = packed.targets().collect();
        let rows: Vec<usize> = targets.iter().map(|t| t.1).collect();
        let ids: Vec<u32> = targets.iter().map(|t| t.2).collect();
        let mut losses = vec![TokenLoss::default(); rows.len()];
        self.final_norm(&rows);
        let (h, head) = (self.config.hidden_size, &mut self.head);
        let normed = head.normed.get(rows.len() * h);
        let cap = self.config.logit_softcap.map(|cap| cap as f32);
        loss::cross_entropy(&self.weights.head, normed, &ids, cap, scale, gradient, &mut losses, &mut head.loss);
        if gradient {
            let d_rows = head.d_rows.get(rows.len() * h);
            d_rows.fill(0.0);
            norm::backward(
                head.rows.read(rows.len() * h),
                &self.weights.norm,
                head.rstd.read(rows.len()),
                normed,
                d_rows,
            );
            let dx = self.d_x.get(packed.tokens() * h);
            dx.fill(0.0);
            for (from, &to) in d_rows.chunks_exact(h).zip(&rows) {
                dx[to * h..(to + 1) * h].copy_from_slice(from);
            }
        }
        by_sequence(packed.sequences(), &targets, &losses)
    }
}

fn by_sequence(sequences: usize, targets: &[(usize, usize, u32)], losses: &[TokenLoss]) -> Vec<SequenceLoss> {
    let mut out = vec![SequenceLoss::default(); sequences];
    for (&(sequence, ..), token) in targets.iter().zip(losses) {
        let s = &mut out[sequence];
        s.nll += f64::from(token.nll);
        s.tokens += 1;
        s.correct += usize::from(token.correct);
    }
    out
}

//! What follows the last layer: the last norm, the output head, the loss and its gradient.
use super::batch::Batch;
use super::binding::Binding;
use super::buffers::Kept;
use super::dropout::RowsOf;
use super::engine::Engine;
use super::pass::scale;
use super::project::{Applied, Back};
use super::scratch::ProjectScratch;
use super::site::Site;
use super::targets::Targets;
use super::weights::Linear;
use crate::SequenceLoss;
use lora_checkpoint::Norm;
use lora_kernels::loss::{self, CrossEntropy, Frozen, Head, TokenLoss};
use lora_kernels::matrix::Place;
use lora_kernels::{Rows, vector};

/// Where `scale` times the gradients of the loss are added.
#[derive(Debug)]
pub(super) struct Scaled<'g> {
    pub(super) scale: f32,
    /// Of all of the adapter's parameters.
    pub(super) gradients: &'g mut [f32],
}

impl Engine<'_> {
    /// Copies the given rows of the hidden state and normalises them: (n, H) in `head.normed`.
    fn final_norm(&mut self, rows: &[usize]) {
        let h = self.config.hidden_size;
        let eps = self.config.norm_eps as f32;
        let end = rows.iter().max().map_or(0, |&r| (r + 1) * h);
        let x = self.x.read(end);
        let gathered = self.head.rows.get(rows.len() * h);
        for (to, &from) in gathered.chunks_exact_mut(h).zip(rows) {
            to.copy_from_slice(&x[from * h..(from + 1) * h]);
        }
        let normed = self.head.normed.get(rows.len() * h);
        let rstd = self.head.rstd.get(rows.len());
        self.weights.norm.forward(gathered, eps, normed, rstd);
        self.divide_for_logits(rows.len());
    }

    /// Divides what the head reads, or its gradient, in `head.normed`, by what logits are divided by.
    fn divide_for_logits(&mut self, rows: usize) {
        let divisor = self.config.multipliers.logits;
        if divisor != 1.0 {
            let normed = self.head.normed.get(rows * self.config.hidden_size);
            scale(normed, (1.0 / divisor) as f32);
        }
    }

    /// Logits of the given rows of the hidden state, (n, V).
    pub(super) fn logits_of(&mut self, binding: &Binding<'_>, rows: &[usize]) -> Vec<f32> {
        self.final_norm(rows);
        let vocabulary = self.config.vocab_size;
        let mut logits = vec![0.0; rows.len() * vocabulary];
        let site = binding.table(binding.head, &self.weights.head.weight);
        let applied = Applied {
            site: &site,
            linear: &self.weights.head,
            rows: RowsOf::all(rows.len()),
            x: self.head.normed.read(rows.len() * self.config.hidden_size),
        };
        let to = Place::new(&mut logits, rows.len(), vocabulary);
        applied.forward(to, &mut self.head.kept, &mut self.scratch.project);
        if let Some(cap) = self.config.logit_softcap {
            loss::soft_cap(&mut logits, cap as f32);
        }
        logits
    }

    /// Losses of the supervised rows. If gradients are asked for, `self.d_x` gets scale · dΣnll/dx for the rows that the
    /// last layer computed.
    pub(super) fn loss(
        &mut self,
        binding: &Binding<'_>,
        batch: &Batch,
        targets: &Targets,
        mut to: Option<Scaled<'_>>,
    ) -> Vec<SequenceLoss> {
        let losses = self.head_loss(binding, targets, to.as_mut());
        if let Some(Scaled { gradients, .. }) = to {
            let rows = &targets.wanted.places;
            let h = self.config.hidden_size;
            self.divide_for_logits(rows.len());
            let head = &mut self.head;
            let x = head.rows.read(rows.len() * h);
            let rstd = head.rstd.read(rows.len());
            let normed = head.normed.get(rows.len() * h);
            let d_rows = head.d_rows.get(rows.len() * h);
            let norm = &self.weights.norm;
            let place = (None, Norm::Input);
            binding.norm_gradient((place, norm), x, rstd, normed, gradients);
            d_rows.fill(0.0);
            norm.backward(x, rstd, normed, d_rows);
            let dx = self.d_x.get(batch.tokens() * h);
            dx.fill(0.0);
            for (from, &to) in d_rows.chunks_exact(h).zip(rows) {
                vector::add(&mut dx[to * h..(to + 1) * h], from); // a shared row has several targets
            }
        }
        targets.by_sequence(&losses)
    }

    /// Losses of rows against their targets; if gradients are asked for, `self.head.normed` holds that of the rows
    /// afterwards.
    fn head_loss(
        &mut self,
        binding: &Binding<'_>,
        targets: &Targets,
        to: Option<&mut Scaled<'_>>,
    ) -> Vec<TokenLoss> {
        let rows = &targets.wanted.places;
        self.final_norm(rows);
        let site = binding.table(binding.head, &self.weights.head.weight);
        let loss = CrossEntropy {
            targets: &targets.ids,
            softcap: self.config.logit_softcap.map(|cap| cap as f32),
            gradient: to.as_ref().map(|to| to.scale),
            profile: &self.profile,
        };
        let head = &mut self.head;
        let normed = head.normed.get(rows.len() * self.config.hidden_size);
        if site.is_plain() {
            let mut frozen = Frozen {
                weight: &self.weights.head.weight,
                workspace: &mut head.workspace,
            };
            return loss.of(&mut frozen, normed, &mut head.logits);
        }
        let mut adapted = AdaptedHead {
            site: &site,
            linear: &self.weights.head,
            kept: &mut head.kept,
            scratch: &mut self.scratch.project,
            gradients: to.map(|to| &mut *to.gradients).unwrap_or_default(),
            rows: Vec::new(),
        };
        loss.of(&mut adapted, normed, &mut head.logits)
    }
}

/// An output head at which something trains.
struct AdaptedHead<'h> {
    site: &'h Site<'h>,
    linear: &'h Linear<'h>,
    kept: &'h mut Kept,
    scratch: &'h mut ProjectScratch,
    /// Of the adapter; empty if no gradient is asked for.
    gradients: &'h mut [f32],
    /// A copy of the rows on their way back.
    rows: Vec<f32>,
}

impl Head for AdaptedHead<'_> {
    fn vocabulary(&self) -> usize {
        self.linear.weight.rows()
    }

    fn width(&self) -> usize {
        self.linear.weight.columns()
    }

    fn forward(&mut self, first: usize, hidden: &[f32], logits: &mut [f32]) {
        let count = hidden.len() / self.width();
        let applied = Applied {
            site: self.site,
            linear: self.linear,
            rows: RowsOf { first, count },
            x: hidden,
        };
        let to = Place::new(logits, count, self.vocabulary());
        applied.forward(to, self.kept, self.scratch);
    }

    fn backward(&mut self, first: usize, hidden: &mut [f32], d_logits: &[f32]) {
        self.rows.clear();
        self.rows.extend_from_slice(hidden);
        let count = hidden.len() / self.width();
        let applied = Applied {
            site: self.site,
            linear: self.linear,
            rows: RowsOf { first, count },
            x: &self.rows,
        };
        let to = Place::new(hidden, count, self.width());
        let back = Back {
            gradients: self.gradients,
            scratch: self.scratch,
        };
        applied.backward(self.kept, d_logits, to, back);
    }
}

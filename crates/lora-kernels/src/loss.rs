//! Output head and cross-entropy in chunks of supervised rows: the logits of all positions never exist at once.
use crate::dispatch::vectorised;
use crate::linear::{self, Workspace};
use crate::matrix::{Mat, Place};
use crate::memory;
use crate::profile::{Part, Profile};
use crate::rows::Rows;
use crate::vector::{argmax, exp, max, tanh};
use rayon::prelude::*;

/// Bytes of logits that exist at once, about.
const LOGITS: usize = 48 << 20;

/// Rows of logits that exist at once at most: the more, the less often the head is read; few of a large vocabulary.
#[must_use]
pub fn chunk_rows(vocabulary: usize) -> usize {
    (LOGITS / 4 / vocabulary.max(1)).clamp(32, 256)
}

/// Loss of one supervised position.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenLoss {
    /// −log p(target), nats.
    pub nll: f32,
    /// Whether the target was the largest logit.
    pub correct: bool,
}

/// An output head, as the loss uses it: some rows at a time, each first forward and then, if asked, at once backward.
pub trait Head {
    /// V.
    fn vocabulary(&self) -> usize;
    /// H.
    fn width(&self) -> usize;
    /// logits (n, V) of `hidden` (n, H), which are rows `first..` of all.
    fn forward(&mut self, first: usize, hidden: &[f32], logits: &mut [f32]);
    /// `hidden` (n, H) becomes its gradient, from that of its logits.
    fn backward(&mut self, first: usize, hidden: &mut [f32], d_logits: &[f32]);
}

/// A head of which nothing trains.
pub struct Frozen<'h> {
    /// (V, H).
    pub weight: &'h dyn Rows,
    /// Packed operands.
    pub workspace: &'h mut Workspace,
}

impl Head for Frozen<'_> {
    fn vocabulary(&self) -> usize {
        self.weight.rows()
    }
    fn width(&self) -> usize {
        self.weight.columns()
    }
    fn forward(&mut self, _: usize, hidden: &[f32], logits: &mut [f32]) {
        let (h, v) = (self.width(), self.vocabulary());
        let n = hidden.len() / h;
        let to = Place::new(logits, n, v);
        linear::forward(self.weight, Mat::new(hidden, n, h), to, self.workspace);
    }
    fn backward(&mut self, _: usize, hidden: &mut [f32], d_logits: &[f32]) {
        let (h, v) = (self.width(), self.vocabulary());
        let n = hidden.len() / h;
        let to = Place::new(hidden, n, h);
        linear::backward(self.weight, Mat::new(d_logits, n, v), to, self.workspace);
    }
}

/// Cross-entropy against `targets`.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy<'a> {
    /// The token that each row is to predict, (n).
    pub targets: &'a [u32],
    /// c of c·tanh(l/c), to which logits l are capped, if there is one.
    pub softcap: Option<f32>,
    /// Scale of the gradient; None if only the losses are wanted.
    pub gradient: Option<f32>,
    /// Where the time is counted.
    pub profile: &'a Profile,
}

impl CrossEntropy<'_> {
    /// The losses of `hidden` (n, H), rows after the last norm. If a gradient is wanted, `hidden` becomes
    /// scale · dΣnll/d hidden. `logits` is memory that is kept between calls.
    ///
    /// # Panics
    /// If a target lies outside the vocabulary.
    pub fn of(
        self,
        head: &mut dyn Head,
        hidden: &mut [f32],
        logits: &mut Vec<f32>,
    ) -> Vec<TokenLoss> {
        let (vocabulary, h) = (head.vocabulary(), head.width());
        let chunks = self.targets.len().div_ceil(chunk_rows(vocabulary)).max(1);
        let rows = self.targets.len().div_ceil(chunks).max(1); // chunks of one size
        let mut losses = vec![TokenLoss::default(); self.targets.len()];
        for (chunk, ((hidden, targets), losses)) in hidden
            .chunks_mut(rows * h)
            .zip(self.targets.chunks(rows))
            .zip(losses.chunks_mut(rows))
            .enumerate()
        {
            let n = targets.len();
            memory::grow(logits, n * vocabulary);
            let logits = &mut logits[..n * vocabulary];
            let operations = (2 * n * vocabulary * h) as u64;
            self.profile.time(Part::Head, operations, || {
                head.forward(chunk * rows, hidden, logits)
            });
            self.profile.time(Part::Loss, 0, || {
                logits
                    .par_chunks_mut(vocabulary)
                    .zip(targets)
                    .zip(losses)
                    .for_each_init(Vec::new, |slopes, ((logits, &target), loss)| {
                        *loss = self.row(logits, target as usize, slopes);
                    });
            });
            if self.gradient.is_some() {
                self.profile.time(Part::Head, operations, || {
                    head.backward(chunk * rows, hidden, logits)
                });
            }
        }
        losses
    }

    /// The loss of one row of logits, which become their gradient if one is wanted; `slopes` is scratch.
    fn row(&self, logits: &mut [f32], target: usize, slopes: &mut Vec<f32>) -> TokenLoss {
        let Some(cap) = self.softcap else {
            return row_loss(logits, target, self.gradient);
        };
        slopes.resize(logits.len(), 0.0);
        cap_row(logits, cap, slopes);
        let loss = row_loss(logits, target, self.gradient);
        if self.gradient.is_some() {
            let slopes = slopes.iter();
            logits
                .iter_mut()
                .zip(slopes)
                .for_each(|(d, slope)| *d *= slope);
        }
        loss
    }
}

/// Caps the logits of any number of rows: l becomes c·tanh(l/c).
pub fn soft_cap(logits: &mut [f32], cap: f32) {
    logits
        .par_chunks_mut(1 << 14)
        .for_each(|part| cap_part(part, cap));
}

vectorised! {
    fn cap_part(logits: &mut [f32], cap: f32) {
        logits.iter_mut().for_each(|l| *l = cap * tanh(*l / cap));
    }
}

vectorised! {
    /// Caps one row; `slopes` gets the derivative of every value, 1 − tanh²(l/c).
    fn cap_row(row: &mut [f32], cap: f32, slopes: &mut [f32]) {
        for (l, slope) in row.iter_mut().zip(slopes) {
            let t = tanh(*l / cap);
            *l = cap * t;
            *slope = 1.0 - t * t;
        }
    }
}

vectorised! {
    /// Loss of one row of logits, which becomes scale · (softmax − onehot) if its gradient is wanted.
    fn row_loss(row: &mut [f32], target: usize, gradient: Option<f32>) -> TokenLoss {
        let correct = argmax(row) == target;
        let (m, at_target) = (max(row), row[target]);
        let mut total = 0.0f64;
        for part in row.chunks_mut(1024) {
            let mut lanes = [0.0f32; 16];
            let mut lane_chunks = part.chunks_exact_mut(16);
            for values in &mut lane_chunks {
                for i in 0..16 {
                    values[i] = exp(values[i] - m);
                    lanes[i] += values[i];
                }
            }
            let tail: f32 = lane_chunks
                .into_remainder()
                .iter_mut()
                .map(|x| {
                    *x = exp(*x - m);
                    *x
                })
                .sum();
            total += lanes.iter().map(|&x| f64::from(x)).sum::<f64>() + f64::from(tail);
        }
        if let Some(scale) = gradient {
            let inverse = (f64::from(scale) / total) as f32;
            for x in row.iter_mut() {
                *x *= inverse;
            }
            row[target] -= scale;
        }
        TokenLoss { nll: (f64::from(m) + total.ln() - f64::from(at_target)) as f32, correct }
    }
}

//! Output head and cross-entropy in chunks of supervised rows: the logits of all positions never exist at once.
use crate::dispatch::vectorised;
use crate::linear::{self, Rows, Workspace};
use crate::memory;
use crate::profile::{Part, Profile};
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

/// Buffers that are kept between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    workspace: Workspace,
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
struct Frozen<'h> {
    head: &'h dyn Rows,
    workspace: &'h mut Workspace,
}

impl Head for Frozen<'_> {
    fn vocabulary(&self) -> usize {
        self.head.rows()
    }
    fn width(&self) -> usize {
        self.head.columns()
    }
    fn forward(&mut self, _: usize, hidden: &[f32], logits: &mut [f32]) {
        linear::forward(
            self.head,
            hidden,
            hidden.len() / self.width(),
            logits,
            false,
            self.workspace,
        );
    }
    fn backward(&mut self, _: usize, hidden: &mut [f32], d_logits: &[f32]) {
        let n = hidden.len() / self.width();
        linear::backward(self.head, d_logits, n, hidden, false, self.workspace);
    }
}

/// Cross-entropy of `hidden` (n, H), the supervised rows after the last norm, against `targets` (n).
/// With `gradient`, `hidden` is replaced by scale · dΣnll/d hidden. Logits l are capped to c·tanh(l/c) if there is a `softcap` c.
///
/// # Panics
/// If a target lies outside the vocabulary.
pub fn cross_entropy(
    head: &dyn Rows,
    hidden: &mut [f32],
    targets: &[u32],
    softcap: Option<f32>,
    scale: f32,
    gradient: bool,
    losses: &mut [TokenLoss],
    scratch: &mut Scratch,
    profile: &Profile,
) {
    let Scratch { logits, workspace } = scratch;
    cross_entropy_through(
        &mut Frozen { head, workspace },
        hidden,
        targets,
        softcap,
        scale,
        gradient,
        losses,
        logits,
        profile,
    );
}

/// The same through any head; `logits` is memory that is kept between calls.
///
/// # Panics
/// If a target lies outside the vocabulary.
pub fn cross_entropy_through(
    head: &mut dyn Head,
    hidden: &mut [f32],
    targets: &[u32],
    softcap: Option<f32>,
    scale: f32,
    gradient: bool,
    losses: &mut [TokenLoss],
    logits: &mut Vec<f32>,
    profile: &Profile,
) {
    let (vocabulary, h) = (head.vocabulary(), head.width());
    let chunks = targets.len().div_ceil(chunk_rows(vocabulary)).max(1);
    let rows = targets.len().div_ceil(chunks).max(1); // chunks of one size
    for (chunk, ((hidden, targets), losses)) in hidden
        .chunks_mut(rows * h)
        .zip(targets.chunks(rows))
        .zip(losses.chunks_mut(rows))
        .enumerate()
    {
        let n = targets.len();
        memory::grow(logits, n * vocabulary);
        let logits = &mut logits[..n * vocabulary];
        let operations = (2 * n * vocabulary * h) as u64;
        profile.time(Part::Head, operations, || {
            head.forward(chunk * rows, hidden, logits)
        });
        let all = logits.par_chunks_mut(vocabulary).zip(targets).zip(losses);
        let one = |slopes: &mut Vec<f32>,
                   ((row, &target), loss): ((&mut [f32], &u32), &mut TokenLoss)| {
            let Some(cap) = softcap else {
                *loss = row_loss(row, target as usize, scale, gradient);
                return;
            };
            slopes.resize(vocabulary, 0.0);
            cap_row(row, cap, slopes);
            *loss = row_loss(row, target as usize, scale, gradient);
            if gradient {
                row.iter_mut()
                    .zip(&*slopes)
                    .for_each(|(d, slope)| *d *= slope);
            }
        };
        profile.time(Part::Loss, 0, || all.for_each_init(Vec::new, one));
        if gradient {
            profile.time(Part::Head, operations, || {
                head.backward(chunk * rows, hidden, logits)
            });
        }
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
    /// Loss of one row of logits, which becomes scale · (softmax − onehot) if `gradient`.
    fn row_loss(row: &mut [f32], target: usize, scale: f32, gradient: bool) -> TokenLoss {
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
        if gradient {
            let inverse = (f64::from(scale) / total) as f32;
            for x in row.iter_mut() {
                *x *= inverse;
            }
            row[target] -= scale;
        }
        TokenLoss { nll: (f64::from(m) + total.ln() - f64::from(at_target)) as f32, correct }
    }
}

//! Which rows make up which step: micro-batches by examples or by tokens, windows of accumulation, epochs.
use crate::error::{Error, Result};
use lora_data::{batch_order, epoch_order, group_by_length};
use serde::{Deserialize, Serialize};

/// Row indices of the micro-batches whose gradients make one optimiser step.
pub type Window = Vec<Vec<usize>>;

/// How rows are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Batching {
    /// Most examples in a micro-batch.
    pub examples: Option<usize>,
    /// Most tokens in a micro-batch; a longer example is one of its own.
    pub tokens: Option<usize>,
    /// Micro-batches in a window.
    pub accumulation: usize,
    /// Batches hold rows of similar length.
    pub by_length: bool,
}

/// Tokens whose rows are put in order ahead of a run at most, to count its steps and to find its largest batch.
const FORESIGHT: usize = 1 << 26;
/// Epochs that are put in order in any case.
const LEAST_FORESIGHT: u64 = 8;

/// Rows that are sorted together where batches hold rows of similar length: many batches, few of an epoch.
const STRETCH: usize = 400;

impl Default for Batching {
    fn default() -> Self {
        Self::of_examples(8)
    }
}

impl Batching {
    /// Batches of so many rows, one a step, in random order.
    pub const fn of_examples(examples: usize) -> Self {
        Self {
            examples: Some(examples),
            tokens: None,
            accumulation: 1,
            by_length: false,
        }
    }

    /// Micro-batches in a step at most, of so many rows.
    pub fn most_in_a_step(&self, rows: usize) -> usize {
        self.accumulation.min(rows)
    }

    /// Refuses sizes of 0.
    pub(crate) fn validate(&self) -> Result<()> {
        let sizes = [
            ("batching.examples", self.examples),
            ("batching.tokens", self.tokens),
            ("batching.accumulation", Some(self.accumulation)),
        ];
        match sizes.iter().find(|(_, size)| *size == Some(0)) {
            None => Ok(()),
            Some((name, _)) => Err(Error::Setting {
                name,
                found: "0".to_owned(),
                expected: "1 or more",
            }),
        }
    }

    /// The windows of one epoch over rows of the given lengths, in the order that depends on seed and epoch.
    pub fn windows(&self, lengths: &[usize], seed: u64, epoch: u64) -> Vec<Window> {
        let mut order = epoch_order(lengths.len(), seed, epoch);
        if self.by_length {
            group_by_length(&mut order, lengths, STRETCH);
        }
        let mut batches = lora_data::batches(&order, lengths, self.examples, self.tokens);
        if self.by_length {
            let mixed = batch_order(batches.len(), seed, epoch);
            batches = mixed
                .into_iter()
                .map(|batch| std::mem::take(&mut batches[batch]))
                .collect();
        }
        batches
            .chunks(self.accumulation)
            .map(<[_]>::to_vec)
            .collect()
    }
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// After so many passes over the rows; a fraction of a pass is rounded up to whole steps.
    Epochs(f64),
    /// After so many steps.
    Steps(u64),
}

/// The steps of a run, in order; the last step of an epoch may hold fewer rows.
#[derive(Debug)]
pub struct Steps {
    lengths: Vec<usize>,
    batching: Batching,
    seed: u64,
    epoch: u64,
    windows: Vec<Window>,
    next: usize,
}

impl Steps {
    /// The steps over rows of the given lengths (tokens; at least one row), in an order that depends on seed and epoch.
    pub fn new(lengths: Vec<usize>, batching: Batching, seed: u64) -> Self {
        let mut steps = Self {
            lengths,
            batching,
            seed,
            epoch: 0,
            windows: Vec::new(),
            next: 0,
        };
        steps.windows = steps.of_epoch(0);
        steps
    }

    /// How rows make batches.
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// Steps of one epoch.
    pub fn of_epoch(&self, epoch: u64) -> Vec<Window> {
        self.batching.windows(&self.lengths, self.seed, epoch)
    }

    /// Epochs that a run of this length begins.
    pub fn epochs(&self, length: Length) -> u64 {
        match length {
            Length::Steps(n) => n.div_ceil(self.of_epoch(0).len().max(1) as u64),
            Length::Epochs(epochs) => epochs.ceil() as u64,
        }
    }

    /// How many of so many epochs are worth putting in order ahead of the run: all of them, unless they are very many.
    pub fn foreseen(&self, epochs: u64) -> u64 {
        let tokens: usize = self.lengths.iter().sum();
        let affordable = (FORESIGHT / tokens.max(1)) as u64;
        epochs.min(affordable.max(LEAST_FORESIGHT))
    }

    /// Steps of a whole run. Where batches are cut by tokens, epochs differ in their steps: they are counted, but for a run
    /// of very many epochs only as far as is foreseen, and as many on average from there on.
    pub fn total(&self, length: Length) -> u64 {
        let epochs = match length {
            Length::Steps(n) => return n,
            Length::Epochs(epochs) => epochs,
        };
        let steps = |epoch: u64| self.of_epoch(epoch).len() as f64;
        let whole = epochs.floor() as u64;
        let counted = match self.batching.tokens {
            None => whole.min(1), // every epoch has as many
            Some(_) => self.foreseen(whole),
        };
        let seen: f64 = (0..counted).map(steps).sum();
        let full = if counted == whole {
            seen
        } else {
            (seen / counted as f64 * whole as f64).round()
        };
        let part = if epochs.fract() > 0.0 {
            (epochs.fract() * steps(whole)).ceil()
        } else {
            0.0
        };
        ((full + part) as u64).max(1)
    }

    /// Passes over the first `n` steps (of a run that is resumed).
    pub fn skip(&mut self, n: u64) {
        for _ in 0..n {
            self.advance();
        }
    }

    /// The next step's rows, and how many epochs are done after it.
    pub fn next_window(&mut self) -> (Window, f64) {
        let (epoch, index) = self.advance();
        (
            self.windows[index].clone(),
            epoch as f64 + (index + 1) as f64 / self.windows.len() as f64,
        )
    }

    fn advance(&mut self) -> (u64, usize) {
        if self.next == self.windows.len() {
            self.epoch += 1;
            self.windows = self.of_epoch(self.epoch);
            self.next = 0;
        }
        self.next += 1;
        (self.epoch, self.next - 1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_seen_once_an_epoch_and_the_rest_makes_a_smaller_step() {
        let batching = Batching {
            examples: Some(2),
            tokens: None,
            accumulation: 2,
            by_length: false,
        };
        let mut steps = Steps::new(vec![5; 11], batching, 7);
        assert_eq!(steps.total(Length::Epochs(2.0)), 6);
        assert_eq!(steps.total(Length::Epochs(0.5)), 2);
        assert_eq!(steps.total(Length::Steps(4)), 4);
        for epoch in 1..=2 {
            let (windows, ends): (Vec<_>, Vec<_>) = (0..3).map(|_| steps.next_window()).unzip();
            assert_eq!(windows.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
            assert_eq!(windows[2][1].len(), 1);
            let mut rows: Vec<usize> = windows.into_iter().flatten().flatten().collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..11).collect::<Vec<_>>());
            assert_eq!(ends[2], f64::from(epoch));
        }
    }

    #[test]
    fn runs_beyond_all_bounds_are_planned_at_once() {
        let by_tokens = Batching {
            tokens: Some(12),
            ..Batching::default()
        };
        let lengths: Vec<usize> = (0..1000).map(|row| 1 + row % 11).collect();
        for batching in [Batching::of_examples(7), by_tokens] {
            let steps = Steps::new(lengths.clone(), batching, 3);
            let began = std::time::Instant::now();
            let of_one = steps.of_epoch(0).len() as f64;
            let many = steps.total(Length::Epochs(1e12)) as f64;
            assert!((many / (1e12 * of_one) - 1.0).abs() < 0.05, "{many}");
            assert_eq!(steps.total(Length::Steps(u64::MAX)), u64::MAX);
            assert_eq!(steps.total(Length::Epochs(1e300)), u64::MAX);
            assert!(steps.foreseen(steps.epochs(Length::Epochs(1e300))) < 100_000);
            assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
            // What can be counted is.
            let counted: usize = (0..3).map(|epoch| steps.of_epoch(epoch).len()).sum();
            assert_eq!(steps.total(Length::Epochs(3.0)), counted as u64);
        }
    }

    #[test]
    fn skipping_leads_to_the_same_step() {
        let steps = || {
            Steps::new(
                vec![3, 9, 4, 7, 1, 2, 8],
                Batching {
                    examples: None,
                    tokens: Some(12),
                    accumulation: 1,
                    by_length: true,
                },
                3,
            )
        };
        let (mut walked, mut skipped) = (steps(), steps());
        let walked: Vec<_> = (0..9).map(|_| walked.next_window()).collect();
        skipped.skip(8);
        assert_eq!(skipped.next_window(), walked[8]);
    }

    #[test]
    fn batches_by_length_hold_alike_rows_and_every_row_once() {
        let lengths: Vec<usize> = (0..40).map(|row| 1 + (row * 17) % 37).collect();
        let batching = Batching {
            examples: Some(4),
            tokens: None,
            accumulation: 1,
            by_length: true,
        };
        let windows = Steps::new(lengths.clone(), batching, 1).of_epoch(2);
        assert_eq!(
            windows,
            Steps::new(lengths.clone(), batching, 1).of_epoch(2)
        );
        let batches: Vec<Vec<usize>> = windows.into_iter().flatten().collect();
        let spread = |batch: &Vec<usize>| {
            let of = batch.iter().map(|&row| lengths[row]);
            of.clone().max().unwrap() - of.min().unwrap()
        };
        assert!(batches.iter().all(|batch| spread(batch) <= 8));
        let firsts: Vec<usize> = batches.iter().map(|batch| lengths[batch[0]]).collect();
        assert!(
            !firsts.is_sorted_by(|a, b| a >= b),
            "the longest batches come first: {firsts:?}"
        );
        let mut rows = batches.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..40).collect::<Vec<_>>());
    }
}

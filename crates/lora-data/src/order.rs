//! In which order rows are seen, and how they are gathered into batches.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// The order of the rows in one epoch: a permutation from the counter RNG keyed by (seed, epoch).
pub fn epoch_order(rows: usize, seed: u64, epoch: u64) -> Vec<usize> {
    permutation("epoch-order", rows, seed, epoch)
}

/// The order of batches that were gathered by length, so that lengths come mixed again.
pub fn batch_order(batches: usize, seed: u64, epoch: u64) -> Vec<usize> {
    permutation("batch-order", batches, seed, epoch)
}

/// Rows of similar length side by side: within each stretch of `stretch` rows of `order` the longest first, equals in their
/// order. Stretches keep the order, so that every epoch still mixes other rows.
///
/// # Panics
/// If `order` names a row that `lengths` lacks, or `stretch` is 0.
pub fn group_by_length(order: &mut [usize], lengths: &[usize], stretch: usize) {
    for rows in order.chunks_mut(stretch) {
        rows.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    }
}

fn permutation(purpose: &str, n: usize, seed: u64, counter: u64) -> Vec<usize> {
    let mut rng = keyed_rng(purpose, seed, counter);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut rng, last as u64 + 1) as usize);
    }
    order
}

/// A generator for one purpose, the same on every machine.
fn keyed_rng(purpose: &str, seed: u64, counter: u64) -> ChaCha8Rng {
    let mut key = Sha256::new();
    key.update(purpose.as_bytes());
    key.update(seed.to_le_bytes());
    key.update(counter.to_le_bytes());
    ChaCha8Rng::from_seed(key.finalize().into())
}

/// A uniform integer below `bound` (at least 1), without modulo bias.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let usable = u64::MAX - u64::MAX % bound;
    loop {
        let value = rng.next_u64();
        if value < usable {
            return value % bound;
        }
    }
}

/// Gathers `order` into batches of at most `batch_examples` rows and at most `batch_tokens` tokens (`None`: no such
/// limit), keeping the order. A row that alone exceeds the token budget is a batch of its own; nothing is dropped.
///
/// # Panics
/// If `order` names a row that `lengths` lacks.
pub fn batches(
    order: &[usize],
    lengths: &[usize],
    batch_examples: Option<usize>,
    batch_tokens: Option<usize>,
) -> Vec<Vec<usize>> {
    let (most_rows, most_tokens) = (
        batch_examples.unwrap_or(usize::MAX),
        batch_tokens.unwrap_or(usize::MAX),
    );
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0usize;
    for &row in order {
        let length = lengths[row];
        match batches.last_mut() {
            Some(batch)
                if batch.len() < most_rows && tokens.saturating_add(length) <= most_tokens =>
            {
                batch.push(row);
                tokens += length;
            }
            _ => {
                batches.push(vec![row]);
                tokens = length;
            }
        }
    }
    batches
}

//! In which order rows are seen, and how they are gathered into batches.
use lora_random::Generator;

/// The order of the rows in one epoch: a permutation keyed by (seed, epoch).
pub fn epoch_order(rows: usize, seed: u64, epoch: u64) -> Vec<usize> {
    Generator::at_step("epoch-order", seed, epoch).permutation(rows)
}

/// The order of batches that were gathered by length, so that lengths come mixed again.
pub fn batch_order(batches: usize, seed: u64, epoch: u64) -> Vec<usize> {
    Generator::at_step("batch-order", seed, epoch).permutation(batches)
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

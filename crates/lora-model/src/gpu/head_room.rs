//! What the head and the loss hold.
use super::buffer::Buffer;
use super::table_needs::TableNeeds;
use super::table_room::{OF_HEAD, of_head};
use lora_checkpoint::ModelConfig;
use lora_gpu::Dtype;

/// Bytes of logits that exist at once, about.
const LOGITS: usize = 128 << 20;

/// What comes of the loss.
#[derive(Debug)]
pub(super) struct HeadBuffers {
    pub(super) losses: Buffer,
    pub(super) correct: Buffer,
}

impl HeadBuffers {
    pub(super) fn new() -> Self {
        Self {
            losses: Buffer::new(Dtype::F32),
            correct: Buffer::new(Dtype::U32),
        }
    }
}

/// Rows of logits that exist at once.
pub(super) fn chunk(vocabulary: usize) -> usize {
    (LOGITS / 4 / vocabulary.max(1)).clamp(32, 4096)
}

/// Bytes that stay after the loss of n supervised rows.
pub(super) fn bytes(n: usize) -> usize {
    8 * n
}

/// A head, and how many rows' logits are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadSize {
    pub(super) rows: usize,
    /// Values that are widened at once, if it is held in blocks.
    pub(super) wide: usize,
    /// What trains there.
    pub(super) needs: TableNeeds,
    /// With dropout.
    pub(super) drops: bool,
}

const OF_ROWS: usize = 4;
const OF_LOGITS: usize = OF_ROWS + 1 + OF_HEAD;
const OF_LOSS: usize = OF_LOGITS + 3;

/// What the logits of rows use for a time: the rows before the last norm, their 1 / root mean square, the rows after it, a
/// chunk of logits; then so many values of a head that is held in blocks, and what its product uses.
pub(super) fn of_logits(
    config: &ModelConfig,
    size: HeadSize,
    activations: Dtype,
) -> [(Dtype, usize); OF_LOGITS] {
    let mut all = [(Dtype::U8, 0); OF_LOGITS];
    all[..OF_ROWS].copy_from_slice(&of_rows(config, size, activations));
    all[OF_ROWS..].copy_from_slice(&of_product(config, size, activations));
    all
}

/// What the loss of supervised rows and its gradient use for a time: what their logits do, gradients of the rows before and
/// after the last norm, and of a chunk of logits, before what the product uses.
pub(super) fn of_loss(
    config: &ModelConfig,
    size: HeadSize,
    activations: Dtype,
) -> [(Dtype, usize); OF_LOSS] {
    let of_rows = of_rows(config, size, activations);
    let [hidden, _, _, logits] = of_rows;
    let mut all = [(Dtype::U8, 0); OF_LOSS];
    all[..OF_ROWS].copy_from_slice(&of_rows);
    all[OF_ROWS..OF_ROWS + 3].copy_from_slice(&[hidden, hidden, (activations, logits.1)]);
    all[OF_ROWS + 3..].copy_from_slice(&of_product(config, size, activations));
    all
}

fn of_rows(config: &ModelConfig, size: HeadSize, activations: Dtype) -> [(Dtype, usize); OF_ROWS] {
    let (n, h) = (size.rows, config.hidden_size);
    [
        (Dtype::F32, n * h),
        (Dtype::F32, n),
        (activations, n * h),
        (Dtype::F32, in_chunk(config, n) * config.vocab_size),
    ]
}

fn of_product(
    config: &ModelConfig,
    size: HeadSize,
    activations: Dtype,
) -> [(Dtype, usize); 1 + OF_HEAD] {
    let count = in_chunk(config, size.rows);
    let mut all = [(activations, size.wide); 1 + OF_HEAD];
    let own = of_head(size.needs, (config, count), size.drops, activations);
    all[1..].copy_from_slice(&own);
    all
}

/// Rows of the largest chunk of n.
fn in_chunk(config: &ModelConfig, n: usize) -> usize {
    chunk(config.vocab_size).min(n.max(1))
}

//! What the head and the loss hold.
use super::buffer::Buffer;
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

/// What the logits of n rows use for a time: the rows before the last norm, their 1 / root mean square, the rows after it, a
/// chunk of logits, and so many values of a head that is held in blocks.
pub(super) fn of_logits(
    config: &ModelConfig,
    n: usize,
    wide: usize,
    activations: Dtype,
) -> [(Dtype, usize); 5] {
    let logits = chunk(config.vocab_size).min(n.max(1)) * config.vocab_size;
    [
        (Dtype::F32, n * config.hidden_size),
        (Dtype::F32, n),
        (activations, n * config.hidden_size),
        (Dtype::F32, logits),
        (activations, wide),
    ]
}

/// What the loss of n supervised rows and its gradient use for a time: what their logits do, gradients of the rows before and
/// after the last norm, and of a chunk of logits.
pub(super) fn of_loss(
    config: &ModelConfig,
    n: usize,
    wide: usize,
    activations: Dtype,
) -> [(Dtype, usize); 8] {
    let [hidden, rstd, normed, logits, wide] = of_logits(config, n, wide, activations);
    let d_logits = (activations, logits.1);
    [hidden, rstd, normed, logits, wide, hidden, hidden, d_logits]
}

//! Memory of a pass on the device that all layers share.
use super::buffer::{Buffer, InTurn};
use super::expert_scratch::ExpertScratch;
use super::input_scratch::{InputBuffers, InputScratch};
use super::shared_scratch::{SharedBuffers, SharedKeys};
use super::widths::Widths;
use lora_checkpoint::ModelConfig;
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// Memory that all layers share.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Weights of a group, widened.
    pub(super) wide: Tensor,
    /// Gradient of a group's input and of u behind it.
    pub(super) d_input: Tensor,
    /// Gradients of a group's outputs: of what mixers read, or of what the MLP's unit reads.
    pub(super) d_outputs: Tensor,
    /// The same times DoRA's gains.
    pub(super) d_scaled: Tensor,
    /// Gradient of the hidden state in the activations' type, (T, H).
    pub(super) d_hidden: Tensor,
    /// A group's input after dropout, and the gradient of it.
    pub(super) dropped: Tensor,
    pub(super) d_dropped: Tensor,
    /// Keys and values of every query head, (T, 2·q).
    pub(super) repeated: Tensor,
    /// Gradients of these, f32.
    pub(super) d_kv: Tensor,
    /// Gradients of queries, keys and values that stand apart.
    pub(super) d_apart: Tensor,
    /// Σ p·d_p of each query, f32 (heads, T).
    pub(super) means: Tensor,
    /// Those of a segment, gathered, and their gradients, f32.
    pub(super) kv: Tensor,
    pub(super) d_gathered: Tensor,
    /// Scores of some queries, all heads, and their gradient, f32.
    pub(super) scores: Tensor,
    pub(super) d_scores: Tensor,
    /// Probabilities, and the gradient of the scores.
    pub(super) p: Tensor,
    pub(super) d_s: Tensor,
    /// What the convolution before a rule gives, its gradient, and what the rule works in.
    pub(super) convolved: Tensor,
    pub(super) d_convolved: Tensor,
    pub(super) rule: Tensor,
    /// Of mixtures of experts.
    pub(super) experts: ExpertScratch,
    /// Keys and values that several layers read.
    pub(super) shared: Vec<SharedKeys>,
    /// The inputs of layers.
    pub(super) inputs: InputScratch,
}

/// Grows with the largest batch.
#[derive(Debug)]
pub(super) struct Buffers {
    d_hidden: Buffer,
    dropped: Buffer,
    d_dropped: Buffer,
    repeated: Buffer,
    means: Buffer,
    kv: Buffer,
    d_gathered: Buffer,
    scores: Buffer,
    d_scores: Buffer,
    p: Buffer,
    d_s: Buffer,
    shared: SharedBuffers,
    inputs: InputBuffers,
}

/// What a pass asks of the scratch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) widths: Widths,
    pub(super) rows: usize,
    /// Chunks and sequences.
    pub(super) chunks: (usize, usize),
    /// The most keys that a segment gathers; 0 if none does.
    pub(super) gathered: usize,
    /// Values of the scores of one block of queries.
    pub(super) scores: usize,
    /// Values of the widest matrix that is widened.
    pub(super) widened: usize,
    pub(super) drops: bool,
    pub(super) trains: bool,
    /// The device's own kernels compute attention in some layer, and it needs its scores in memory in some.
    pub(super) attends: bool,
    pub(super) by_scores: bool,
    /// Layers read keys and values of others in this pass, not in a cache.
    pub(super) shares: bool,
}

impl Buffers {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig) -> Self {
        let act = || Buffer::new(gpu.dtype());
        let f32s = || Buffer::new(Dtype::F32);
        Self {
            d_hidden: act(),
            dropped: act(),
            d_dropped: act(),
            repeated: act(),
            means: f32s(),
            kv: act(),
            d_gathered: f32s(),
            scores: f32s(),
            d_scores: f32s(),
            p: act(),
            d_s: act(),
            shared: SharedBuffers::new(gpu, config),
            inputs: InputBuffers::new(gpu, config),
        }
    }

    pub(super) fn get(
        &mut self,
        gpu: &Gpu,
        asked: Asked,
        in_turn: &mut InTurn,
    ) -> Result<Scratch, Error> {
        let Asked {
            widths: w, rows, ..
        } = asked;
        let back = if asked.trains { rows } else { 0 };
        let pieces = w.of_layers((rows, back, asked.chunks), asked.widened, gpu.dtype());
        let [
            wide,
            d_input,
            d_outputs,
            d_scaled,
            d_kv,
            d_apart,
            convolved,
            d_convolved,
            rule,
            experts @ ..,
        ] = in_turn.get(gpu, pieces)?;
        let dropped = if asked.drops { rows * w.widest() } else { 0 };
        let by_scores = |values: usize| if asked.by_scores { values } else { 0 };
        let gathered = by_scores(2 * w.queries * asked.gathered);
        let d_gathered = if asked.trains { gathered } else { 0 };
        let scores = by_scores(asked.scores);
        let d_scores = if asked.trains { scores } else { 0 };
        let means = if asked.attends { back * w.heads } else { 0 };
        let shared = if asked.shares { (rows, back) } else { (0, 0) };
        Ok(Scratch {
            wide,
            d_input,
            d_outputs,
            d_scaled,
            d_hidden: self.d_hidden.get(gpu, rows * w.hidden)?,
            dropped: self.dropped.get(gpu, dropped)?,
            d_dropped: self.d_dropped.get(gpu, dropped)?,
            repeated: self.repeated.get(gpu, by_scores(rows * 2 * w.queries))?,
            d_kv,
            means: self.means.get(gpu, means)?,
            kv: self.kv.get(gpu, gathered)?,
            d_gathered: self.d_gathered.get(gpu, d_gathered)?,
            scores: self.scores.get(gpu, scores)?,
            d_scores: self.d_scores.get(gpu, d_scores)?,
            p: self.p.get(gpu, scores)?,
            d_s: self.d_s.get(gpu, d_scores)?,
            d_apart,
            convolved,
            d_convolved,
            rule,
            experts: experts.into(),
            shared: self.shared.get(gpu, shared)?,
            inputs: self.inputs.get(gpu, rows)?,
        })
    }
}

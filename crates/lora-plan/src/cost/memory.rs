//! Predicted peak memory: the weights where they lie, the buffers of the step, the optimiser, and the process itself.
use super::workload::Workload;
use crate::model::shape::Shape;
use lora_checkpoint::ModelConfig;
use lora_model::{Peak, Process};
use lora_training::{Demand, gradient_buffers, vectors};
use serde::Serialize;

/// Bytes, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The base's weights, mapped from their file.
    pub base: u64,
    /// Activations that backward needs.
    pub activations: u64,
    /// Scratch, head and loss.
    pub scratch: u64,
    /// Adapter, gradients, AdamW's moments, best parameters.
    pub adapter: u64,
    /// Program, tokenizer, rows.
    pub process: u64,
    /// All of it.
    pub total: u64,
    /// The same run in transformers + PEFT on f32 weights, rows padded.
    pub peft: u64,
    /// Full fine-tuning in f32: weights, gradients and two moments, and the same activations.
    pub full: u64,
}

/// Predicts the peak of a run.
pub fn memory(shape: &Shape, work: &Workload) -> Memory {
    let config = &shape.config;
    let parameters = shape.total_parameters();
    let gradients = gradient_buffers(work.accumulation.min(work.batches));
    // What an adapter took out of the base is kept, and it is written as one of twice the rank.
    let of_origin = if work.carried.keeps_origin() { 3 } else { 0 };
    let copies = usize::from(work.has_valid) + of_origin;
    let demand = Demand {
        embedding: work.carried.trains_embedding(),
        config,
        modules: &work.carried.layout.modules,
        dropout: work.dropout,
        batch: work.largest(),
        evaluation: work.evaluation,
        process: Process {
            base: work.base.bytes(parameters),
            trainable: work.trainable,
            vectors: vectors(gradients, copies),
            threads: work.threads,
            vocabulary: config.vocab_size,
            tokens: work.tokens,
        },
    };
    let peak = demand.peak(work.keep.plan());
    let Peak {
        base,
        activations,
        scratch,
        adapter,
        process,
    } = peak;
    Memory {
        base,
        activations,
        scratch,
        adapter,
        process,
        total: peak.total(),
        peft: peft(config, work, parameters),
        full: 16 * parameters + activations + scratch + process,
    }
}

/// Python, torch and transformers, imported; measured.
const TORCH: u64 = 700 << 20;
/// What autograd was measured to hold per value that the formula below counts (fragmentation of the heap included).
const AUTOGRAD: f64 = 2.7;

/// transformers + PEFT in f32 with sdpa attention and without gradient checkpointing. Autograd keeps, a token and layer:
/// two residuals and two normed inputs, q, k, v and o at the width of all heads, four MLP-wide values; of all positions
/// the logits about five times (slice, log-softmax, their gradients).
fn peft(config: &ModelConfig, work: &Workload, parameters: u64) -> u64 {
    let heads = |layer: usize| config.num_attention_heads * config.heads_of(layer).width;
    // What layers make of inputs of their own: the states before and behind it, gate, input and their product.
    let inputs = |own: lora_checkpoint::PerLayer| 4 * config.hidden_size + 5 * own.width;
    let own_input = config.per_layer().map_or(0, inputs);
    let a_layer = |layer: usize| 4 * config.hidden_size + 5 * heads(layer) + own_input;
    let layers = (0..config.num_hidden_layers).map(a_layer).sum::<usize>();
    let of_mlps: usize = (0..config.num_hidden_layers)
        .map(|layer| {
            // What experts read and give lies apart for each that is chosen.
            let rows = config
                .experts_of(layer)
                .map_or(0, |experts| 2 * experts.chosen);
            let wide = config.mlp_width(layer) + config.experts_width(layer);
            4 * wide + rows * config.hidden_size
        })
        .sum();
    let modules = work.carried.layout.modules.iter();
    let rank = modules.map(|module| module.rank).sum::<usize>();
    let tokens = work.padded.1 as f64;
    let kept = AUTOGRAD * tokens * 4.0 * (layers + of_mlps + rank) as f64;
    let logits = 5.0 * tokens * 4.0 * config.vocab_size as f64;
    TORCH + 4 * parameters + 16 * work.trainable + (kept + logits) as u64
}

//! Predicted time: operations of a step divided by the machine's rate, plus what every micro-batch costs anyway.
use super::workload::{Keep, Workload};
use crate::model::shape::Shape;
use lora_checkpoint::{Mixer, Projection};
use lora_core::TargetedModule;
use lora_model::spec;
use lora_training::EVALUATION_TOKENS;
use serde::Serialize;

/// How fast this machine computes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Matrix products at their best, FLOP/s.
    pub gemm_peak: f64,
    /// A training step, FLOP/s.
    pub rate: f64,
    /// Seconds that a micro-batch costs however few its tokens: widening the frozen weights.
    pub per_batch: f64,
    /// Two micro-steps were timed.
    pub measured: bool,
}

/// Share of the gemm peak that a step reaches, measured on SmolLM2-135M (0.88 on the shape of a 7B Llama): `just bench`.
const SHARE: f64 = 0.82;
/// Seconds to widen a weight once, from any type, on one machine like that; twice a micro-batch.
const WIDEN: f64 = 0.2e-9;

impl Speed {
    /// From a matrix product alone.
    pub(crate) fn from_peak(shape: &Shape, gemm_peak: f64) -> Self {
        let per_batch = 2.0 * WIDEN * shape.total_parameters() as f64;
        Self {
            gemm_peak,
            rate: SHARE * gemm_peak,
            per_batch,
            measured: false,
        }
    }
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Time {
    /// A mean step.
    pub step: f64,
    /// An epoch.
    pub epoch: f64,
    /// A pass over the held-out rows.
    pub evaluation: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// An epoch in transformers + PEFT.
    pub peft_epoch: f64,
    /// An epoch of full fine-tuning at our rate.
    pub full_epoch: f64,
}

/// Predicts the time of an epoch.
pub fn time(shape: &Shape, work: &Workload, speed: &Speed) -> Time {
    let computed = if work.dropout {
        work.tokens
    } else {
        work.computed.0
    };
    let flops = flops(
        shape,
        work,
        computed as f64,
        work.supervised as f64,
        work.squares,
    );
    let per_batch = speed.per_batch * work.batches as f64;
    let epoch = flops / speed.rate + per_batch;
    let dense = linear_weights(shape) + head_weights(shape);
    let tokens = work.tokens as f64;
    let full = 6.0 * dense * tokens + attention(shape, work.squares) + 4.0 * rule(shape, tokens);
    Time {
        step: epoch / work.steps.max(1) as f64,
        epoch,
        evaluation: evaluation(shape, work, speed),
        tokens_per_s: work.tokens as f64 / epoch,
        peft_epoch: peft(shape, work, speed),
        full_epoch: full / speed.rate + per_batch,
    }
}

/// A pass over the held-out rows: forward alone, so each weight is widened once a batch, not twice.
fn evaluation(shape: &Shape, work: &Workload, speed: &Speed) -> f64 {
    let (tokens, supervised) = work.valid;
    let adapters = adapter_weights(shape, work);
    let flops = 2.0
        * (tokens as f64 * (linear_weights(shape) + adapters)
            + supervised as f64 * head_weights(shape))
        + attention(shape, work.valid_squares) * 2.0 / 7.0
        + rule(shape, tokens as f64);
    flops / speed.rate + 0.5 * speed.per_batch * tokens.div_ceil(EVALUATION_TOKENS) as f64
}

/// Floating-point operations of training on so many tokens. A frozen weight costs 2 forward and 2 backward (its input's
/// gradient, from the lowest adapted layer up), a factor of an adapter 2 and 4 (its own gradient too, with x·Aᵀ kept).
pub(crate) fn flops(
    shape: &Shape,
    work: &Workload,
    tokens: f64,
    supervised: f64,
    squares: f64,
) -> f64 {
    let layers = shape.layers() as f64;
    let layer = |path: &str| path.split('.').find_map(|part| part.parse::<usize>().ok());
    let layout = &work.carried.layout;
    let modules = layout.modules.iter().map(|m| &m.path[..]);
    let tensors = layout.trained.iter().map(|t| &t.tensor[..]);
    let rows = layout.rows.iter().flat_map(|own| &own.paths);
    let paths = modules.chain(tensors).chain(rows.map(String::as_str));
    let lowest = match paths.clone().any(is_embedding) {
        true => 0,
        false => paths.filter_map(layer).min().unwrap_or(shape.layers()),
    } as f64;
    let backward = (layers - lowest) / layers;
    let adapters = adapter_weights(shape, work);
    let frozen = linear_weights(shape) * (2.0 + 2.0 * backward);
    let again = if work.keep == Keep::Input {
        again(shape, work, tokens, squares, backward)
    } else {
        0.0
    };
    let [linears, head] = whole_weights(work);
    tokens * (frozen + 6.0 * adapters + 2.0 * linears)
        + supervised * (4.0 * head_weights(shape) + 2.0 * head)
        + attention(shape, squares)
        + 4.0 * rule(shape, tokens)
        + again
}

/// The forward pass of the layers that are computed again: those that need a gradient, but for the last one, and none of
/// their down projection, whose output nothing needs.
fn again(shape: &Shape, work: &Workload, tokens: f64, squares: f64, backward: f64) -> f64 {
    let layers = shape.layers() as f64;
    let share = (backward - 1.0 / layers).max(0.0);
    let config = &shape.config;
    let width = |layer| config.mlp_width(layer) + config.experts_width(layer);
    let widths = (0..config.num_hidden_layers).map(width);
    let down = (widths.sum::<usize>() * config.hidden_size) as f64;
    let own = config.facts().path(Projection::Down);
    let modules = work.carried.layout.modules.iter();
    let factors = modules
        .filter(|m| {
            ![own, ".down_proj"]
                .iter()
                .any(|down| m.path.ends_with(down))
        })
        .map(|module| factor_weights(shape, module));
    let forward = 2.0 * tokens * (linear_weights(shape) - down + factors.sum::<f64>());
    share * (forward + attention(shape, squares) * 2.0 / 7.0 + rule(shape, tokens))
}

fn is_embedding(path: &str) -> bool {
    path.starts_with(spec::EMBEDDING)
}

/// Values of matrices that train as a whole, whose own gradient is a product more: of linear layers, and of the head, which
/// supervised tokens alone meet. The embedding's gradient is a sum.
fn whole_weights(work: &Workload) -> [f64; 2] {
    let layout = &work.carried.layout;
    let matrices = layout.trained.iter().filter(|t| t.shape.len() == 2);
    let whole = matrices.map(|t| (&t.tensor[..], t.range.len()));
    let own = layout.rows.iter().flat_map(|own| {
        let paths = own.paths.iter();
        paths.map(|path| (&path[..], own.range.len()))
    });
    let all = whole.chain(own).filter(|(path, _)| !is_embedding(path));
    let (of_head, of_linears): (Vec<_>, Vec<_>) =
        all.partition(|(path, _)| path.starts_with(spec::HEAD));
    let sum = |all: Vec<(&str, usize)>| all.iter().map(|(_, values)| *values as f64).sum();
    [sum(of_linears), sum(of_head)]
}

/// Values of all factors that a token meets.
fn adapter_weights(shape: &Shape, work: &Workload) -> f64 {
    let modules = work.carried.layout.modules.iter();
    modules.map(|module| factor_weights(shape, module)).sum()
}

/// Values of a module's factors that a token meets: of experts those that are chosen for it.
fn factor_weights(shape: &Shape, module: &TargetedModule) -> f64 {
    let all = (module.a.len() + module.b.len()) as f64;
    match (module.experts(), shape.config.experts) {
        (Some(count), Some(own)) => all * own.chosen as f64 / count.max(1) as f64,
        _ => all,
    }
}

/// Weights of the layers' linear modules that a token meets: of experts those that are chosen for it, beside the router.
fn linear_weights(shape: &Shape) -> f64 {
    let config = &shape.config;
    let of_layer = |layer| {
        let linears = config.projections_of(layer).into_iter();
        let shapes = linears.map(|projection| config.shape(layer, projection));
        let routed = config.experts_of(layer).map_or(0, |experts| experts.count);
        let mixture = (routed + 3 * config.experts_width(layer)) * config.hidden_size;
        shapes.map(|(out, inn)| out * inn).sum::<usize>() + mixture
    };
    let all = (0..config.num_hidden_layers).map(of_layer);
    all.sum::<usize>() as f64
}

fn head_weights(shape: &Shape) -> f64 {
    (shape.config.vocab_size * shape.config.hidden_size) as f64
}

/// Scores and values, forward (2 products of L²/2) and backward (5).
fn attention(shape: &Shape, squares: f64) -> f64 {
    let config = &shape.config;
    let layers = config.layers.iter().enumerate();
    let attending = layers.filter(|(_, layer)| layer.has_attention());
    let widths = attending.map(|(index, _)| config.heads_of(index).width);
    7.0 * squares * (config.num_attention_heads * widths.sum::<usize>()) as f64
}

fn layers_with(shape: &Shape, mixer: Mixer) -> usize {
    let layers = shape.config.layers.iter();
    layers.filter(|layer| layer.mixer == mixer).count()
}

/// The rule of layers that keep a state, forward; a training step takes four times that. In its chunks each token meets the
/// state thrice and the others of its chunk four times, by keys' width and by values'.
fn rule(shape: &Shape, tokens: f64) -> f64 {
    if let Some(own) = shape.config.mamba {
        // Each token of a head meets the state twice, and those of its chunk by the head's width.
        let each = 2 * own.state * own.width + lora_kernels::ssd::CHUNK * own.width;
        return tokens * (2 * own.heads * each * layers_with(shape, Mixer::Mamba)) as f64;
    }
    let Some(delta) = shape.config.delta else {
        return 0.0;
    };
    let state = 3 * delta.key_dim * delta.value_dim;
    let others = 2 * lora_kernels::delta::CHUNK * (delta.key_dim + delta.value_dim);
    let each = 2 * delta.value_heads * (state + others);
    tokens * (each * layers_with(shape, Mixer::Delta)) as f64
}

/// Share of our gemm peak that torch with MKL reaches in PEFT's step (SmolLM2-135M, dense rows, AVX2: `just bench`).
const PEFT_SHARE: f64 = 0.6;

/// The same epoch in PEFT: rows padded to the longest of their batch, the head on every position.
fn peft(shape: &Shape, work: &Workload, speed: &Speed) -> f64 {
    let padded = work.padded.0 as f64;
    let squares = work.squares * (padded / work.tokens.max(1) as f64).powi(2);
    flops(shape, work, padded, padded, squares) / (PEFT_SHARE * speed.gemm_peak)
}

//! A run on a GPU: what it takes of the card's memory, and how long it may take.
use super::card::{Card, Rates};
use super::time::flops;
use super::workload::{BaseType, Keep, Workload};
use crate::model::shape::Shape;
use lora_checkpoint::Mixer;
use lora_cli::{Error, Result};
use lora_model::{Base, GpuBase, GpuDemand, GpuPeak, OnGpu};
use serde::Serialize;

/// Bytes of a card's memory, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OnCard {
    /// The base's weights.
    pub weights: u64,
    /// Adapter and gradients.
    pub adapter: u64,
    /// Activations and scratch of the largest step.
    pub step: u64,
    /// The driver's own: context, kernels, workspace of products.
    pub driver: u64,
    /// All of it.
    pub total: u64,
    /// Layers that are computed again, so that it fits.
    pub again: usize,
    /// Layers that could keep their activations.
    pub layers: usize,
    /// Whether it fits the card.
    pub fits: bool,
    /// Full fine-tuning: weights and gradients in bf16, master weights and AdamW's moments in f32, and the same activations.
    pub full: u64,
}

/// What a process held on an H100 for a model of 1 MB.
const DRIVER: u64 = 700_000_000;

const ON_CPU: &str = "leave out --device: the plan is for the CPU then";

/// Whether a GPU computes such a decoder.
///
/// # Errors
/// If it does not, with what it lacks.
pub fn check_decoder(shape: &Shape) -> Result<()> {
    OnGpu::check_decoder(&shape.config)
        .map_err(|lacking| Error::new(lacking.to_string()).hint(ON_CPU))
}

/// Predicts what a run takes of a card. `files` are the base's, if it is planned as it is stored.
pub fn on_card(shape: &Shape, work: &Workload, files: Option<&Base>, card: &Card) -> OnCard {
    let peak = peak(shape, work, files);
    let layers = peak.step.layers.len();
    let free = card.bytes.saturating_sub(DRIVER + peak.weights);
    let kept = peak.kept_within(free);
    let keeps = match work.keep {
        Keep::Input => 0,
        Keep::All | Keep::Bf16 => kept.unwrap_or(0),
    };
    let step = peak.step.bytes(keeps);
    OnCard {
        weights: peak.weights,
        adapter: peak.factors,
        step,
        driver: DRIVER,
        total: DRIVER + peak.total(keeps),
        again: layers - keeps,
        layers,
        fits: kept.is_some(),
        full: DRIVER + 16 * shape.total_parameters() + peak.step.bytes(layers),
    }
}

fn peak(shape: &Shape, work: &Workload, files: Option<&Base>) -> GpuPeak {
    let blocks = |values, bytes| GpuBase::Blocks { values, bytes };
    let base = match work.base {
        BaseType::F32 | BaseType::Bf16 | BaseType::F16 => GpuBase::Dense,
        BaseType::Q8_0 => blocks(32, 34),
        BaseType::Q6K => blocks(256, 210),
        BaseType::Q4K => blocks(256, 144),
        BaseType::Q4_0 => blocks(32, 18),
        BaseType::File(_) => files.map_or(GpuBase::Dense, GpuBase::Files),
    };
    let layout = &work.carried.layout;
    let demand = GpuDemand {
        config: &shape.config,
        modules: &layout.modules,
        trained: &layout.trained,
        rows: &layout.rows,
        keeps_origin: work.carried.keeps_origin(),
        base,
        batch: work.largest(),
        dropout: work.dropout,
    };
    demand.peak()
}

/// The base's files, if some line is planned as they are.
pub(crate) fn files(shape: &Shape, base: BaseType) -> Result<Option<Base>> {
    match (&shape.path, base) {
        (Some(path), BaseType::File(_)) => Ok(Some(Base::open(path)?)),
        _ => Ok(None),
    }
}

/// An estimate: from the slowest to the fastest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimeOnCard {
    /// Tokens a second.
    pub tokens_per_s: [f64; 2],
    /// Seconds of a step.
    pub step: [f64; 2],
    /// Seconds of an epoch.
    pub epoch: [f64; 2],
}

/// Share of the published rate that products reach.
const SHARE: f64 = 0.6;
/// The same of attention whose scores are never in memory, and its products: two forward, seven backward, half of them masked.
const ATTENTION_SHARE: f64 = 0.11;
const ATTENTION_PRODUCTS: f64 = 9.0;
/// Seconds that a layer's kernels take to start, forward and backward.
const LAUNCHES: f64 = 0.48e-3;
/// The same for a product of an expert, as long as others. Not measured.
const LAUNCH: f64 = 0.008e-3;
/// Products of each expert of a layer: two forward, two backward.
const OF_EXPERT: usize = 4;
/// Those of an expert's factors at one parameter: x·Aᵀ, and again on the way back, both gradients, and that of x.
const OF_FACTORS: usize = 5;
/// Those of each chunk of the longest row in a layer of Gated DeltaNet: four forward, twice, and six backward.
const OF_STEP: usize = 14;
/// Tokens of such a chunk.
const CHUNK: usize = 64;
/// How often a layer's activations pass through memory.
const PASSES: f64 = 4.0;
/// Bytes that attention by scores moves for one: twice forward and backward, in f32 and bf16, half of them masked.
const SCORE: f64 = 20.0;
/// How far off the estimate was on three shapes.
const SLOWER: f64 = 1.25;
const FASTER: f64 = 0.8;

/// Estimates the time of an epoch. The constants are those of an H100, on shapes of 135M, 1B and 8B.
pub fn time_on_card(shape: &Shape, work: &Workload, memory: &OnCard, rates: Rates) -> TimeOnCard {
    let computed = if work.dropout {
        work.tokens
    } else {
        work.computed.0
    } as f64;
    let count = |keep| {
        let work = Workload {
            keep,
            ..work.clone()
        };
        let supervised = work.supervised as f64;
        flops(shape, &work, computed, supervised, work.squares)
    };
    let share_again = memory.again as f64 / memory.layers.max(1) as f64;
    let kept = count(Keep::All);
    let products = kept + share_again * (count(Keep::Input) - kept);
    let activations = memory_of_token(shape) * computed;
    let attention = attention(shape, work, rates);
    let (batches, parameters) = (work.batches as f64, shape.total_parameters() as f64);
    let is_dense = memory.weights as f64 > 1.9 * parameters;
    let widened = match is_dense {
        true => 0.0,
        false => 2.0 * batches * (memory.weights as f64 + 2.0 * parameters),
    };
    let moved = PASSES * activations + widened;
    let device = products / (SHARE * rates.products)
        + moved / rates.memory
        + attention
        + batches * launches(shape, work) * (1.0 + share_again / 3.0);
    let epoch = [SLOWER * device, FASTER * device];
    TimeOnCard {
        tokens_per_s: epoch.map(|seconds| work.tokens as f64 / seconds),
        step: epoch.map(|seconds| seconds / work.steps.max(1) as f64),
        epoch,
    }
}

/// Seconds that the kernels of all layers take to start.
fn launches(shape: &Shape, work: &Workload) -> f64 {
    let layers = 0..shape.config.num_hidden_layers;
    let experts = layers.filter_map(|layer| shape.config.experts_of(layer));
    let experts: usize = experts.map(|own| OF_EXPERT * own.count).sum();
    let modules = work.carried.layout.modules.iter();
    let factors = modules.filter_map(|module| module.experts());
    let factors: usize = factors.map(|count| OF_FACTORS * count).sum();
    let layers = shape.config.layers.iter();
    let stepping = layers.filter(|layer| layer.mixer == Mixer::Delta).count();
    let steps = OF_STEP * work.longest.div_ceil(CHUNK) * stepping;
    LAUNCHES * shape.layers() as f64 + LAUNCH * (experts + factors + steps) as f64
}

/// Seconds of attention in all layers, forward and backward, beside what its products would take at the rate of others.
fn attention(shape: &Shape, work: &Workload, rates: Rates) -> f64 {
    let c = &shape.config;
    let heads = c.num_attention_heads as f64;
    let of_layer = |layer: usize| {
        let width = c.heads_of(layer).width;
        if lora_model::attends_on_gpu(width) {
            let products = ATTENTION_PRODUCTS * heads * width as f64 * work.squares;
            products / (ATTENTION_SHARE * rates.products)
        } else {
            SCORE * heads * work.squares / rates.memory
        }
    };
    let layers = 0..c.num_hidden_layers;
    let attending = layers.filter(|&layer| c.layers[layer].has_attention());
    attending.map(of_layer).sum()
}

/// Bytes of all layers' activations for a token, about.
fn memory_of_token(shape: &Shape) -> f64 {
    let c = &shape.config;
    let own = c.per_layer().map_or(0, |own| c.hidden_size + 3 * own.width);
    let of_layer = |layer: usize| {
        let heads = c.heads_of(layer);
        let queries = c.num_attention_heads * heads.width;
        let keys = heads.kv * heads.width;
        let mlp = match c.experts {
            None => 3 * c.mlp_width(layer),
            Some(own) => own.chosen * (3 * own.width + 2 * c.hidden_size),
        };
        8 * c.hidden_size + 2 * (2 * c.hidden_size + 2 * queries + 2 * keys + mlp + own)
    };
    (0..c.num_hidden_layers).map(of_layer).sum::<usize>() as f64
}

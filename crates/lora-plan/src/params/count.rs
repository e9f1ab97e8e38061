//! Counting: the parameters that a LoRA setting trains on a shape, exactly as PEFT counts them.
use crate::model::shape::Shape;
use lora_cli::Result;
use lora_core::{LoraConfig, TargetedModule, adapter_file_bytes, trainable_line};
use serde::Serialize;
use std::collections::BTreeMap;

/// The ranks of the overview.
pub const RANKS: [usize; 6] = [4, 8, 16, 32, 64, 128];
/// The target sets of the overview.
pub const TARGETS: [&str; 3] = ["attention", "full-attention", "all"];

/// What one setting trains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Params {
    /// The model, as the user named it.
    pub model: String,
    /// Parameters of the base, a tied head counted once.
    pub base: u64,
    /// Rank r.
    pub rank: usize,
    /// α.
    pub alpha: f64,
    /// Scaling α/√r.
    pub rslora: bool,
    /// s, by which the adapters' output is scaled.
    pub scaling: f32,
    /// Which modules, as given.
    pub targets: String,
    /// The count.
    #[serde(flatten)]
    pub count: Count,
    /// PEFT's line.
    pub line: String,
    /// Per kind of module, in model order.
    pub modules: Vec<ModuleCount>,
    /// Per layer, in model order.
    pub layers: Vec<LayerCount>,
    /// Other ranks and targets on the same model.
    pub overview: Vec<OverviewRow>,
}

/// How much is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Count {
    /// Trainable parameters.
    pub trainable: u64,
    /// Base and adapter together: PEFT's `all params`.
    pub all: u64,
    /// 100 · trainable / all.
    pub percent: f64,
    /// Bytes of adapter_model.safetensors.
    pub adapter_bytes: u64,
}

/// One kind of module: the same name and shape in every layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleCount {
    /// Last component of its path.
    pub module: String,
    /// Columns of W.
    pub in_features: usize,
    /// Rows of W.
    pub out_features: usize,
    /// How many there are.
    pub count: usize,
    /// Trainable parameters in all of them.
    pub trainable: u64,
}

/// The modules of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayerCount {
    /// Its number; null for modules outside the layers.
    pub layer: Option<usize>,
    /// How many modules carry an adapter.
    pub count: usize,
    /// Trainable parameters in them.
    pub trainable: u64,
}

/// One cell of the overview.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverviewRow {
    /// Rank r.
    pub rank: usize,
    /// Set of targets.
    pub targets: String,
    /// The count.
    #[serde(flatten)]
    pub count: Count,
}

/// Counts what a setting trains on a model.
pub fn count(shape: &Shape, config: &LoraConfig) -> Result<Params> {
    let modules = shape.linear_modules();
    let base = shape.total_parameters();
    let targeted = config.target(&modules)?;
    let mut overview = Vec::with_capacity(RANKS.len() * TARGETS.len());
    for rank in RANKS {
        for targets in TARGETS {
            let setting = LoraConfig::new(rank, rank as f64, shape.target_set(targets));
            let count = Count::of(&setting.target(&modules)?, base);
            overview.push(OverviewRow { rank, targets: targets.to_string(), count });
        }
    }
    let count = Count::of(&targeted, base);
    Ok(Params {
        model: shape.name.clone(),
        base,
        rank: config.r,
        alpha: config.lora_alpha,
        rslora: config.use_rslora,
        scaling: config.scaling(config.r),
        targets: config.target_modules.to_string(),
        count,
        line: trainable_line(count.trainable, base),
        modules: by_kind(&targeted),
        layers: by_layer(&targeted),
        overview,
    })
}

impl Count {
    pub(crate) fn of(targeted: &[TargetedModule], base: u64) -> Self {
        let trainable: u64 = targeted.iter().map(parameters).sum();
        let all = base + trainable;
        let percent = 100.0 * trainable as f64 / all as f64;
        Self { trainable, all, percent, adapter_bytes: adapter_file_bytes(targeted) }
    }
}

fn parameters(module: &TargetedModule) -> u64 {
    (module.a.len() + module.b.len()) as u64
}

/// Sums modules of one name and shape, in the order of their first appearance.
fn by_kind(targeted: &[TargetedModule]) -> Vec<ModuleCount> {
    let mut kinds: Vec<ModuleCount> = Vec::new();
    let mut places = BTreeMap::new();
    for module in targeted {
        let name = module.path.rsplit('.').next().unwrap_or(&module.path);
        let place = *places.entry((name, module.in_features, module.out_features)).or_insert_with(|| {
            let (in_features, out_features) = (module.in_features, module.out_features);
            kinds.push(ModuleCount { module: name.to_string(), in_features, out_features, count: 0, trainable: 0 });
            kinds.len() - 1
        });
        kinds[place].count += 1;
        kinds[place].trainable += parameters(module);
    }
    kinds
}

/// Sums modules of one layer: the first number in their path.
fn by_layer(targeted: &[TargetedModule]) -> Vec<LayerCount> {
    let mut layers: Vec<LayerCount> = Vec::new();
    for module in targeted {
        let layer = module.path.split('.').find_map(|part| part.parse().ok());
        let at = layers.iter().position(|l| l.layer == layer).unwrap_or_else(|| {
            layers.push(LayerCount { layer, count: 0, trainable: 0 });
            layers.len() - 1
        });
        layers[at].count += 1;
        layers[at].trainable += parameters(module);
    }
    layers
}

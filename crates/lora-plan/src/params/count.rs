//! Counting: the parameters that a LoRA setting trains on a shape, exactly as PEFT counts them.
use crate::model::shape::Shape;
use lora_cli::Result;
use lora_core::{Layout, LoraConfig, trainable_line};
use serde::Serialize;

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
    let modules = shape.modules();
    let base = shape.total_parameters();
    let layout = config.layout(&modules)?;
    let mut overview = Vec::with_capacity(RANKS.len() * TARGETS.len());
    for rank in RANKS {
        for targets in TARGETS {
            let setting = LoraConfig::new(rank, rank as f64, shape.targets(targets)?);
            let count = Count::of(&setting.layout(&modules)?, base);
            overview.push(OverviewRow {
                rank,
                targets: targets.to_string(),
                count,
            });
        }
    }
    let (count, trained) = (Count::of(&layout, base), trained(&layout));
    Ok(Params {
        model: shape.name.clone(),
        base,
        rank: config.r,
        alpha: config.lora_alpha,
        rslora: config.use_rslora,
        scaling: config.scaling(config.r),
        targets: config.targets_line(),
        count,
        line: trainable_line(count.trainable, count.all - base, base),
        modules: by_kind(&trained),
        layers: by_layer(&trained),
        overview,
    })
}

impl Count {
    pub(crate) fn of(layout: &Layout, base: u64) -> Self {
        let trainable = layout.parameters() as u64;
        let all = base + layout.added_parameters() as u64;
        let percent = 100.0 * trainable as f64 / all as f64;
        Self {
            trainable,
            all,
            percent,
            adapter_bytes: layout.file_bytes(),
        }
    }
}

/// A module that trains, a tensor that trains as a whole, or rows of the vocabulary.
struct Trained {
    path: String,
    in_features: usize,
    out_features: usize,
    parameters: u64,
}

fn trained(layout: &Layout) -> Vec<Trained> {
    let lora = layout.modules.iter().map(|m| Trained {
        path: m.path.clone(),
        in_features: m.in_features,
        out_features: m.out_features,
        parameters: m.tensors().iter().map(|t| t.range.len() as u64).sum(),
    });
    let whole = layout.trained.iter().map(|t| Trained {
        path: t.tensor.clone(),
        in_features: t.shape.get(1).copied().unwrap_or(1),
        out_features: t.shape[0],
        parameters: t.range.len() as u64,
    });
    let rows = layout.rows.iter().map(|own| Trained {
        path: format!("{}.rows", own.paths[0]),
        in_features: own.width,
        out_features: own.rows.len(),
        parameters: own.range.len() as u64,
    });
    lora.chain(whole).chain(rows).collect()
}

/// Sums what trains under one name and shape, in the order of its first appearance.
fn by_kind(trained: &[Trained]) -> Vec<ModuleCount> {
    let mut kinds: Vec<ModuleCount> = Vec::new();
    for one in trained {
        let (module, in_features, out_features) =
            (kind_of(&one.path), one.in_features, one.out_features);
        let is_same = |k: &ModuleCount| {
            k.module == module && (k.in_features, k.out_features) == (in_features, out_features)
        };
        let place = kinds.iter().position(is_same).unwrap_or_else(|| {
            kinds.push(ModuleCount {
                module,
                in_features,
                out_features,
                count: 0,
                trainable: 0,
            });
            kinds.len() - 1
        });
        kinds[place].count += 1;
        kinds[place].trainable += one.parameters;
    }
    kinds
}

/// A module's last component; of a tensor that trains as a whole, its last two.
fn kind_of(path: &str) -> String {
    let mut parts = path.rsplit('.');
    match (parts.next(), parts.next()) {
        (Some(tensor @ ("weight" | "bias" | "rows")), Some(module)) => format!("{module}.{tensor}"),
        (last, _) => last.unwrap_or(path).to_owned(),
    }
}

/// Sums modules of one layer: the first number in their path.
fn by_layer(trained: &[Trained]) -> Vec<LayerCount> {
    let mut layers: Vec<LayerCount> = Vec::new();
    for one in trained {
        let layer = one.path.split('.').find_map(|part| part.parse().ok());
        let at = layers
            .iter()
            .position(|l| l.layer == layer)
            .unwrap_or_else(|| {
                layers.push(LayerCount {
                    layer,
                    count: 0,
                    trainable: 0,
                });
                layers.len() - 1
            });
        layers[at].count += 1;
        layers[at].trainable += one.parameters;
    }
    layers
}

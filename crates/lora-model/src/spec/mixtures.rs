//! Parameters of mixtures as an adapter has them: transformers 5 holds gate and up of all experts in one, (E, 2·I, H), down in
//! another, (E, H, I) (or both turned round), and the router's weight in a module of its own.
use lora_checkpoint::{EXPERT_PROJECTIONS, Experts, ModelConfig, Projection};
use lora_core::Module;
use std::ops::Range;

/// What the parameters are called behind the path of the experts' module.
const GATE_UP: &str = "gate_up_proj";
const DOWN: &str = "down_proj";

/// A weight of the base as a part of a parameter that can carry LoRA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpertPart {
    /// The parameter's path, `model.layers.0.mlp.experts.gate_up_proj` or `model.layers.0.mlp.gate.weight`.
    pub path: String,
    /// The expert whose it is; 0 for a router.
    pub expert: usize,
    /// Its rows among the expert's.
    pub rows: Range<usize>,
}

/// Where the parameters of a layer's mixture lie, and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MixturePaths {
    pub(crate) router: String,
    pub(crate) gate_up: String,
    pub(crate) down: String,
}

impl MixturePaths {
    /// Those of a layer, if it has experts.
    pub(crate) fn of(config: &ModelConfig, layer: usize) -> Option<(Self, Experts)> {
        if layer >= config.num_hidden_layers {
            return None;
        }
        let own = config.experts_of(layer)?;
        let facts = config.facts().experts?;
        let [router, experts] = facts.modules();
        let of_layer = |name: &str| format!("model.layers.{layer}.{name}");
        let paths = Self {
            router: of_layer(&format!("{router}.weight")),
            gate_up: of_layer(&format!("{experts}.{GATE_UP}")),
            down: of_layer(&format!("{experts}.{DOWN}")),
        };
        Some((paths, own))
    }
}

/// The parameters of all mixtures, layer by layer.
pub(super) fn parameters(config: &ModelConfig) -> Vec<Module> {
    let hidden = config.hidden_size;
    let of_layer = |layer| {
        let (paths, own) = MixturePaths::of(config, layer)?;
        let gate_up = Module::experts(paths.gate_up, own.count, hidden, 2 * own.width);
        let alternates = config.facts().experts?.alternates();
        Some([
            Module::router(paths.router, hidden, own.count),
            match alternates {
                true => gate_up.with_alternating_outputs(),
                false => gate_up,
            },
            Module::experts(paths.down, own.count, own.width, hidden),
        ])
    };
    (0..config.num_hidden_layers)
        .filter_map(of_layer)
        .flatten()
        .collect()
}

/// The weights that lie in a parameter of a mixture, of its first expert, with their rows there: gate and up in one, down, or
/// the router. None if it is no such parameter.
#[must_use]
pub fn parts_in(config: &ModelConfig, parameter: &str) -> Option<Vec<(String, Range<usize>)>> {
    let (layer, _) = parameter.strip_prefix("model.layers.")?.split_once('.')?;
    let layer = layer.parse().ok()?;
    let (paths, own) = MixturePaths::of(config, layer)?;
    let facts = config.facts().experts?;
    let weight = |path: &str| format!("model.layers.{layer}.{path}.weight");
    let of_expert = |projection| weight(&facts.of(0, projection));
    let width = own.width;
    match parameter {
        path if path == paths.router => Some(vec![(weight(facts.router), 0..own.count)]),
        path if path == paths.gate_up => Some(vec![
            (of_expert(Projection::Gate), 0..width),
            (of_expert(Projection::Up), width..2 * width),
        ]),
        path if path == paths.down => {
            Some(vec![(of_expert(Projection::Down), 0..config.hidden_size)])
        }
        _ => None,
    }
}

/// The parameter that a weight of the base is a part of, by the weight's name, if it is one of a mixture.
#[must_use]
pub fn part_of(config: &ModelConfig, weight: &str) -> Option<ExpertPart> {
    let (layer, name) = weight
        .strip_prefix("model.layers.")?
        .strip_suffix(".weight")?
        .split_once('.')?;
    let (paths, own) = MixturePaths::of(config, layer.parse().ok()?)?;
    let facts = config.facts().experts?;
    if name == facts.router {
        return Some(ExpertPart {
            path: paths.router,
            expert: 0,
            rows: 0..own.count,
        });
    }
    let (expert, name) = name
        .strip_prefix(facts.path)?
        .strip_prefix('.')?
        .split_once('.')?;
    let expert = expert.parse().ok().filter(|&expert| expert < own.count)?;
    let projection = EXPERT_PROJECTIONS
        .into_iter()
        .find(|&projection| facts.name(projection) == name)?;
    let (path, rows) = match projection {
        Projection::Gate => (paths.gate_up, 0..own.width),
        Projection::Up => (paths.gate_up, own.width..2 * own.width),
        _ => (paths.down, 0..config.hidden_size),
    };
    Some(ExpertPart { path, expert, rows })
}

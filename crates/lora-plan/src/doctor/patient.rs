//! A run with what several questions need of it: its loss curve, its adapter's modules, its base's size.
use super::series::Curve;
use crate::model::shape::{self, Shape};
use crate::rules::{Rule, learning_rate};
use crate::run::{CommandLine, Run, quoted};
use lora_core::{CONFIG_FILE, LoraConfig};

/// A run under examination.
pub(crate) struct Patient<'r> {
    pub(crate) run: &'r Run,
    /// None with too few steps.
    pub(crate) curve: Option<Curve>,
    /// None if the base or the adapter is gone.
    pub(crate) adapter: Option<AdapterFacts>,
    base: Option<Shape>,
}

/// Where an adapter sits.
#[derive(Debug, Clone)]
pub(crate) struct AdapterFacts {
    /// Modules that carry it.
    pub(crate) modules: usize,
    /// Their kinds, e.g. `q_proj`.
    pub(crate) kinds: Vec<String>,
    /// Layers that have one, and layers.
    pub(crate) layers: (usize, usize),
    /// Trainable parameters.
    pub(crate) parameters: u64,
    /// The model has q_proj and v_proj.
    pub(crate) has_attention: bool,
}

impl AdapterFacts {
    /// True if modules of this kind carry it.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.kinds.iter().any(|k| k == kind)
    }

    fn of(config: &LoraConfig, shape: &Shape) -> Option<Self> {
        let params = crate::params::count::count(shape, config).ok()?;
        let is_attention = |path: &str| path.ends_with(".q_proj") || path.ends_with(".v_proj");
        Some(Self {
            modules: params.modules.iter().map(|module| module.count).sum(),
            kinds: params
                .modules
                .iter()
                .map(|module| module.module.clone())
                .collect(),
            layers: (
                params
                    .layers
                    .iter()
                    .filter(|layer| layer.layer.is_some())
                    .count(),
                shape.layers(),
            ),
            parameters: params.count.trainable,
            has_attention: shape
                .modules()
                .iter()
                .any(|module| is_attention(&module.path)),
        })
    }
}

impl<'r> Patient<'r> {
    pub(crate) fn of(run: &'r Run) -> Self {
        let base = run
            .training
            .input("base")
            .and_then(|base| shape::resolve(&base).ok());
        let config = LoraConfig::load(&run.training.folder.join(CONFIG_FILE)).ok();
        let adapter = config
            .zip(base.as_ref())
            .and_then(|(config, base)| AdapterFacts::of(&config, base));
        Self {
            run,
            curve: Curve::of(&run.training.losses()),
            adapter,
            base,
        }
    }

    /// True if the loss ends far above where it has been.
    pub(crate) fn diverges(&self) -> bool {
        let noise = |curve: &Curve| (3.0 * curve.error).max(0.5);
        self.curve
            .is_some_and(|c| c.tail > 1.5 * c.lowest + noise(&c) || c.tail > c.head + noise(&c))
    }

    /// The rate that such a base usually learns with.
    pub(crate) fn usual_rate(&self) -> (f64, Rule) {
        learning_rate(
            self.base
                .as_ref()
                .map_or(1_000_000_000, Shape::total_parameters),
        )
    }

    /// The command that measures the base on the run's data.
    pub(crate) fn evaluate_base(&self) -> Option<CommandLine> {
        let path = |name| {
            self.run
                .training
                .input(name)
                .map(|path| quoted(&path.display().to_string()))
        };
        let line = format!(
            "lora-eval --base {} --data {}",
            path("base")?,
            path("data")?
        );
        Some(CommandLine::into_new(line, "base-report"))
    }
}

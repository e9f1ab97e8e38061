//! What trains at a layer's router and experts, ready to compute with.
use super::site::Factors as Places;
use super::unbound::Unbound;
use crate::Error;
use crate::spec::MixturePaths;
use lora_checkpoint::ModelConfig;
use lora_core::{Adapter, TargetedModule};
use lora_kernels::experts::Factors;
use lora_kernels::lora::Lora;
use lora_kernels::matrix::Mat;

/// Indices into the adapter's modules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MixtureSlots {
    pub(crate) router: Option<usize>,
    pub(crate) gate_up: Option<usize>,
    pub(crate) down: Option<usize>,
}

impl MixtureSlots {
    /// Those of a layer.
    pub(super) fn of(
        open: &mut Unbound<'_>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, Error> {
        let Some((paths, own)) = MixturePaths::of(config, layer) else {
            return Ok(Self::default());
        };
        let (hidden, wide) = (config.hidden_size, own.width);
        Ok(Self {
            router: open.parameter(&paths.router, None, (own.count, hidden))?,
            gate_up: open.parameter(&paths.gate_up, Some(own.count), (2 * wide, hidden))?,
            down: open.parameter(&paths.down, Some(own.count), (hidden, wide))?,
        })
    }

    /// What trains there.
    pub(super) fn site<'s>(&self, adapter: &'s Adapter) -> MixtureSite<'s> {
        let of_experts = |index| ExpertSite {
            factors: factors(&adapter.modules[index], adapter.factors(index)),
            places: places(&adapter.modules[index]),
        };
        let of_router = |index| {
            let (module, (a, b)) = (&adapter.modules[index], adapter.factors(index));
            let lora = Lora {
                a: Mat::new(a, module.rank, module.in_features),
                b: Mat::new(b, module.out_features, module.rank),
                scaling: module.scaling,
            };
            (lora, places(module))
        };
        MixtureSite {
            router: self.router.map(of_router),
            gate_up: self.gate_up.map(of_experts),
            down: self.down.map(of_experts),
        }
    }
}

/// What trains at the experts' matrices in one parameter.
#[derive(Debug)]
pub(super) struct ExpertSite<'s> {
    pub(super) factors: Factors<'s>,
    /// Where the gradients go in the flat vector.
    pub(super) places: Places,
}

/// What trains at a router and its experts.
#[derive(Debug, Default)]
pub(super) struct MixtureSite<'s> {
    pub(super) router: Option<(Lora<'s>, Places)>,
    pub(super) gate_up: Option<ExpertSite<'s>>,
    pub(super) down: Option<ExpertSite<'s>>,
}

/// Which way a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Two products with A and B.
    Forward,
    /// Five: of A the input again, its own gradient and that of the input, of B two.
    Backward,
}

impl MixtureSite<'_> {
    /// Floating-point operations with the factors at what reads the hidden state, for so many tokens and choices of each.
    pub(super) fn operations_of_reads(&self, way: Way, tokens: usize, chosen: usize) -> u64 {
        let router = self.router.as_ref().map_or(0, |(lora, _)| {
            tokens * way.products(lora.rank(), lora.in_features(), lora.out_features())
        });
        let experts = self.gate_up.as_ref();
        let experts = experts.map_or(0, |site| tokens * chosen * site.products(way));
        2 * (router + experts) as u64
    }

    /// The same at down.
    pub(super) fn operations_of_down(&self, way: Way, tokens: usize, chosen: usize) -> u64 {
        let down = self.down.as_ref();
        down.map_or(0, |site| 2 * (tokens * chosen * site.products(way)) as u64)
    }

    /// Whether something trains at what reads the hidden state: its gradient needs that once more.
    pub(super) fn reads_input(&self) -> bool {
        self.router.is_some() || self.gate_up.is_some()
    }
}

fn factors<'a>(module: &TargetedModule, (a, b): (&'a [f32], &'a [f32])) -> Factors<'a> {
    Factors {
        a,
        b,
        rank: module.rank,
        in_features: module.in_features,
        out_features: module.out_features,
        scaling: module.scaling,
    }
}

fn places(module: &TargetedModule) -> Places {
    Places {
        a: module.a.clone(),
        b: module.b.clone(),
    }
}

impl Way {
    /// Multiplications a row.
    fn products(self, rank: usize, in_features: usize, out_features: usize) -> usize {
        match self {
            Self::Forward => rank * (in_features + out_features),
            Self::Backward => rank * (3 * in_features + 2 * out_features),
        }
    }
}

impl ExpertSite<'_> {
    fn products(&self, way: Way) -> usize {
        let own = &self.factors;
        way.products(own.rank, own.in_features, own.out_features)
    }
}

//! Router and experts of a layer on the device, with room for an adapter's factors.
use super::expert_biases::Biases;
use super::load::Loader;
use super::mixture_bound::MixtureColumns;
use super::stack::{Stack, StackSize};
use super::unit::{ExpertUnit, GIVES, READS};
use crate::fused::choice_of;
use crate::{Base, Error};
use lora_checkpoint::Mlp;
use lora_gpu::{Mat, Tensor};
use lora_kernels::experts::Choice;

/// Router and experts.
#[derive(Debug)]
pub(super) struct Mixture {
    pub(super) choice: Choice,
    /// What is added to scores for the choice alone, (E), on the host, where a model has it.
    pub(super) choice_bias: Option<Vec<f32>>,
    pub(super) unit: ExpertUnit,
    hidden: usize,
    router: Tensor,
    /// Columns for the router's factors.
    router_factors: usize,
    /// Where a family has such.
    pub(super) biases: Option<Biases>,
    /// Gate and up of each expert, (2·I, H).
    pub(super) gate_up: Stack,
    /// Down of each, (H, I).
    pub(super) down: Stack,
}

/// The same as memory sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MixtureSize {
    /// Values of the router.
    pub(super) router: usize,
    /// Values of all biases.
    pub(super) biases: usize,
    /// Columns for the router's factors.
    pub(super) router_factors: usize,
    pub(super) gate_up: StackSize,
    pub(super) down: StackSize,
}

impl MixtureSize {
    /// Bytes that it holds, with activations of `act` bytes.
    pub(super) fn bytes(self, act: usize) -> usize {
        let biases = size_of::<f32>() * self.biases;
        act * self.router + biases + self.gate_up.bytes(act) + self.down.bytes(act)
    }

    /// Columns for factors.
    pub(super) fn columns(self) -> MixtureColumns {
        MixtureColumns {
            router: self.router_factors,
            gate_up: self.gate_up.factors,
            down: self.down.factors,
        }
    }

    /// Values of the factors where products read them, but for B behind the weights of experts: A of experts; A and B of the
    /// router.
    pub(super) fn factor_values(self) -> usize {
        let of_router = self.router_factors * (self.gate_up.columns + self.gate_up.experts);
        of_router + self.gate_up.a_values() + self.down.a_values()
    }

    /// Values of the largest matrix that is widened at each use.
    pub(super) fn widened(self) -> usize {
        self.gate_up.widened().max(self.down.widened())
    }
}

impl Mixture {
    /// That of a layer, if it has one, with room for so many columns of factors.
    pub(super) fn load(
        base: &Base,
        loader: &mut Loader<'_>,
        layer: usize,
        columns: MixtureColumns,
    ) -> Result<Option<Self>, Error> {
        let config = base.config();
        let (Some(own), Some(names), Mlp::Gated(activation)) = (
            config.experts_of(layer),
            config.facts().experts,
            config.facts().mlp,
        ) else {
            return Ok(None);
        };
        let hidden = config.hidden_size;
        let name = format!("model.layers.{layer}.{}.weight", names.router);
        let router = loader.gpu().activations(own.count * hidden)?;
        let view = base.checkpoint().tensor(&name)?;
        loader.matrix(&view, router.mat(own.count, hidden))?;
        Ok(Some(Self {
            choice: choice_of(own),
            choice_bias: config
                .choice_bias(layer)
                .map(|name| Ok::<_, Error>(base.checkpoint().tensor(&name)?.to_f32()))
                .transpose()?,
            unit: ExpertUnit::of(own, activation),
            hidden,
            router,
            router_factors: columns.router,
            biases: match names.biased {
                true => Some(Biases::load(base, loader.gpu(), (layer, own, names))?),
                false => None,
            },
            gate_up: Stack::load(base, loader, (layer, READS), columns.gate_up)?,
            down: Stack::load(base, loader, (layer, GIVES), columns.down)?,
        }))
    }

    /// The router, (E, H).
    pub(super) fn router(&self) -> Mat<'_> {
        self.router.mat(self.choice.experts, self.hidden)
    }

    /// I, the width of an expert.
    pub(super) fn width(&self) -> usize {
        self.down.size().columns
    }

    pub(super) fn size(&self) -> MixtureSize {
        MixtureSize {
            router: self.choice.experts * self.hidden,
            biases: self.biases.as_ref().map_or(0, Biases::len),
            router_factors: self.router_factors,
            gate_up: self.gate_up.size(),
            down: self.down.size(),
        }
    }
}

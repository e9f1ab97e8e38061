//! The weights of a layer's router and experts, borrowed where they lie.
use super::matrix::Matrix;
use crate::{Base, Error};
use lora_checkpoint::EXPERT_PROJECTIONS;
use lora_kernels::Rows;
use lora_kernels::experts::Choice;
use lora_kernels::glu::Activation;

/// Router and experts of a layer.
#[derive(Debug)]
pub(super) struct Mixture<'b> {
    pub(super) choice: Choice,
    pub(super) activation: Activation,
    /// (E, H).
    pub(super) router: Matrix<'b>,
    /// Each expert's gate (I, H), up (I, H) and down (H, I).
    pub(super) gate: Vec<Matrix<'b>>,
    pub(super) up: Vec<Matrix<'b>>,
    pub(super) down: Vec<Matrix<'b>>,
}

impl<'b> Mixture<'b> {
    /// That of a layer, if it has one.
    pub(super) fn of(
        base: &'b Base,
        layer: usize,
        activation: Activation,
    ) -> Result<Option<Self>, Error> {
        let config = base.config();
        let (Some(own), Some(names)) = (config.experts_of(layer), config.facts().experts) else {
            return Ok(None);
        };
        let matrix = |path: &str| {
            let name = format!("model.layers.{layer}.{path}.weight");
            Ok::<_, Error>(Matrix(base.checkpoint().tensor(&name)?))
        };
        let all = |projection| {
            let each = (0..own.count).map(|expert| matrix(&names.of(expert, projection)));
            each.collect::<Result<Vec<_>, _>>()
        };
        let [gate, up, down] = EXPERT_PROJECTIONS.map(all);
        Ok(Some(Self {
            choice: Choice {
                experts: own.count,
                chosen: own.chosen,
                normalised: own.normalised,
            },
            activation,
            router: matrix(names.router)?,
            gate: gate?,
            up: up?,
            down: down?,
        }))
    }

    /// Values that the gates give for so many tokens.
    pub(super) fn wide(&self, tokens: usize) -> usize {
        let width = self.gate.first().map_or(0, Rows::rows);
        tokens * self.choice.chosen * width
    }
}

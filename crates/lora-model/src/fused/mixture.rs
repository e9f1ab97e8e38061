//! The weights of a layer's router and experts, borrowed where they lie.
use super::matrix::Matrix;
use crate::{Base, Error};
use lora_checkpoint::{EXPERT_PROJECTIONS, Experts};
use lora_kernels::Rows;
use lora_kernels::experts::{Choice, Scores};
use lora_kernels::glu::{self, Activation, Clamped};

/// Router and experts of a layer.
#[derive(Debug)]
pub(super) struct Mixture<'b> {
    pub(super) choice: Choice,
    pub(super) activation: Activation,
    /// What stands in the place of the activation, if it does.
    pub(super) clamped: Option<Clamped>,
    /// (E, H).
    pub(super) router: Matrix<'b>,
    /// Each expert's gate (I, H), up (I, H) and down (H, I).
    pub(super) gate: Vec<Matrix<'b>>,
    pub(super) up: Vec<Matrix<'b>>,
    pub(super) down: Vec<Matrix<'b>>,
    /// Where a family has such.
    pub(super) biases: Option<Biases>,
    /// What is added to scores for the choice alone, (E), where a model has it.
    pub(super) choice_bias: Option<Vec<f32>>,
}

/// Biases of a layer's router (E), and of each expert's gate (I), up (I) and down (H).
#[derive(Debug)]
pub(super) struct Biases {
    pub(super) router: Vec<f32>,
    pub(super) gate: Vec<Vec<f32>>,
    pub(super) up: Vec<Vec<f32>>,
    pub(super) down: Vec<Vec<f32>>,
}

/// How a layer's router chooses.
pub(crate) fn choice_of(own: Experts) -> Choice {
    Choice {
        experts: own.count,
        chosen: own.chosen,
        scores: match own.scores {
            lora_checkpoint::Scores::Softmax => Scores::Softmax,
            lora_checkpoint::Scores::Sigmoid => Scores::Sigmoid,
        },
        normalised: own.normalised,
        scale: own.scale as f32,
    }
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
            choice: choice_of(own),
            activation,
            clamped: own.clamp.map(|clamp| Clamped {
                alpha: clamp.alpha as f32,
                limit: clamp.limit as f32,
            }),
            biases: Biases::of(base, layer)?,
            choice_bias: config
                .choice_bias(layer)
                .map(|name| Ok::<_, Error>(base.checkpoint().tensor(&name)?.to_f32()))
                .transpose()?,
            router: matrix(names.router)?,
            gate: gate?,
            up: up?,
            down: down?,
        }))
    }

    /// activation(gate)∘up, or the unit in its place.
    pub(super) fn activate(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        match self.clamped {
            Some(clamped) => clamped.forward(gate, up, out),
            None => glu::forward(self.activation, gate, up, out),
        }
    }

    /// Its way back: gate and up become their gradients.
    pub(super) fn activate_backward(&self, d: &[f32], gate: &mut [f32], up: &mut [f32]) {
        match self.clamped {
            Some(clamped) => clamped.backward(d, gate, up),
            None => glu::backward(self.activation, d, gate, up),
        }
    }

    /// Values that the gates give for so many tokens.
    pub(super) fn wide(&self, tokens: usize) -> usize {
        let width = self.gate.first().map_or(0, Rows::rows);
        tokens * self.choice.chosen * width
    }
}

impl Biases {
    /// Those of a layer, of a family that has such.
    fn of(base: &Base, layer: usize) -> Result<Option<Self>, Error> {
        let config = base.config();
        let (Some(own), Some(names)) = (config.experts_of(layer), config.facts().experts) else {
            return Ok(None);
        };
        if !names.biased {
            return Ok(None);
        }
        let vector = |path: &str| {
            let name = format!("model.layers.{layer}.{path}.bias");
            Ok::<_, Error>(base.checkpoint().tensor(&name)?.to_f32())
        };
        let all = |projection| {
            let each = (0..own.count).map(|expert| vector(&names.of(expert, projection)));
            each.collect::<Result<Vec<_>, _>>()
        };
        let [gate, up, down] = EXPERT_PROJECTIONS.map(all);
        Ok(Some(Self {
            router: vector(names.router)?,
            gate: gate?,
            up: up?,
            down: down?,
        }))
    }
}

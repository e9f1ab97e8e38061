//! Biases of a mixture's router and experts on the device; they are frozen.
use super::unit::{GIVES, READS};
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::{ExpertFacts, Experts, ModelConfig};
use lora_gpu::{Dtype, Gpu, Tensor};

/// In f32: the router's (E), of each expert gate's and up's, (E, 2·I), and down's, (E, H).
#[derive(Debug)]
pub(super) struct Biases {
    pub(super) router: Tensor,
    pub(super) gate_up: Tensor,
    pub(super) down: Tensor,
}

impl Biases {
    /// Those of a layer with experts.
    pub(super) fn load(
        base: &Base,
        gpu: &Gpu,
        (layer, own, names): (usize, Experts, ExpertFacts),
    ) -> Result<Self, Error> {
        let vector = |path: &str| {
            let name = format!("model.layers.{layer}.{path}.bias");
            Ok::<_, Error>(base.checkpoint().tensor(&name)?.to_f32())
        };
        let all = |projections: &[Projection]| {
            let mut values = Vec::new();
            for expert in 0..own.count {
                for &projection in projections {
                    values.extend(vector(&names.of(expert, projection))?);
                }
            }
            Ok::<_, Error>(gpu.uploaded(Dtype::F32, &values)?)
        };
        Ok(Self {
            router: gpu.uploaded(Dtype::F32, &vector(names.router)?)?,
            gate_up: all(READS)?,
            down: all(GIVES)?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.router.len() + self.gate_up.len() + self.down.len()
    }

    /// The same from shapes alone; 0 of a family without biases.
    pub(super) fn planned(config: &ModelConfig, own: Experts) -> usize {
        match config.facts().experts {
            Some(names) if names.biased => own.count * (1 + 2 * own.width + config.hidden_size),
            _ => 0,
        }
    }
}

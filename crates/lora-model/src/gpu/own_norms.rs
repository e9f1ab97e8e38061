//! Norms on the device that train: their vectors stand in the place of the base's, which come back for another adapter.
use super::trained_norms::TrainedNorm;
use super::weights::Weights;
use crate::fused::norms::NormPart;
use lora_gpu::{Error, Gpu, Tensor};

/// Those of the adapter that was taken on.
#[derive(Debug, Default)]
pub(super) struct OwnNorms(Vec<OwnNorm>);

#[derive(Debug)]
struct OwnNorm {
    trained: TrainedNorm,
    /// The norm's own vector, f32 (w), in the base's memory.
    vector: Tensor,
    /// What stood there.
    base: Vec<f32>,
    /// What is added to the parameters: files hold γ less this.
    offset: f32,
}

impl OwnNorms {
    /// Those of an adapter; the base's values are kept.
    pub(super) fn new(
        gpu: &Gpu,
        trained: &[TrainedNorm],
        weights: &Weights,
        offset: f32,
    ) -> Result<Self, Error> {
        let own = trained.iter().filter_map(|trained| {
            let vector = weights.norm_vector(trained.of, trained.part)?.clone();
            let mut base = vec![0.0; trained.len];
            let read = gpu.download(&vector, &mut base);
            let offset = match trained.part {
                NormPart::Weight => offset,
                NormPart::Bias => 0.0,
            };
            Some(read.map(|()| OwnNorm {
                trained: trained.clone(),
                vector,
                base,
                offset,
            }))
        });
        own.collect::<Result<_, Error>>().map(Self)
    }

    /// Takes the parameters on.
    pub(super) fn set(&self, gpu: &Gpu, params: &Tensor) -> Result<(), Error> {
        for own in &self.0 {
            let (place, len) = (own.trained.place, own.trained.len);
            let to = own.vector.mat(1, len);
            if own.offset == 0.0 {
                gpu.convert(params.strided(place, 1, len, len), 1.0, to)?;
                continue;
            }
            gpu.upload(&vec![own.offset; len], &own.vector, 0)?;
            gpu.add_bias(params, place, 1.0, to)?;
        }
        Ok(())
    }

    /// Puts the base's values back.
    pub(super) fn restore(&mut self, gpu: &Gpu) -> Result<(), Error> {
        for own in &self.0 {
            gpu.upload(&own.base, &own.vector, 0)?;
        }
        self.0.clear();
        Ok(())
    }
}

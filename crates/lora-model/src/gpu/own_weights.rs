//! Weights of linear layers that train as a whole on the device (modules to save): they stand in the place of the base's, in
//! the matrix of their group, which has the base's again for another adapter. Of a group in blocks they are put into what is
//! widened, at each use.
use super::bound::Bound;
use super::group::Group;
use super::kinds::Kind;
use super::load::Loader;
use super::pairs::GroupFactors;
use super::weights::Weights;
use crate::{Base, Error};
use lora_gpu::{Gpu, Mat, Tensor};

/// The groups whose matrices don't hold the base's weights alone: layer and kind.
#[derive(Debug, Default)]
pub(super) struct OwnWeights(Vec<(usize, Kind)>);

impl OwnWeights {
    /// Those of an adapter.
    pub(super) fn of(bound: &Bound, weights: &Weights) -> Self {
        let mut all = Vec::new();
        for (index, (layer, factors)) in weights.layers.iter().zip(&bound.layers).enumerate() {
            for kind in Kind::ALL {
                let trains = !factors[kind as usize].weights.is_empty();
                if trains && !layer.group(kind).is_widened() {
                    all.push((index, kind));
                }
            }
        }
        Self(all)
    }

    /// Puts the base's weights back.
    ///
    /// # Errors
    /// If a file can't be read, or the device fails.
    pub(super) fn restore(
        &mut self,
        base: &Base,
        gpu: &Gpu,
        weights: &Weights,
    ) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let groups = |&(layer, kind): &(usize, Kind)| weights.layers[layer].group(kind);
        let widest = self.0.iter().map(|own| groups(own).inputs).max();
        let mut loader = Loader::new(gpu, widest.unwrap_or(0))?;
        for &(layer, kind) in &self.0 {
            weights.layers[layer]
                .group(kind)
                .load_again(base, &mut loader, layer)?;
        }
        self.0.clear();
        Ok(())
    }
}

/// Takes those among the parameters on, into the matrix of their group.
pub(super) fn set(
    gpu: &Gpu,
    factors: &GroupFactors,
    (group, matrix): (&Group, Mat<'_>),
    params: &Tensor,
) -> Result<(), lora_gpu::Error> {
    let inputs = group.inputs;
    for own in &factors.weights {
        let from = params.strided(own.place, own.rows.len(), inputs, inputs);
        let to = matrix.of_rows(own.rows.clone()).of_columns(0..inputs);
        gpu.convert(from, 1.0, to)?;
    }
    Ok(())
}

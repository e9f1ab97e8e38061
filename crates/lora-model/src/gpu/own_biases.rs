//! The biases of groups where some train, on the device: a group has one of all its outputs.
use super::bound::Bound;
use super::group::Group;
use super::kinds::Kind;
use super::pairs::GroupFactors;
use super::weights::Weights;
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// The biases of groups where some train, f32 (out), by layer and [`Kind`].
#[derive(Debug)]
pub(super) struct OwnBiases(Vec<[Option<Tensor>; Kind::ALL.len()]>);

impl OwnBiases {
    /// Memory for those of `bound`.
    pub(super) fn new(gpu: &Gpu, bound: &Bound, weights: &Weights) -> Result<Self, Error> {
        let mut all = Vec::new();
        for (layer, factors) in weights.layers.iter().zip(&bound.layers) {
            let mut of_layer = [const { None }; Kind::ALL.len()];
            for ((group, factors), place) in layer.groups.iter().zip(factors).zip(&mut of_layer) {
                if !factors.biases.is_empty() {
                    *place = Some(gpu.alloc(Dtype::F32, group.outputs)?);
                }
            }
            all.push(of_layer);
        }
        Ok(Self(all))
    }

    pub(super) fn of(&self, layer: usize, kind: Kind) -> Option<&Tensor> {
        self.0[layer][kind as usize].as_ref()
    }
}

/// Takes the biases among the parameters on, into a group's own.
pub(super) fn set(
    gpu: &Gpu,
    (own, factors): (&Tensor, &GroupFactors),
    group: &Group,
    params: &Tensor,
) -> Result<(), Error> {
    set_over(gpu, (own, group.bias.as_ref()), factors, params)
}

/// The same into `own`, f32 (out), over what the base has there.
pub(super) fn set_over(
    gpu: &Gpu,
    (own, base): (&Tensor, Option<&Tensor>),
    factors: &GroupFactors,
    params: &Tensor,
) -> Result<(), Error> {
    match base {
        Some(base) => gpu.copy(base, own, own.len())?,
        None => gpu.zero(own, own.len())?,
    }
    for bias in &factors.biases {
        let count = bias.rows.len();
        let to = own.strided(bias.rows.start, 1, count, count);
        match bias.replaces {
            true => {
                let from = params.strided(bias.place, 1, count, count);
                gpu.convert(from, bias.scaling, to)?;
            }
            false => gpu.add_bias(params, bias.place, bias.scaling, to)?,
        }
    }
    Ok(())
}

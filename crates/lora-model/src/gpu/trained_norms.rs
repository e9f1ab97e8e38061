//! Vectors of norms that train (modules to save, `bias` all): which, and their gradients.
use crate::fused::binding::{Binding, NormPlace};
use crate::fused::norms::NormPart;
use lora_core::Adapter;
use lora_gpu::{Error, Gpu, Mat, Tensor};

/// A vector of a norm that trains, in whose place it stands.
#[derive(Debug, Clone)]
pub(super) struct TrainedNorm {
    pub(super) of: NormPlace,
    pub(super) part: NormPart,
    /// Its place in the flat parameters.
    pub(super) place: usize,
    /// Its values.
    pub(super) len: usize,
}

/// Those of an adapter.
pub(super) fn of(adapter: &Adapter, binding: &Binding<'_>) -> Vec<TrainedNorm> {
    let slots = binding.norm_slots().iter();
    slots
        .map(|&(of, part, index)| {
            let range = &adapter.trained[index].range;
            TrainedNorm {
                of,
                part,
                place: range.start,
                len: range.len(),
            }
        })
        .collect()
}

/// A norm's backward pass: what it read, f32 or activations, 1 over the root of its mean square, and the gradient of what it
/// gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct NormBackward<'t> {
    pub(super) x: Mat<'t>,
    pub(super) rstd: &'t Tensor,
    pub(super) dn: Mat<'t>,
    /// Where the means of rows go for a time, f32 (T), if the norm subtracts them.
    pub(super) means: Option<&'t Tensor>,
}

/// Adds to the gradients of what trains of a norm.
pub(super) fn add_gradients(
    gpu: &Gpu,
    all: &[TrainedNorm],
    (of, back): (NormPlace, NormBackward<'_>),
    gradients: &Tensor,
) -> Result<(), Error> {
    let NormBackward { x, rstd, dn, means } = back;
    for own in all.iter().filter(|own| own.of == of) {
        let to = gradients.strided(own.place, 1, own.len, own.len);
        match (own.part, means) {
            (NormPart::Bias, _) => gpu.bias_gradient(dn, 1.0, to)?,
            (NormPart::Weight, Some(means)) => {
                gpu.layer_norm_weight_gradient((x, means), rstd, dn, to)?;
            }
            (NormPart::Weight, None) => gpu.norm_weight_gradient(x, rstd, dn, to)?,
        }
    }
    Ok(())
}

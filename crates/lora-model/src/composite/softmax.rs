//! What happens to scores: the soft cap, the mask, the softmax.
use candle_core::{D, Device, Result, Tensor};

/// c·tanh(x/c), if there is a c.
pub(super) fn soft_cap(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    match cap {
        Some(cap) => (x / cap)?.tanh()? * cap,
        None => Ok(x),
    }
}

/// The softmax over the keys that a query sees, (B, heads, T, T), as numerators and their sums (B, heads, T, 1): dividing
/// after the product with v is cheaper. `sinks`, of each head (heads), are in the sums alone.
pub(super) fn masked_softmax(
    scores: &Tensor,
    mask: &Tensor,
    sinks: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let largest = scores
        .detach()
        .broadcast_add(mask)?
        .max_keepdim(D::Minus1)?;
    let sinks = sinks
        .map(|sinks| sinks.reshape((1, (), 1, 1))?.broadcast_as(largest.shape()))
        .transpose()?;
    let largest = match &sinks {
        Some(sinks) => largest.maximum(&sinks.detach())?,
        None => largest,
    };
    let shift = largest.neg()?.broadcast_add(mask)?; // mask and shift are constants: one sum in the graph
    let numerators = (scores + shift)?.exp()?;
    let of_keys = numerators.sum_keepdim(D::Minus1)?;
    let sum = match sinks {
        Some(sinks) => (of_keys + (sinks - largest)?.exp()?)?,
        None => of_keys,
    };
    Ok((numerators, sum))
}

/// 0 where key ≤ query and inside the window, −∞ elsewhere, (T, T).
pub(super) fn mask_of(length: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let sees =
        |query: usize, key: usize| key <= query && window.is_none_or(|window| query - key < window);
    let value = |i: usize| {
        if sees(i / length, i % length) {
            0f32
        } else {
            f32::NEG_INFINITY
        }
    };
    Tensor::from_vec(
        (0..length * length).map(value).collect(),
        (length, length),
        device,
    )
}

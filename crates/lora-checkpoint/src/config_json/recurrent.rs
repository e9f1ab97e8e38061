//! Layers that keep a state in place of keys and values: their heads and taps.
use super::value::{Object, size};
use crate::families::{DeltaShape, Facts, RecurrentKind, ShortConv};

/// Heads of layers of Gated DeltaNet, of a family that has such.
pub(super) fn delta(json: &Object, facts: &Facts) -> Result<Option<DeltaShape>, String> {
    let kind = facts.recurrent.as_ref().map(|own| own.kind);
    let Some(RecurrentKind::Delta { shape, .. }) = kind else {
        return Ok(None);
    };
    let [key_heads, value_heads, key_dim, value_dim, taps] = shape
        .named()
        .map(|(key, default)| Ok::<_, String>(size(json, key)?.unwrap_or(default)));
    Ok(Some(DeltaShape {
        key_heads: key_heads?,
        value_heads: value_heads?,
        key_dim: key_dim?,
        value_dim: value_dim?,
        taps: taps?,
    }))
}

/// The convolution of layers that have nothing else, of a family that has such.
pub(super) fn short_conv(json: &Object, facts: &Facts) -> Result<Option<ShortConv>, String> {
    let kind = facts.recurrent.as_ref().map(|own| own.kind);
    let Some(RecurrentKind::ShortConv(usual)) = kind else {
        return Ok(None);
    };
    let taps = size(json, ShortConv::KEY)?.unwrap_or(usual.taps);
    Ok(Some(ShortConv { taps }))
}

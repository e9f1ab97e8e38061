//! Layers behind the decoder's that predict further tokens (llama.cpp's `nextn`, MTP): `block_count` counts them, but they
//! are no part of the decoder.
use super::keys::Keys;
use crate::error::Fault;
use crate::families::Facts;

/// The key that has their number.
const KEY: &str = "nextn_predict_layers";

/// How many there are, of a family whose files can have them; they stay unread.
///
/// # Errors
/// If another family's file has some, which would pass for the decoder's layers.
fn count(keys: &Keys<'_>, facts: &Facts) -> Result<usize, Fault> {
    let count = keys.size(KEY)?.unwrap_or(0);
    if count > 0 && facts.unread_weights.is_empty() {
        let what = format!(
            "{} is {count}: layers that predict further tokens are not supported here",
            keys.name(KEY)
        );
        return Err(Fault::new(what).hint("name a GGUF file of the model without these layers"));
    }
    Ok(count)
}

/// Layers of the decoder.
pub(super) fn decoder_layers(keys: &Keys<'_>, facts: &Facts) -> Result<usize, Fault> {
    let (all, further) = (keys.need("block_count")?, count(keys, facts)?);
    if further > 0 && further >= all {
        return Err(Fault::new(format!(
            "{} is {further} of {all} layers ({}): no layer is left for the decoder",
            keys.name(KEY),
            keys.name("block_count")
        )));
    }
    Ok(all - further)
}

/// Whether a tensor is of the layers behind these many of the decoder.
pub(super) fn has(name: &str, keys: &Keys<'_>, facts: &Facts, layers: usize) -> bool {
    let layer = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'));
    let number = layer.and_then(|(number, _)| number.parse::<usize>().ok());
    let further = count(keys, facts).unwrap_or(0);
    number.is_some_and(|n| n >= layers && n - layers < further)
}

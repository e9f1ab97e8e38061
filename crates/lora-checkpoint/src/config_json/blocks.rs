//! The width of an MLP in blocks: two thirds of a number, times another, rounded up to whole blocks (as transformers' `Lfm2MLP`).
use super::value::{Object, flag, non_null, real, size};

/// A block, where nothing is said.
const BLOCK: usize = 256;

/// The width that the keys make.
pub(super) fn width(json: &Object, default: usize) -> Result<usize, String> {
    // The early name goes before the other.
    let named = match size(json, "block_ff_dim")? {
        Some(early) => early,
        None => size(json, "intermediate_size")?.unwrap_or(default),
    };
    if !flag(json, "block_auto_adjust_ff_dim", true)? {
        return Ok(named);
    }
    // What is too large for this is refused where sizes are checked.
    let width = (named.min(1 << 40) * 2) as f64 / 3.0;
    let key = "block_ffn_dim_multiplier";
    let multiplier = match json.get(key) {
        None => Some(1.0),
        Some(_) => real(json, key)?,
    };
    // null: neither multiplied nor rounded up.
    let Some(multiplier) = multiplier else {
        return Ok(width as usize);
    };
    if !(multiplier.is_finite() && multiplier > 0.0) {
        return Err(format!("{key} is {multiplier}, expected a positive number"));
    }
    let width = (multiplier * width.trunc()) as usize;
    let key = "block_multiple_of";
    match size(json, key)?.unwrap_or(BLOCK) {
        0 => Err(format!("{key} is 0, expected at least 1")),
        block if block > 1 << 28 => Err(format!("{key} is {block}, which is absurdly large")),
        block => Ok(width.min(1 << 40).next_multiple_of(block)),
    }
}

/// Whether the head is the embedding: the early name goes before the other.
pub(super) fn tied(json: &Object, default: bool) -> Result<bool, String> {
    match non_null(json, "tie_embedding") {
        Some(_) => flag(json, "tie_embedding", default),
        None => flag(json, "tie_word_embeddings", default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(json: Value) -> Result<usize, String> {
        match json {
            Value::Object(json) => width(&json, 12_288),
            _ => Err("no object".to_owned()),
        }
    }

    /// As transformers' Lfm2MLP computes them.
    #[test]
    fn widths_of_published_models() {
        assert_eq!(of(json!({"block_ff_dim": 6656})), Ok(4608));
        assert_eq!(
            of(json!({"block_ff_dim": 10_240, "intermediate_size": 7})),
            Ok(6912)
        );
        assert_eq!(of(json!({})), Ok(8192));
        let odd = json!({"intermediate_size": 100, "block_multiple_of": 16, "block_ffn_dim_multiplier": 1.3});
        assert_eq!(of(odd), Ok(96)); // 66, 85, six blocks
        let bare = json!({"intermediate_size": 100, "block_ffn_dim_multiplier": null});
        assert_eq!(of(bare), Ok(66));
        let own = json!({"intermediate_size": 100, "block_auto_adjust_ff_dim": false});
        assert_eq!(of(own), Ok(100));
        assert!(of(json!({"block_multiple_of": 0})).is_err());
        assert!(of(json!({"block_ffn_dim_multiplier": -1.0})).is_err());
        assert!(of(json!({"block_ffn_dim_multiplier": 1e300})).is_ok());
    }
}

//! Are the merged weights the adapted model? The same rows through base + adapter and through what was written.
use crate::inputs::Inputs;
use crate::{Args, Dtype};
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use lora_data::Split;
use lora_model::{Base, Fused, Packed, Route};
use serde_json::{Value, json};
use std::path::Path;

/// Positions of a row that are checked: logits are (T, V), so long rows would cost memory for nothing.
const MOST_TOKENS: usize = 64;

/// What the check saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Check {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    /// Largest |logit of merged − logit of base + adapter|.
    pub(crate) difference: f64,
    /// Largest |logit of base + adapter|.
    pub(crate) largest: f64,
    /// Largest |logit of base + adapter − logit of base|: what the adapter does at all.
    pub(crate) effect: f64,
    /// What rounding to the type explains.
    pub(crate) bound: f64,
}

impl Check {
    /// The receipt's account.
    pub(crate) fn figures(&self) -> Value {
        json!({
            "rows": self.rows,
            "tokens": self.tokens,
            "largest_difference": self.difference,
            "largest_logit": self.largest,
            "adapter_effect": self.effect,
            "bound": self.bound,
        })
    }
}

/// How far two logits may lie apart, relative to the largest one.
///
/// In f32 both ways are the same sums in another order: 1e-3 is generous. In a narrower type every merged weight is
/// off by at most u·|w| (u = half an ulp at 1: 2⁻⁸ for bf16, 2⁻¹¹ for f16), with a sign of its own. So the error of a
/// product is about u/√3 of its size; those of a decoder's 7·L products add up like a random walk on the residual
/// stream, and the largest of some million logits lies about five deviations out: 5/√3 · u · √(7·L), rounded up to 4.
pub(crate) fn relative_bound(dtype: Dtype, layers: usize) -> f64 {
    let walk = 4.0 * (7.0 * layers as f64).sqrt();
    match dtype {
        Dtype::F32 => 1e-3,
        Dtype::F16 => 1e-3 + walk * 2f64.powi(-11),
        Dtype::Bf16 => 1e-3 + walk * 2f64.powi(-8),
    }
}

/// Runs the check; a difference beyond the bound is an error, so that the output is never finished.
pub(crate) fn run(args: &Args, merged: &Path, inputs: &Inputs, ui: &Ui) -> Result<Option<Check>> {
    let rows = rows(args, inputs)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let merged = Base::open(merged)?;
    let progress = ui.progress("check", rows.len() as u64, "rows");
    let layers = inputs.base.checkpoint().config().num_hidden_layers;
    let mut check = Check { rows: rows.len(), tokens: 0, difference: 0.0, largest: 0.0, effect: 0.0, bound: 0.0 };
    for row in &rows {
        ui.check_interrupt()?;
        let labels = vec![lora_data::IGNORE; row.len()];
        let packed = Packed::from_rows([(row.as_slice(), labels.as_slice())]);
        let adapted = logits(&inputs.base, Some(&inputs.adapter), &packed, threads)?;
        let plain = logits(&inputs.base, None, &packed, threads)?;
        let ours = logits(&merged, None, &packed, threads)?;
        check.tokens += row.len();
        check.largest = check.largest.max(adapted.iter().fold(0.0, |most, x| most.max(f64::from(x.abs()))));
        check.difference = check.difference.max(largest_difference(&ours, &adapted));
        check.effect = check.effect.max(largest_difference(&plain, &adapted));
        progress.inc(1);
    }
    drop(progress);
    check.bound = relative_bound(inputs.dtype, layers) * check.largest;
    judge(&check, inputs.dtype, ui)?;
    Ok(Some(check))
}

fn logits(base: &Base, adapter: Option<&Adapter>, packed: &Packed, threads: usize) -> Result<Vec<f32>> {
    let logits = Fused::new(base, threads)?.logits(adapter, packed)?;
    if logits.iter().all(|x| x.is_finite()) {
        return Ok(logits);
    }
    let which = if adapter.is_some() { "base + adapter" } else { "the model" };
    Err(Error::new(format!("the check failed: {which} gives logits that are NaN or infinite")))
}

/// NaN can't occur: [`logits`] refuses it.
fn largest_difference(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).fold(0.0, |most, (x, y)| most.max(f64::from((x - y).abs())))
}

fn judge(check: &Check, dtype: Dtype, ui: &Ui) -> Result<()> {
    let line = format!(
        "largest difference of logits, merged − (base + adapter): {:.2e} over {} rows, {} tokens (bound for {dtype}: \
         {:.2e}; largest logit {:.1}; the adapter itself moves logits by up to {:.2e})",
        check.difference, check.rows, check.tokens, check.bound, check.largest, check.effect
    );
    if check.difference > check.bound {
        return Err(Error::new(format!("the merged model is not base + adapter: {line}"))
            .hint("rounding can't explain it; this is a fault of lora-merge or of the disk: please report it"));
    }
    ui.say(&line);
    if dtype != Dtype::F32 && check.effect > 0.0 && check.difference > 0.5 * check.effect {
        ui.warn(&format!("rounding to {dtype} moves the logits half as far as the adapter or more; --dtype f32 keeps it"));
    }
    Ok(())
}

/// The rows to check: the first of the dataset's split, or pseudo-random ids.
fn rows(args: &Args, inputs: &Inputs) -> Result<Vec<Vec<u32>>> {
    let config = inputs.base.checkpoint().config();
    let Some(data) = &args.data else {
        let length = 32.min(config.max_position_embeddings);
        return Ok((0..args.check_rows).map(|row| synthetic(row, length, config.vocab_size)).collect());
    };
    let split = Split::read(data, &args.split)?;
    if let Ok(bundle) = inputs.base.checkpoint().tokenizer() {
        split.check_tokenizer(&bundle.sha256, data)?;
    }
    let mut rows: Vec<Vec<u32>> = split.examples.into_iter().map(|row| row.input_ids).take(args.check_rows).collect();
    for row in &mut rows {
        row.truncate(MOST_TOKENS);
        if let Some(id) = row.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(Error::new(format!("{} holds id {id}, but the base has {} tokens", data.display(), config.vocab_size)));
        }
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

/// Ids that differ from row to row and from place to place (splitmix64), the same on every machine.
fn synthetic(row: usize, length: usize, vocab_size: usize) -> Vec<u32> {
    let id = |place: usize| {
        let mut z = ((row * length + place) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % vocab_size as u64) as u32
    };
    (0..length).map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_rows_are_valid_ids_and_differ() {
        let (first, second) = (synthetic(0, 32, 160), synthetic(1, 32, 160));
        assert_eq!(first, synthetic(0, 32, 160));
        assert_ne!(first, second);
        assert!(first.iter().chain(&second).all(|&id| id < 160));
    }

    #[test]
    fn a_narrower_type_may_differ_more() {
        assert!(relative_bound(Dtype::F32, 30) < relative_bound(Dtype::F16, 30));
        assert!(relative_bound(Dtype::F16, 30) < relative_bound(Dtype::Bf16, 30));
    }
}

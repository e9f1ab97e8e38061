//! Are the merged weights the adapted model? The same rows through base + adapter and through what was written.
mod along_effect;
mod routes;

use crate::args::SPLIT;
use crate::inputs::Inputs;
use crate::weights::Moved;
use crate::{Args, Dtype};
use along_effect::AlongEffect;
use lora_cli::{Error, Result, Ui};
use lora_data::{Split, split_name};
use lora_model::{Base, Packed};
use routes::{OfRow, Routes};
use serde_json::{Value, json};
use std::path::Path;

/// Positions of a row that are checked: logits are (T, V), so long rows would cost memory for nothing.
const MOST_TOKENS: usize = 64;

/// The kept share of the adapter's effect may be off by this, and by these standard errors.
const KEPT_TOLERANCE: f64 = 0.02;
const STANDARD_ERRORS: f64 = 5.0;

/// An effect on the logits below this share of the largest one is f32's own rounding (32 units in the last place): an adapter
/// that does no more has nothing that could be lost.
const NOISE: f64 = 32.0 * f32::EPSILON as f64;

/// A merge whose weights keep less of the adapter's change than this is warned of.
const LITTLE_KEPT: f64 = 0.9;

/// What the check saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Check {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    /// Largest |logit of merged − logit of base + adapter|.
    pub(crate) difference: f64,
    /// Tokens for which the merged model would have chosen other experts than base + adapter; it is sent to the same.
    pub(crate) elsewhere: usize,
    /// Largest |logit of base + adapter|.
    pub(crate) largest: f64,
    /// Largest |logit of base + adapter − logit of base|: what the adapter does at all.
    pub(crate) effect: f64,
    /// What rounding to the type explains.
    pub(crate) bound: f64,
    /// Share of the adapter's change that rounding left in the weights, and its least and most in a single module.
    pub(crate) weights_kept: f64,
    pub(crate) weights_range: (f64, f64),
    /// Share of the adapter's effect on the logits that the merged model has: 1, but for rounding.
    pub(crate) kept: f64,
    /// Its standard error, from the part of the difference that is not along the adapter's effect.
    pub(crate) kept_error: f64,
    /// Where it was computed: `cpu`, or a card's name.
    pub(crate) device: String,
}

/// Refuses flags that no check reads.
pub(crate) fn check_arguments(args: &Args) -> Result<()> {
    let unused = |flag: &str, why: &str, hint: &str| {
        Err(Error::new(format!("{flag} has no effect {why}")).hint(hint))
    };
    match (&args.data, args.check_rows) {
        (Some(_), 0) => unused(
            "--data",
            "with --check-rows 0: no row is checked",
            "leave one of them out",
        ),
        (None, _) if args.split != SPLIT => {
            unused("--split", "without --data", "name the dataset: --data DIR")
        }
        _ => Ok(()),
    }
}

impl Check {
    fn add(&mut self, of_row: &OfRow, tokens: usize) {
        let OfRow {
            plain,
            adapted,
            merged,
            elsewhere,
        } = of_row;
        let largest = adapted.iter().map(|x| f64::from(x.abs()));
        self.tokens += tokens;
        self.elsewhere += elsewhere;
        self.largest = largest.fold(self.largest, f64::max);
        self.difference = self.difference.max(largest_difference(merged, adapted));
        self.effect = self.effect.max(largest_difference(plain, adapted));
    }

    /// The receipt's account.
    pub(crate) fn figures(&self) -> Value {
        json!({
            "rows": self.rows,
            "tokens": self.tokens,
            "largest_difference": self.difference,
            "tokens_of_other_experts": self.elsewhere,
            "largest_logit": self.largest,
            "adapter_effect": self.effect,
            "bound": self.bound,
            "weights_kept": self.weights_kept,
            "kept": self.kept,
            "kept_error": self.kept_error,
            "device": self.device,
        })
    }
}

/// How far two logits may lie apart, relative to the largest one.
///
/// In f32 both ways are the same sums in another order: 1e-3 is generous. In a narrower type every merged weight is
/// off by at most u·|w| (u = half an ulp at 1: 2⁻⁸ for bf16, 2⁻¹¹ for f16), with a sign of its own, so the errors of
/// a decoder's 7·L products add up like a random walk: u · √(7·L). Random decoders stay at 0.7 times that, trained ones
/// at 0.1 times; twice is allowed. What blocks round is measured: `rounded` is the root mean square of that, relative to
/// the weights; the most of evenly spread errors is √3 times as much. This is the coarse sieve, for broken files;
/// [`AlongEffect`] is the fine one.
pub(crate) fn relative_bound(dtype: Dtype, layers: usize, rounded: f64) -> f64 {
    let walk = 2.0 * (7.0 * layers as f64).sqrt();
    match dtype {
        Dtype::Base => 1e-3 + walk * 3f64.sqrt() * rounded,
        Dtype::F32 => 1e-3,
        Dtype::F16 => 1e-3 + walk * 2f64.powi(-11),
        Dtype::Bf16 => 1e-3 + walk * 2f64.powi(-8),
    }
}

/// Runs the check; a difference beyond the bound is an error, so that the output is never finished.
pub(crate) fn run(
    args: &Args,
    merged: &Path,
    inputs: &Inputs,
    moved: &Moved,
    ui: &Ui,
) -> Result<Option<Check>> {
    let rows = rows(args, inputs)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let merged = Base::open(merged)?;
    let mut routes = Routes::open(args, inputs, &merged, ui)?;
    let progress = ui.progress("check", rows.len() as u64, "rows");
    let layers = inputs.base.checkpoint().config().num_hidden_layers;
    let (weights_kept, weights_range) = (moved.kept(), moved.kept_range());
    let mut check = Check {
        rows: rows.len(),
        weights_kept,
        weights_range,
        device: routes.device.clone(),
        ..Check::default()
    };
    let mut along = AlongEffect::default();
    for row in &rows {
        ui.check_interrupt()?;
        let labels = vec![lora_data::IGNORE; row.len()];
        let packed = Packed::from_rows([(row.as_slice(), labels.as_slice())]);
        let of_row = routes.row(&inputs.adapter, &packed)?;
        check.add(&of_row, row.len());
        along.add(&of_row.merged, &of_row.adapted, &of_row.plain);
        progress.inc(1);
    }
    drop(progress);
    (check.kept, check.kept_error) = along.kept(check.tokens);
    // What rounding swallowed of a module's change is missing in the logits as well.
    check.bound = relative_bound(inputs.dtype, layers, moved.rounding()) * check.largest
        + (1.0 - weights_range.0) * check.effect;
    judge(&check, inputs.dtype, ui)?;
    Ok(Some(check))
}

/// NaN can't occur: [`Routes::row`] refuses it.
fn largest_difference(left: &[f32], right: &[f32]) -> f64 {
    left.iter()
        .zip(right)
        .fold(0.0, |most, (x, y)| most.max(f64::from((x - y).abs())))
}

fn judge(check: &Check, dtype: Dtype, ui: &Ui) -> Result<()> {
    let sent = match check.elsewhere {
        0 => String::new(),
        some => format!(", {some} of them sent to the experts that base + adapter chose"),
    };
    let line = format!(
        "largest difference of logits, merged − (base + adapter): {:.2e} over {} rows, {} tokens{sent} (bound for {dtype}: \
         {:.2e}; largest logit {:.1}); the merged model keeps {:.1} ± {:.1} % of the adapter's effect, up to {:.2e}",
        check.difference,
        check.rows,
        check.tokens,
        check.bound,
        check.largest,
        100.0 * check.kept,
        100.0 * check.kept_error,
        check.effect
    );
    let (least, most) = check.weights_range;
    let slack = KEPT_TOLERANCE + STANDARD_ERRORS * check.kept_error;
    let acts = check.effect > NOISE * check.largest;
    let lost = acts && (check.kept < least - slack || check.kept > most + slack);
    if check.difference > check.bound || lost {
        return Err(Error::new(format!("the merged model is not base + adapter: {line}"))
            .hint("rounding can't explain it; this is a fault of lora-merge or of the disk: please report it"));
    }
    ui.say(&line);
    if check.weights_kept < LITTLE_KEPT {
        let kept = 100.0 * check.weights_kept;
        let more = dtype.keeps_more();
        ui.warn(&format!(
            "rounding to {dtype} keeps only {kept:.0} % of the adapter's change; {more}"
        ));
    }
    Ok(())
}

/// The rows to check: the first of the dataset's split, or pseudo-random ids.
fn rows(args: &Args, inputs: &Inputs) -> Result<Vec<Vec<u32>>> {
    let config = inputs.base.checkpoint().config();
    let Some(data) = &args.data else {
        let length = 32.min(config.max_position_embeddings);
        return Ok((0..args.check_rows)
            .map(|row| synthetic(row, length, config.vocab_size))
            .collect());
    };
    split_name(data, &args.split, SPLIT)?;
    let split = Split::read(data, &args.split)?;
    if let Ok(bundle) = inputs.base.checkpoint().tokenizer() {
        split.check_tokenizer_of(&bundle, data)?;
    }
    split.check_vocabulary(config.vocab_size, data)?;
    let mut rows: Vec<Vec<u32>> = split
        .examples
        .into_iter()
        .map(|row| row.input_ids)
        .take(args.check_rows)
        .collect();
    rows.iter_mut().for_each(|row| row.truncate(MOST_TOKENS));
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
mod tests;

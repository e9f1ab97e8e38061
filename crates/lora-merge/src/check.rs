//! Are the merged weights the adapted model? The same rows through base + adapter and through what was written.
use crate::inputs::Inputs;
use crate::weights::Moved;
use crate::{Args, Dtype};
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use lora_data::Split;
use lora_gpu::Precision;
use lora_model::{Base, Fused, OnGpu, Packed, Route};
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

/// One token of so many may differ by more than rounding does in a mixture of experts: near a tie, rounding sends it to
/// another expert. A fault of the merge is in all of them.
const OTHER_EXPERTS: usize = 8;

/// What the check saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Check {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    /// Largest |logit of merged − logit of base + adapter|.
    pub(crate) difference: f64,
    /// Tokens that differ by more than the bound, and how many may: see [`OTHER_EXPERTS`].
    pub(crate) beyond: usize,
    pub(crate) may_be_beyond: usize,
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

impl Check {
    /// The receipt's account.
    pub(crate) fn figures(&self) -> Value {
        json!({
            "rows": self.rows,
            "tokens": self.tokens,
            "largest_difference": self.difference,
            "tokens_beyond_bound": self.beyond,
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

/// The difference d = merged − adapted against the adapter's effect e = adapted − base, summed over all logits.
///
/// A merge with the wrong scaling or without one of its modules differs along e. Rounding does so only as far as it
/// swallows small changes, and how far that is, is known from the weights. So 1 + Σde/Σee is what the weights kept, up
/// to its error, which is taken from what is left of d, with the tokens as independent samples.
#[derive(Debug, Clone, Copy, Default)]
struct AlongEffect {
    ee: f64,
    de: f64,
    dd: f64,
}

impl AlongEffect {
    fn add(&mut self, merged: &[f32], adapted: &[f32], plain: &[f32]) {
        for ((&m, &a), &p) in merged.iter().zip(adapted).zip(plain) {
            let (d, e) = (f64::from(m - a), f64::from(a - p));
            self.ee += e * e;
            self.de += d * e;
            self.dd += d * d;
        }
    }

    /// Kept share and its standard error; an adapter without effect has nothing to keep.
    fn kept(&self, tokens: usize) -> (f64, f64) {
        if self.ee == 0.0 {
            return (1.0, 0.0);
        }
        let along = self.de / self.ee;
        let rest = (self.dd / self.ee - along * along).max(0.0);
        (1.0 + along, (rest / tokens as f64).sqrt())
    }
}

/// The ways through base and merged model. A GPU computes in f32 here, too: bfloat16 would hide what is looked for.
struct Routes<'b> {
    base: Box<dyn Route + 'b>,
    merged: Box<dyn Route + 'b>,
    device: String,
}

impl<'b> Routes<'b> {
    fn open(args: &Args, inputs: &'b Inputs, merged: &'b Base, ui: &Ui) -> Result<Self> {
        let on_gpu = args.device.open(ui, |ordinal| {
            let gpu = lora_gpu::cuda(ordinal, Precision::F32)?;
            let adapter = std::iter::once(&inputs.adapter);
            Ok(Self {
                base: Box::new(OnGpu::for_adapters(&inputs.base, gpu.clone(), adapter)?),
                merged: Box::new(OnGpu::new(merged, gpu.clone(), None)?),
                device: gpu.identity().name.clone(),
            })
        })?;
        if let Some(routes) = on_gpu {
            ui.say(&format!("device of the check: {}", routes.device));
            return Ok(routes);
        }
        let threads = args.threads.unwrap_or_else(lora_cli::cores);
        Ok(Self {
            base: Box::new(Fused::new(&inputs.base, threads)?),
            merged: Box::new(Fused::new(merged, threads)?),
            device: "cpu".to_owned(),
        })
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
    let mut of_tokens = Vec::new();
    for row in &rows {
        ui.check_interrupt()?;
        let labels = vec![lora_data::IGNORE; row.len()];
        let packed = Packed::from_rows([(row.as_slice(), labels.as_slice())]);
        let adapted = logits(&mut *routes.base, Some(&inputs.adapter), &packed)?;
        let plain = logits(&mut *routes.base, None, &packed)?;
        let ours = logits(&mut *routes.merged, None, &packed)?;
        check.tokens += row.len();
        check.largest = check.largest.max(
            adapted
                .iter()
                .fold(0.0, |most, x| most.max(f64::from(x.abs()))),
        );
        let vocabulary = adapted.len() / row.len();
        let tokens = ours.chunks(vocabulary).zip(adapted.chunks(vocabulary));
        of_tokens.extend(tokens.map(|(ours, adapted)| largest_difference(ours, adapted)));
        check.effect = check.effect.max(largest_difference(&plain, &adapted));
        along.add(&ours, &adapted, &plain);
        progress.inc(1);
    }
    drop(progress);
    check.difference = of_tokens.iter().copied().fold(0.0, f64::max);
    (check.kept, check.kept_error) = along.kept(check.tokens);
    // What rounding swallowed of a module's change is missing in the logits as well.
    check.bound = relative_bound(inputs.dtype, layers, moved.rounding()) * check.largest
        + (1.0 - weights_range.0) * check.effect;
    check.beyond = of_tokens.iter().filter(|&&d| d > check.bound).count();
    if inputs.base.checkpoint().config().experts.is_some() {
        check.may_be_beyond = check.tokens / OTHER_EXPERTS;
    }
    judge(&check, inputs.dtype, ui)?;
    Ok(Some(check))
}

fn logits(route: &mut dyn Route, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<f32>> {
    let logits = route.logits(adapter, packed)?;
    if logits.iter().all(|x| x.is_finite()) {
        return Ok(logits);
    }
    let which = if adapter.is_some() {
        "base + adapter"
    } else {
        "the model"
    };
    Err(Error::new(format!(
        "the check failed: {which} gives logits that are NaN or infinite"
    )))
}

/// NaN can't occur: [`logits`] refuses it.
fn largest_difference(left: &[f32], right: &[f32]) -> f64 {
    left.iter()
        .zip(right)
        .fold(0.0, |most, (x, y)| most.max(f64::from((x - y).abs())))
}

fn judge(check: &Check, dtype: Dtype, ui: &Ui) -> Result<()> {
    let of_some = match check.beyond {
        0 => String::new(),
        some => format!(", in {some} tokens beyond the bound"),
    };
    let line = format!(
        "largest difference of logits, merged − (base + adapter): {:.2e}{of_some} over {} rows, {} tokens (bound for {dtype}: \
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
    if check.beyond > check.may_be_beyond || lost {
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

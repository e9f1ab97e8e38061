//! The merged values of a tensor, rows at a time, which the writer rounds once: f32(W) + s·B·A, with DoRA times m/‖W + s·B·A‖,
//! or what stands in the tensor's place; bias + s·(bias on B).
use crate::Dtype;
use half::{bf16, f16};
use lora_checkpoint::{Checkpoint, ModelConfig};
use lora_cli::{Error, Result};
use lora_core::{Adapter, add_delta};
use lora_model::Base;
use lora_model::spec::{ExpertPart, part_of};

/// How far the weights that carry an adapter moved.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moved {
    /// Values in these weights.
    pub(crate) values: u64,
    /// Of those, changed by s·B·A in f32.
    pub(crate) in_f32: u64,
    /// Of those, different from the base's value after both are rounded to the output type.
    pub(crate) rounded: u64,
    /// By module of the adapter.
    kept: Vec<Kept>,
}

/// The change of a module's weights after rounding, W' − W, against the change before it, δ.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Kept {
    /// Σ δ·(W' − W).
    along: f64,
    /// Σ δ².
    whole: f64,
    /// Σ (W' − W − δ)²: what rounding changed.
    off: f64,
    /// Σ (W + δ)².
    square: f64,
}

impl Moved {
    /// Share of δ that rounding left, Σ δ·(W' − W) ÷ Σ δ², over all modules: a base that lies on the output's grid
    /// swallows what is below half an ulp.
    pub(crate) fn kept(&self) -> f64 {
        let sum = |part: fn(&Kept) -> f64| self.kept.iter().map(part).sum::<f64>();
        let whole = sum(|kept| kept.whole);
        if whole > 0.0 {
            sum(|kept| kept.along) / whole
        } else {
            1.0
        }
    }

    /// Root mean square of what rounding changed, relative to the weights, where that is most.
    pub(crate) fn rounding(&self) -> f64 {
        let shares = self
            .kept
            .iter()
            .filter(|kept| kept.square > 0.0)
            .map(|kept| (kept.off / kept.square).sqrt());
        shares.fold(0.0, f64::max)
    }

    /// The least and the most of that share in a single module; 1 is always within.
    pub(crate) fn kept_range(&self) -> (f64, f64) {
        let shares = self
            .kept
            .iter()
            .filter(|kept| kept.whole > 0.0)
            .map(|kept| kept.along / kept.whole);
        shares.fold((1.0, 1.0), |(least, most), share| {
            (share.min(least), share.max(most))
        })
    }
}

/// Adds the adapter to the base's weights as they pass, some rows at a time.
pub(crate) struct Merger<'a> {
    config: &'a ModelConfig,
    adapter: &'a Adapter,
    dtype: Dtype,
    /// The last rows before the merge, after it, and the place in `moved` of what changed them.
    before: Vec<f32>,
    merged: Vec<f32>,
    changed_by: Option<usize>,
    /// DoRA's factor of each output, by module.
    gains: Vec<Option<Vec<f32>>>,
    /// Gathered over all rows so far.
    pub(crate) moved: Moved,
}

impl<'a> Merger<'a> {
    /// For an output in `dtype`.
    ///
    /// # Errors
    /// If a weight that DoRA's norms need can't be read.
    pub(crate) fn new(base: &'a Base, adapter: &'a Adapter, dtype: Dtype) -> Result<Self> {
        let tensors = adapter.modules.len() + adapter.trained.len() + adapter.rows.len();
        let moved = Moved {
            kept: vec![Kept::default(); tensors],
            ..Moved::default()
        };
        let gains = (0..adapter.modules.len())
            .map(|index| adapter.dora_gains(base, index))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config: base.config(),
            adapter,
            dtype,
            before: Vec::new(),
            merged: Vec::new(),
            changed_by: None,
            gains,
            moved,
        })
    }

    /// Whether the adapter changes a weight.
    pub(crate) fn changes(&self, name: &str) -> bool {
        let module = |suffix: &str| {
            Some(&self.adapter.modules[self.adapter.find(name.strip_suffix(suffix)?)?])
        };
        self.adapter.trained.iter().any(|t| t.tensor == name)
            || self.rows_of(name).is_some()
            || module(".weight").is_some()
            || self.of_mixture(name).is_some()
            || module(".bias").is_some_and(|module| module.lora_bias.is_some())
    }

    /// The module of the adapter that a router's or an expert's weight is a part of, and which part.
    fn of_mixture(&self, name: &str) -> Option<(usize, ExpertPart)> {
        let part = part_of(self.config, name)?;
        Some((self.adapter.find(&part.path)?, part))
    }

    /// The rows of a weight that train alone, by their number among the adapter's.
    fn rows_of(&self, name: &str) -> Option<usize> {
        let path = name.strip_suffix(".weight")?;
        self.adapter.rows.iter().position(|own| own.are_of(path))
    }

    /// Values of the weights that change.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub(crate) fn values(&self, base: &Checkpoint) -> Result<u64> {
        let names = base.tensor_names();
        let changing = names.iter().filter(|name| self.changes(name));
        changing
            .map(|name| Ok(base.tensor(name)?.len() as u64))
            .sum()
    }

    /// Merges rows `first..` of the tensor `name`, in f32; the writer rounds. Refuses what can't be written.
    pub(crate) fn edit(&mut self, name: &str, first: usize, rows: &mut [f32]) -> Result<()> {
        self.merge(name, first, rows)?;
        let dtype = self.dtype;
        if self.changed_by.is_some() {
            let rounded: Vec<f32> = rows.iter().map(|&value| round(value, dtype)).collect();
            self.count(&rounded, |before| round(before, dtype));
        }
        if rows.iter().all(|&value| round(value, dtype).is_finite()) {
            return Ok(());
        }
        Err(
            Error::new(format!("{name}: a merged value is too large for {dtype}"))
                .hint("choose a type with a larger range: --dtype bf16 or f32"),
        )
    }

    /// Merges rows `first..` of the tensor `name`, in f32; what they are rounded to is another's business.
    pub(crate) fn merge(&mut self, name: &str, first: usize, rows: &mut [f32]) -> Result<()> {
        if !rows.iter().all(|value| value.is_finite()) {
            return Err(
                Error::new(format!("{name} of the base holds NaN or infinite values"))
                    .hint("was the file damaged, or its training broken?"),
            );
        }
        self.before.clear();
        self.before.extend_from_slice(rows);
        self.changed_by = self.add(name, first, rows);
        self.merged.clear();
        self.merged.extend_from_slice(rows);
        Ok(())
    }

    /// Counts what was stored of the rows that were merged last, in the base's own types.
    pub(crate) fn count_stored(&mut self, stored: &[f32]) {
        self.count(stored, |before| before);
    }

    /// The merged values; the place in `moved` of what changed them.
    fn add(&self, name: &str, first: usize, rows: &mut [f32]) -> Option<usize> {
        let adapter = self.adapter;
        let whole = adapter.trained.iter().position(|t| t.tensor == name);
        if let Some(tensor) = whole.map(|index| &adapter.trained[index]) {
            let columns = tensor.shape.last().copied().unwrap_or(1);
            let start = tensor.range.start + first * columns;
            rows.copy_from_slice(&adapter.params[start..start + rows.len()]);
        }
        if let Some(index) = self.rows_of(name) {
            let own = &adapter.rows[index];
            let changed = own.put(&adapter.params[own.range.clone()], first, rows);
            return changed.then(|| adapter.modules.len() + adapter.trained.len() + index);
        }
        if let Some((index, part)) = self.of_mixture(name) {
            let module = &adapter.modules[index];
            let (a, b) = adapter.factors_of(index, part.expert);
            let first = part.rows.start + first;
            add_delta(rows, first, a, b, module.rank, module.scaling);
            return Some(index);
        }
        let of_whole = whole.map(|index| adapter.modules.len() + index);
        if let Some(index) = name
            .strip_suffix(".bias")
            .and_then(|path| adapter.find(path))
        {
            let module = &adapter.modules[index];
            let Some(bias) = &module.lora_bias else {
                return of_whole;
            };
            let bias = &adapter.params[bias.clone()];
            rows.iter_mut()
                .zip(bias)
                .for_each(|(y, b)| *y += module.scaling * b);
            return Some(index);
        }
        let Some(index) = name
            .strip_suffix(".weight")
            .and_then(|path| adapter.find(path))
        else {
            return of_whole;
        };
        let module = &adapter.modules[index];
        module.add_delta(rows, first, adapter.factors(index));
        if let Some(gain) = &self.gains[index] {
            let columns = module.weight_shape()[1];
            for (i, row) in rows.chunks_exact_mut(columns).enumerate() {
                if module.is_embedding() {
                    row.iter_mut().zip(gain).for_each(|(y, g)| *y *= g);
                } else {
                    row.iter_mut().for_each(|y| *y *= gain[first + i]);
                }
            }
        }
        Some(index)
    }

    /// Counts how far the last rows moved; `stored` is what they were rounded to, `as_base` what the base's would be.
    fn count(&mut self, stored: &[f32], as_base: impl Fn(f32) -> f32) {
        let Some(index) = self.changed_by else {
            return;
        };
        self.moved.values += stored.len() as u64;
        let kept = &mut self.moved.kept[index];
        let merged = self.merged.iter().zip(&self.before);
        for (&stored, (&merged, &before)) in stored.iter().zip(merged) {
            let delta = f64::from(merged - before);
            kept.along += delta * f64::from(stored - before);
            kept.whole += delta * delta;
            kept.off += f64::from(stored - merged).powi(2);
            kept.square += f64::from(merged).powi(2);
            self.moved.in_f32 += u64::from(merged != before);
            self.moved.rounded += u64::from(stored != as_base(before));
        }
    }
}

/// The nearest value of the type, ties to even.
pub(crate) fn round(value: f32, dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F32 | Dtype::Base => value,
        Dtype::Bf16 => bf16::from_f32(value).to_f32(),
        Dtype::F16 => f16::from_f32(value).to_f32(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_ties_to_even() {
        let ulp = 2f32.powi(-7); // of bf16 in [1, 2)
        assert_eq!(round(1.0 + 0.49 * ulp, Dtype::Bf16), 1.0);
        assert_eq!(round(1.0 + 0.5 * ulp, Dtype::Bf16), 1.0);
        assert_eq!(round(1.0 + 0.51 * ulp, Dtype::Bf16), 1.0 + ulp);
        assert_eq!(round(1.0 + 1.5 * ulp, Dtype::Bf16), 1.0 + 2.0 * ulp);
        assert_eq!(round(70000.0, Dtype::F16), f32::INFINITY);
        assert_eq!(round(0.1, Dtype::F32), 0.1);
    }
}

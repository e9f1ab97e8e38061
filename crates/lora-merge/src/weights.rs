//! The merged values of a tensor, rows at a time, which the writer rounds once: f32(W) + s·B·A, with DoRA times m/‖W + s·B·A‖,
//! or what stands in the tensor's place; bias + s·(bias on B).
use crate::Dtype;
use half::{bf16, f16};
use lora_cli::{Error, Result};
use lora_core::{Adapter, BaseModel};

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
    adapter: &'a Adapter,
    dtype: Dtype,
    before: Vec<f32>,
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
    pub(crate) fn new(base: &impl BaseModel, adapter: &'a Adapter, dtype: Dtype) -> Result<Self> {
        let tensors = adapter.modules.len() + adapter.trained.len();
        let moved = Moved {
            kept: vec![Kept::default(); tensors],
            ..Moved::default()
        };
        let gains = (0..adapter.modules.len())
            .map(|index| adapter.dora_gains(base, index))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            adapter,
            dtype,
            before: Vec::new(),
            gains,
            moved,
        })
    }

    /// Merges rows `first..` of the tensor `name`, in f32; the writer rounds. Refuses what can't be written.
    pub(crate) fn edit(&mut self, name: &str, first: usize, rows: &mut [f32]) -> Result<()> {
        if !rows.iter().all(|value| value.is_finite()) {
            return Err(
                Error::new(format!("{name} of the base holds NaN or infinite values"))
                    .hint("was the file damaged, or its training broken?"),
            );
        }
        self.before.clear();
        self.before.extend_from_slice(rows);
        if let Some(index) = self.merge(name, first, rows) {
            self.count(index, rows);
        }
        if rows
            .iter()
            .all(|&value| round(value, self.dtype).is_finite())
        {
            return Ok(());
        }
        Err(Error::new(format!(
            "{name}: a merged value is too large for {}",
            self.dtype
        ))
        .hint("choose a type with a larger range: --dtype bf16 or f32"))
    }

    /// The merged values; the place in `moved` of what changed them.
    fn merge(&self, name: &str, first: usize, rows: &mut [f32]) -> Option<usize> {
        let adapter = self.adapter;
        let whole = adapter.trained.iter().position(|t| t.tensor == name);
        if let Some(tensor) = whole.map(|index| &adapter.trained[index]) {
            let columns = tensor.shape.last().copied().unwrap_or(1);
            let start = tensor.range.start + first * columns;
            rows.copy_from_slice(&adapter.params[start..start + rows.len()]);
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

    fn count(&mut self, index: usize, rows: &[f32]) {
        self.moved.values += rows.len() as u64;
        let kept = &mut self.moved.kept[index];
        for (&value, &before) in rows.iter().zip(&self.before) {
            let rounded = round(value, self.dtype);
            let delta = f64::from(value - before);
            kept.along += delta * f64::from(rounded - before);
            kept.whole += delta * delta;
            self.moved.in_f32 += u64::from(value != before);
            self.moved.rounded += u64::from(rounded != round(before, self.dtype));
        }
    }
}

/// The nearest value of the type, ties to even.
pub(crate) fn round(value: f32, dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F32 => value,
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

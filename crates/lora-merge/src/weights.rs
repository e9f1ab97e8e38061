//! The merged values of one weight, rows at a time: W' = round(f32(W) + s·B·A), rounded once.
use crate::Dtype;
use half::{bf16, f16};
use lora_checkpoint::TensorView;
use lora_cli::{Error, Result};
use lora_core::{Adapter, add_delta};

/// How far the weights that carry an adapter moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Values in these weights.
    pub(crate) values: u64,
    /// Of those, changed by s·B·A in f32.
    pub(crate) in_f32: u64,
    /// Of those, different from the base's value after both are rounded to the output type.
    pub(crate) rounded: u64,
}

impl Moved {
    pub(crate) fn add(&mut self, other: Self) {
        self.values += other.values;
        self.in_f32 += other.in_f32;
        self.rounded += other.rounded;
    }
}

/// One weight of the merged model: the base's, with the adapter's part if its module has one.
pub(crate) struct MergedTensor<'a> {
    view: TensorView<'a>,
    adapter: &'a Adapter,
    module: Option<usize>,
    dtype: Dtype,
    before: Vec<f32>,
    /// Gathered over the rows read so far.
    pub(crate) moved: Moved,
}

impl<'a> MergedTensor<'a> {
    /// The weight in `view`, whose name decides whether an adapter belongs to it.
    pub(crate) fn new(view: TensorView<'a>, adapter: &'a Adapter, dtype: Dtype) -> Self {
        let module = view.name().strip_suffix(".weight").and_then(|path| adapter.find(path));
        Self { view, adapter, module, dtype, before: Vec::new(), moved: Moved::default() }
    }

    /// Reads the merged rows `first..` into `out` (whole rows); each value is one that the output type can hold.
    pub(crate) fn read_rows(&mut self, first: usize, out: &mut [f32]) -> Result<()> {
        self.view.read_rows(first, out);
        if !out.iter().all(|value| value.is_finite()) {
            return Err(Error::new(format!("{} of the base holds NaN or infinite values", self.view.name()))
                .hint("was the file damaged, or its training broken?"));
        }
        match self.module {
            Some(index) => self.add(index, first, out),
            None => out.iter_mut().for_each(|value| *value = round(*value, self.dtype)),
        }
        if out.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        let message = format!("{}: a merged value is too large for {}", self.view.name(), self.dtype);
        Err(Error::new(message).hint("choose a type with a larger range: --dtype bf16 or f32"))
    }

    fn add(&mut self, index: usize, first: usize, out: &mut [f32]) {
        self.before.clear();
        self.before.extend_from_slice(out);
        let module = &self.adapter.modules[index];
        let (a, b) = self.adapter.factors(index);
        add_delta(out, first, a, b, module.rank, module.scaling);
        self.moved.values += out.len() as u64;
        for (value, before) in out.iter_mut().zip(&self.before) {
            self.moved.in_f32 += u64::from(value != before);
            *value = round(*value, self.dtype);
            self.moved.rounded += u64::from(*value != round(*before, self.dtype));
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

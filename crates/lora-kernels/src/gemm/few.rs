//! A few rows through a weight, as in generation: each row of the weight is widened once and used at once, unpacked.
use crate::linear::Rows;
use crate::shared::SharedMut;
use crate::vector::dot;
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows up to which this is faster than packing the weight.
pub(crate) const FEW: usize = 12;

/// Rows of the weight that a thread takes at once.
const OUTPUTS: usize = 32;

thread_local! {
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// y (T, out) = x (T, in) · Wᵀ, or y += with `accumulate`.
pub(crate) fn few_rows(w: &dyn Rows, x: &[f32], tokens: usize, y: &mut [f32], accumulate: bool) {
    let (out, inn) = (w.rows(), w.columns());
    assert!(
        x.len() == tokens * inn && y.len() >= tokens * out,
        "few_rows: shapes don't fit"
    );
    let y = SharedMut::new(y);
    (0..out.div_ceil(OUTPUTS)).into_par_iter().for_each(|task| {
        ROW.with_borrow_mut(|row| {
            row.resize(row.len().max(inn), 0.0);
            for output in task * OUTPUTS..out.min((task + 1) * OUTPUTS) {
                let weights = match w.as_f32() {
                    Some(values) => &values[output * inn..(output + 1) * inn],
                    None => {
                        w.read_part(output, 0, &mut row[..inn]);
                        &row[..inn]
                    }
                };
                for (t, x) in x.chunks_exact(inn).enumerate() {
                    // SAFETY: each output belongs to one task.
                    let to = unsafe { &mut y.part(t * out + output, 1)[0] };
                    let value = dot(weights, x);
                    *to = if accumulate { *to + value } else { value };
                }
            }
        });
    });
}

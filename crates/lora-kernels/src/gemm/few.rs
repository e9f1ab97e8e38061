//! One row through a weight, as in generation: each row of the weight is widened and used at once, unpacked.
use crate::matrix::{Mat, Place, Write};
use crate::rows::Rows;
use crate::shared::SharedMut;
use crate::vector::dot;
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows up to which this is faster than packing the weight: two cost hardly more than one, packed.
pub(crate) const FEW: usize = 1;

/// Rows of the weight that a thread takes at once.
const OUTPUTS: usize = 32;

thread_local! {
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// x (T, in) · Wᵀ goes to its place (T, out).
///
/// # Panics
/// If the shapes do not fit, or x is not dense.
pub(crate) fn few_rows(weight: &dyn Rows, x: Mat<'_>, to: Place<'_>) {
    let (out_features, in_features) = (to.columns(), x.columns());
    assert!(
        (weight.rows(), weight.columns()) == (out_features, in_features) && x.rows() == to.rows(),
        "few_rows: ({}, {out_features}) = ({}, {in_features}) · ({}, {})ᵀ",
        to.rows(),
        x.rows(),
        weight.rows(),
        weight.columns()
    );
    assert!(
        x.row_stride() == in_features && x.column_stride() == 1,
        "few_rows: x is not dense"
    );
    let write = to.write();
    let to = SharedMut::new(to.into_values());
    let tasks = out_features.div_ceil(OUTPUTS);
    (0..tasks).into_par_iter().for_each(|task| {
        ROW.with_borrow_mut(|row| {
            row.resize(row.len().max(in_features), 0.0);
            for output in task * OUTPUTS..out_features.min((task + 1) * OUTPUTS) {
                let weights = match weight.as_f32() {
                    Some(values) => &values[output * in_features..(output + 1) * in_features],
                    None => {
                        weight.read_part(output, 0, &mut row[..in_features]);
                        &row[..in_features]
                    }
                };
                for (t, x) in x.values().chunks_exact(in_features).enumerate() {
                    let value = dot(weights, x);
                    // SAFETY: each output belongs to one task.
                    let to = unsafe { &mut to.part(task, t * out_features + output, 1)[0] };
                    *to = match write {
                        Write::Replace => value,
                        Write::Add => *to + value,
                    };
                }
            }
        });
    });
}

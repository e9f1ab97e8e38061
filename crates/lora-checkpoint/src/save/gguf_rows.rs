//! Rows of a weight as a GGUF file has them.
use crate::ModelConfig;
use crate::gguf::{arrangement, folded};
use crate::order::Order;
use crate::view::TensorView;
use crate::weights::Part;

/// Rows as GGUF has them: in its order, norms with the family's offset, rates of decay as such, times what it has in them.
pub(super) fn read_rows(
    config: &ModelConfig,
    part: Part,
    source: &TensorView<'_>,
    first: usize,
    rows: &mut [f32],
) {
    let own = arrangement(config, part);
    let columns = source.columns();
    match own.rows {
        None => source.read_rows(first, rows),
        Some(order) if source.shape().len() == 1 => {
            let values = source.to_f32();
            for (i, value) in rows.iter_mut().enumerate() {
                *value = values[order.hugging_face(i)];
            }
        }
        Some(order) => {
            for (i, row) in rows.chunks_exact_mut(columns).enumerate() {
                source.read_rows(order.hugging_face(first + i), row);
            }
        }
    }
    if own.offset != 0.0 {
        rows.iter_mut().for_each(|v| *v += own.offset);
    }
    if own.is_rate {
        rows.iter_mut().for_each(|v| *v = -v.exp());
    }
    if let Some(factors) = folded(config, part) {
        let width = if source.shape().len() == 1 {
            1
        } else {
            columns
        };
        factors.multiply(first, rows, width);
    }
    if let Some(order) = own.columns {
        store_columns(rows, columns, order);
    }
}

/// Each row's values in GGUF's order.
fn store_columns(rows: &mut [f32], columns: usize, order: Order) {
    let mut before = vec![0.0; columns];
    for row in rows.chunks_exact_mut(columns) {
        before.copy_from_slice(row);
        for (place, value) in row.iter_mut().enumerate() {
            *value = before[order.hugging_face(place)];
        }
    }
}

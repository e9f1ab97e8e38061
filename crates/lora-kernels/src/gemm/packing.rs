//! How parts of matrices become panels.
use super::isa::{Kernels, best};
use super::transpose::{From, Panel, Transpose};
use crate::matrix::{Mat, span};
use std::ops::Range;

/// How panels of one width are made on this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    pub(super) width: usize,
    transpose: Transpose,
    transpose_pairs: Transpose,
}

impl Packing {
    /// Panels of a left operand: rows of a tile.
    pub(super) fn of_rows(kernels: &Kernels) -> Self {
        Self {
            width: kernels.rows,
            transpose: kernels.transpose,
            transpose_pairs: kernels.transpose_pairs,
        }
    }

    /// Panels of a right operand: columns of a tile.
    pub(super) fn of_columns(kernels: &Kernels) -> Self {
        Self {
            width: kernels.columns,
            transpose: kernels.transpose,
            transpose_pairs: kernels.transpose_pairs,
        }
    }

    /// Packs rows of pairs of bfloat16, `stride` pairs apart, as columns of a panel: `pairs` of each, two steps a pair.
    ///
    /// # Panics
    /// If they lie outside of their slice, or the panel is too small.
    pub(super) fn pack_pairs(
        self,
        (values, stride): (&[[u8; 4]], usize),
        rows: usize,
        pairs: usize,
        to: &mut [f32],
    ) {
        assert!(
            span(rows, pairs, stride).is_some_and(|end| end <= values.len()),
            "pairs outside their slice"
        );
        assert!(
            rows <= self.width && 2 * pairs * self.width <= to.len(),
            "packed part outside its panel"
        );
        let from = From {
            pointer: values.as_ptr().cast(),
            stride,
            rows,
            steps: pairs,
        };
        let panel = Panel {
            pointer: to.as_mut_ptr(),
            width: self.width,
        };
        // SAFETY: asserted, and the kernels are those of this machine.
        unsafe { (self.transpose_pairs)(from, panel) }
    }

    /// Packs some rows of a matrix, and `steps` of its columns, into one panel: column after column, each of the panel's
    /// width, zero behind the rows.
    ///
    /// # Panics
    /// If they lie outside the matrix, or the panel is too small.
    pub(super) fn pack(
        self,
        mat: Mat<'_>,
        rows: Range<usize>,
        steps: Range<usize>,
        to: &mut [f32],
    ) {
        assert!(
            rows.end <= mat.rows() && steps.end <= mat.columns(),
            "packed part outside the matrix"
        );
        if rows.is_empty() || steps.is_empty() {
            return to.fill(0.0);
        }
        assert!(
            rows.len() <= self.width && steps.len() * self.width <= to.len(),
            "packed part outside its panel"
        );
        let from =
            &mat.values()[rows.start * mat.row_stride() + steps.start * mat.column_stride()..];
        if mat.column_stride() == 1 {
            let from = Rows {
                values: from,
                stride: mat.row_stride(),
                count: rows.len(),
            };
            return transpose_with(self.transpose, from, steps.len(), to, self.width);
        }
        assert!(
            mat.row_stride() == 1,
            "a matrix has a stride of 1 one way or the other"
        );
        let columns = Columns {
            values: from,
            stride: mat.column_stride(),
        };
        match (rows.len() == self.width, self.width) {
            (true, 6) => columns.copy::<6>(steps.len(), to),
            (true, 12) => columns.copy::<12>(steps.len(), to),
            (true, 16) => columns.copy::<16>(steps.len(), to),
            (true, 32) => columns.copy::<32>(steps.len(), to),
            _ => columns.copy_some(rows.len(), steps.len(), to, self.width),
        }
    }
}

/// Rows of values, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

/// Columns of neighbouring values, `stride` apart.
#[derive(Clone, Copy)]
struct Columns<'a> {
    values: &'a [f32],
    stride: usize,
}

impl Columns<'_> {
    /// WIDTH values of each column; a known length is copied without a call.
    fn copy<const WIDTH: usize>(self, steps: usize, to: &mut [f32]) {
        let panel = to.as_chunks_mut::<WIDTH>().0;
        for (step, to) in panel.iter_mut().take(steps).enumerate() {
            if let Some(values) = self.values[step * self.stride..].first_chunk::<WIDTH>() {
                *to = *values;
            }
        }
    }

    /// The first `live` values of each column, zero behind them.
    fn copy_some(self, live: usize, steps: usize, to: &mut [f32], width: usize) {
        for (step, to) in to.chunks_exact_mut(width).take(steps).enumerate() {
            let from = step * self.stride;
            to[..live].copy_from_slice(&self.values[from..from + live]);
            to[live..].fill(0.0);
        }
    }
}

/// Transposes rows of `steps` values: a step is `width` values in `to`, zero behind the rows.
///
/// # Panics
/// If they lie outside their slices.
pub(crate) fn transpose(from: Rows<'_>, steps: usize, to: &mut [f32], width: usize) {
    transpose_with(best().transpose, from, steps, to, width);
}

fn transpose_with(run: Transpose, from: Rows<'_>, steps: usize, to: &mut [f32], width: usize) {
    assert!(
        from.count <= width && span(steps, width, width).is_some_and(|len| len <= to.len()),
        "transposed rows outside their slice"
    );
    assert!(
        span(from.count, steps, from.stride).is_some_and(|len| len <= from.values.len()),
        "rows outside their slice"
    );
    let panel = Panel {
        pointer: to.as_mut_ptr(),
        width,
    };
    let rows = From {
        pointer: from.values.as_ptr(),
        stride: from.stride,
        rows: from.count,
        steps,
    };
    // SAFETY: asserted, and the kernels are those of this machine.
    unsafe { run(rows, panel) }
}

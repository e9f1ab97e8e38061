//! One weight where it lies: its shape, its storage, and its rows widened to f32 on demand.
mod strided;

use crate::mxfp4::VALUES;
use crate::order::Order;
use crate::storage::StorageDtype;
use std::ops::Range;

/// Where a tensor lies, in which file. The opener has checked that `range` is inside the file and fits the shape,
/// and that rows are whole units.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) file: usize,
    pub(crate) range: Range<usize>,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: StorageDtype,
    /// The order of its rows, if that is GGUF's own; of the values of a vector.
    pub(crate) permuted: Option<Order>,
    /// The order of its columns, if that is GGUF's own.
    pub(crate) columns: Option<Order>,
    /// What the file adds to the values: GGUF stores Gemma's norms as γ, Hugging Face as γ − 1.
    pub(crate) offset: f32,
    /// The file has −eˣ for x.
    pub(crate) is_rate: bool,
    /// Where its values lie, if not one behind the other.
    pub(crate) strides: Option<Strides>,
    /// The file and place of the second half of its rows, if that lies elsewhere.
    pub(crate) rest: Option<(usize, Range<usize>)>,
    /// The file and place of the exponents of its blocks, where those are a tensor of their own.
    pub(crate) exponents: Option<(usize, Range<usize>)>,
}

impl Entry {
    /// A tensor whose values lie as they are read.
    pub(crate) fn plain(
        file: usize,
        range: Range<usize>,
        shape: Vec<usize>,
        dtype: StorageDtype,
    ) -> Self {
        Self {
            file,
            range,
            shape,
            dtype,
            permuted: None,
            columns: None,
            offset: 0.0,
            is_rate: false,
            strides: None,
            rest: None,
            exponents: None,
        }
    }
}

/// One weight where it lies in the mapped file. 1-D weights have one row. GGUF's permuted q/k rows are already
/// put back: row i is the Hugging Face row i. Cheap to clone; Send + Sync.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    name: &'a str,
    entry: &'a Entry,
    bytes: &'a [u8],
    /// The second half of its rows, if that lies elsewhere.
    rest: &'a [u8],
    /// Of its blocks, where those are a tensor of their own.
    exponents: &'a [u8],
}

impl<'a> TensorView<'a> {
    pub(crate) fn new(name: &'a str, entry: &'a Entry, file: &'a [u8]) -> Self {
        Self {
            name,
            entry,
            bytes: &file[entry.range.clone()],
            rest: &[],
            exponents: &[],
        }
    }

    /// The same with the second half of its rows.
    pub(crate) fn with_rest(self, rest: &'a [u8]) -> Self {
        Self { rest, ..self }
    }

    /// The same with the exponents of its blocks.
    pub(crate) fn with_exponents(self, exponents: &'a [u8]) -> Self {
        Self { exponents, ..self }
    }
}

impl TensorView<'_> {
    /// Hugging Face name.
    pub fn name(&self) -> &str {
        self.name
    }
    /// Shape as transformers has it, e.g. (out, in).
    pub fn shape(&self) -> &[usize] {
        &self.entry.shape
    }
    /// The stored values as they lie in the file; of a matrix whose second half lies elsewhere the first.
    pub fn stored(&self) -> &[u8] {
        self.bytes
    }
    /// The second half of the rows as they lie in the file, if they lie elsewhere than the first; else nothing.
    pub fn stored_rest(&self) -> &[u8] {
        self.rest
    }
    /// Bytes of the stored values.
    pub fn stored_bytes(&self) -> usize {
        match self.entry.dtype {
            StorageDtype::Mxfp4Apart => self.len() / VALUES * 17,
            dtype => self.len() / dtype.unit().0 * dtype.unit().1,
        }
    }
    /// Whether the stored values are in Hugging Face's order (GGUF stores Llama's q and k in another).
    pub fn lies_in_order(&self) -> bool {
        self.entry.permuted.is_none()
            && self.entry.columns.is_none()
            && self.entry.strides.is_none()
            && self.rest.is_empty()
    }
    /// Whether the columns of its stored rows are in Hugging Face's order.
    pub fn has_columns_in_order(&self) -> bool {
        self.entry.columns.is_none()
    }
    /// The stored bytes of a row, in Hugging Face's order of rows.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn stored_row(&self, row: usize) -> &[u8] {
        assert!(row < self.rows(), "{}: row {row}", self.name);
        let row = self.place(row);
        let bytes = (self.bytes.len() + self.rest.len()) / self.rows();
        let (from, row) = match (row * bytes).checked_sub(self.bytes.len()) {
            Some(behind) if !self.rest.is_empty() => (self.rest, behind),
            _ => (self.bytes, row * bytes),
        };
        &from[row..row + bytes]
    }
    /// Where its bytes begin in the file, and those of its second half if that lies elsewhere.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let rest = self.entry.rest.as_ref().map(|(_, range)| range.start);
        std::iter::once(self.entry.range.start).chain(rest)
    }
    /// What the file adds to the values.
    pub(crate) fn offset(&self) -> f32 {
        self.entry.offset
    }
    /// The stored place of a row in Hugging Face's order; of a value in a vector.
    pub(crate) fn place(&self, row: usize) -> usize {
        match self.entry.permuted {
            Some(order) => order.stored(row),
            None => row,
        }
    }
    /// Whole rows in Hugging Face's order of columns, in the stored one.
    pub(crate) fn store_columns(&self, rows: &mut [f32]) {
        if let Some(order) = self.entry.columns {
            reorder(rows, self.columns(), |place| order.hugging_face(place));
        }
    }
    /// The way back.
    pub(crate) fn restore_columns(&self, rows: &mut [f32]) {
        if let Some(order) = self.entry.columns {
            reorder(rows, self.columns(), |place| order.stored(place));
        }
    }
    /// How the values are stored.
    pub fn dtype(&self) -> StorageDtype {
        self.entry.dtype
    }
    /// Rows (product of all but the last dimension; 1 for 1-D).
    pub fn rows(&self) -> usize {
        self.entry
            .shape
            .split_last()
            .map_or(1, |(_, rest)| rest.iter().product())
    }
    /// Values in a row (last dimension).
    pub fn columns(&self) -> usize {
        self.entry.shape.last().copied().unwrap_or(1)
    }
    /// Widens rows `first..` into `out`, whose length is a multiple of `columns()`. Nothing of the size of a row is
    /// allocated (candle lists the blocks of K-quants in a small vector).
    ///
    /// # Panics
    /// If the rows lie outside the tensor or `out` is no whole number of rows.
    pub fn read_rows(&self, first: usize, out: &mut [f32]) {
        let columns = self.columns();
        if columns == 0 || out.is_empty() {
            return;
        }
        assert_eq!(
            out.len() % columns,
            0,
            "{}: {} values are no whole number of rows of {columns}",
            self.name,
            out.len()
        );
        let count = out.len() / columns;
        assert!(
            first
                .checked_add(count)
                .is_some_and(|end| end <= self.rows()),
            "{}: rows {first}..+{count} of {}",
            self.name,
            self.rows()
        );
        if let Some(strides) = self.entry.strides {
            for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                self.widen_strided(strides, first + i, 0, row);
            }
            return;
        }
        match self.entry.permuted {
            None => self.widen(first * columns, out),
            Some(order) if self.entry.shape.len() == 1 => {
                for (i, value) in out.iter_mut().enumerate() {
                    self.widen(order.stored(i), std::slice::from_mut(value));
                }
            }
            Some(order) => {
                for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                    self.widen(order.stored(first + i) * columns, row);
                }
            }
        }
        self.restore_columns(out);
    }
    /// Values of a row that can be read alone: a block's, 1 for plain floats. Rows are whole multiples of it.
    pub fn unit(&self) -> usize {
        self.entry.dtype.unit().0
    }
    /// Widens the values from `column` on of one row into `out`; both are multiples of [`TensorView::unit`].
    ///
    /// # Panics
    /// If the values lie outside the row or are no whole units.
    pub fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        let (columns, unit) = (self.columns(), self.unit());
        assert!(
            row < self.rows() && column + out.len() <= columns,
            "{}: part outside the tensor",
            self.name
        );
        assert!(
            column.is_multiple_of(unit) && out.len().is_multiple_of(unit),
            "{}: part of a block",
            self.name
        );
        if let Some(strides) = self.entry.strides {
            return self.widen_strided(strides, row, column, out);
        }
        match self.entry.permuted {
            Some(_) if self.entry.shape.len() == 1 => {
                let whole = self.to_f32();
                out.copy_from_slice(&whole[column..column + out.len()]);
            }
            _ => {
                if let Some(order) = self.entry.columns {
                    return self.widen_runs(order, self.place(row) * columns, column, out);
                }
                self.widen(self.place(row) * columns + column, out);
            }
        }
    }

    /// The bytes in which `len` values of a row lie from the stored one at `column` on, whole blocks of them: for asking the
    /// machine for them, not for reading, as columns may be stored in another order. None where each value lies apart, nor of
    /// a part that lies outside.
    pub fn stored_part(&self, row: usize, column: usize, len: usize) -> &[u8] {
        if row >= self.rows() {
            return &[];
        }
        let (values, bytes) = self.entry.dtype.unit();
        let start = match self.entry.strides {
            None => self.place(row) * self.columns() + column,
            Some(Strides {
                row: own,
                column: 1,
            }) => row * own * values + column,
            Some(_) => return &[], // each value has a cache line of its own
        };
        let (from, to) = (start / values, (start + len).div_ceil(values));
        let part = self.bytes.get(from * bytes..to * bytes);
        part.unwrap_or_default()
    }

    /// All values, widened.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.len()];
        self.read_rows(0, &mut values);
        values
    }
    /// The values in place, if stored as aligned, unpermuted f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        let is_plain = self.lies_in_order() && !self.entry.is_rate;
        match (self.entry.dtype, is_plain, self.entry.offset) {
            (StorageDtype::F32, true, 0.0) => bytemuck::try_cast_slice(self.bytes).ok(),
            _ => None,
        }
    }
    /// The values in place, the lower byte first, if stored as unpermuted bfloat16.
    pub fn as_bf16(&self) -> Option<&[[u8; 2]]> {
        let is_plain = self.lies_in_order() && !self.entry.is_rate;
        match (self.entry.dtype, is_plain, self.entry.offset) {
            (StorageDtype::BF16, true, 0.0) => Some(self.bytes.as_chunks().0),
            _ => None,
        }
    }
    /// Parameters in this tensor.
    pub fn len(&self) -> usize {
        self.rows() * self.columns()
    }
    /// True if it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Widens the stored values from `start` (a multiple of the unit) into `out`.
    fn widen(&self, start: usize, out: &mut [f32]) {
        let values = self.entry.dtype.unit().0;
        self.widen_units(start / values..(start + out.len()) / values, out);
        if self.entry.offset != 0.0 {
            out.iter_mut().for_each(|v| *v -= self.entry.offset);
        }
        if self.entry.is_rate {
            out.iter_mut().for_each(|v| *v = (-*v).ln());
        }
    }

    /// Widens the columns from `column` on of the row that is stored from `start` on, run by run of those that stayed
    /// neighbours; a run may begin and end within a block.
    fn widen_runs(&self, order: Order, start: usize, column: usize, out: &mut [f32]) {
        let unit = self.unit();
        let mut blocks = Vec::new();
        let mut done = 0;
        while done < out.len() {
            let place = order.stored(column + done);
            let run = order.run(column + done).min(out.len() - done);
            let to = &mut out[done..done + run];
            let first = place / unit * unit;
            let end = (place + run).next_multiple_of(unit);
            if (first, end) == (place, place + run) {
                self.widen(start + place, to);
            } else {
                blocks.resize(end - first, 0.0);
                self.widen(start + first, &mut blocks);
                to.copy_from_slice(&blocks[place - first..][..run]);
            }
            done += run;
        }
    }
}

/// Where the values of a matrix lie: from one row to the next, and from one unit of a row (a value or a block) to the next, in
/// units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// Each row's values at `source` of their places.
fn reorder(rows: &mut [f32], columns: usize, source: impl Fn(usize) -> usize) {
    let mut before = vec![0.0; columns];
    for row in rows.chunks_exact_mut(columns) {
        before.copy_from_slice(row);
        for (place, value) in row.iter_mut().enumerate() {
            *value = before[source(place)];
        }
    }
}

//! One weight where it lies: its shape, its storage, and its rows widened to f32 on demand.
use crate::blocks;
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
    /// Rows of a head, if the rows lie in GGUF's order for llama's q and k.
    pub(crate) permuted: Option<usize>,
    /// What the file adds to the values: GGUF stores Gemma's norms as γ, Hugging Face as γ − 1.
    pub(crate) offset: f32,
}

/// One weight where it lies in the mapped file. 1-D weights have one row. GGUF's permuted q/k rows are already
/// put back: row i is the Hugging Face row i. Cheap to clone; Send + Sync.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    name: &'a str,
    entry: &'a Entry,
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    pub(crate) fn new(name: &'a str, entry: &'a Entry, file: &'a [u8]) -> Self {
        Self {
            name,
            entry,
            bytes: &file[entry.range.clone()],
        }
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
    /// The stored values as they lie in the file.
    pub fn stored(&self) -> &[u8] {
        self.bytes
    }
    /// Bytes of the stored values.
    pub fn stored_bytes(&self) -> usize {
        self.bytes.len()
    }
    /// Whether the stored rows are in Hugging Face's order (GGUF stores those of Llama's q and k in another).
    pub fn lies_in_order(&self) -> bool {
        self.entry.permuted.is_none()
    }
    /// The stored bytes of a row, in Hugging Face's order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn stored_row(&self, row: usize) -> &[u8] {
        assert!(row < self.rows(), "{}: row {row}", self.name);
        let row = match self.entry.permuted {
            Some(width) => stored_row(row, width),
            None => row,
        };
        let bytes = self.bytes.len() / self.rows();
        &self.bytes[row * bytes..(row + 1) * bytes]
    }
    /// Where its bytes begin in the file.
    pub(crate) fn start(&self) -> usize {
        self.entry.range.start
    }
    /// What the file adds to the values.
    pub(crate) fn offset(&self) -> f32 {
        self.entry.offset
    }
    /// The stored place of a row in Hugging Face's order; of a value in a vector.
    pub(crate) fn place(&self, row: usize) -> usize {
        match self.entry.permuted {
            Some(width) => stored_row(row, width),
            None => row,
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
        match self.entry.permuted {
            None => self.widen(first * columns, out),
            Some(width) if self.entry.shape.len() == 1 => {
                for (i, value) in out.iter_mut().enumerate() {
                    self.widen(stored_row(i, width), std::slice::from_mut(value));
                }
            }
            Some(width) => {
                for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                    self.widen(stored_row(first + i, width) * columns, row);
                }
            }
        }
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
        match self.entry.permuted {
            Some(_) if self.entry.shape.len() == 1 => {
                let whole = self.to_f32();
                out.copy_from_slice(&whole[column..column + out.len()]);
            }
            permuted => {
                let start =
                    |row| permuted.map_or(row, |width| stored_row(row, width)) * columns + column;
                self.fetch(start(row + AHEAD), out.len());
                self.widen(start(row), out);
            }
        }
    }

    /// Asks for stored values that are read soon: rows are read one after the other, and parts of them lie too far apart
    /// for the machine to see where this leads.
    fn fetch(&self, start: usize, len: usize) {
        let (values, bytes) = self.entry.dtype.unit();
        let (from, to) = (start / values * bytes, (start + len) / values * bytes);
        if let Some(part) = self.bytes.get(from..to) {
            part.iter().step_by(CACHE_LINE).for_each(prefetch);
        }
    }
    /// All values, widened.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.len()];
        self.read_rows(0, &mut values);
        values
    }
    /// The values in place, if stored as aligned, unpermuted f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match (self.entry.dtype, self.entry.permuted, self.entry.offset) {
            (StorageDtype::F32, None, 0.0) => bytemuck::try_cast_slice(self.bytes).ok(),
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
        let (values, bytes) = self.entry.dtype.unit();
        let range = start / values * bytes..(start + out.len()) / values * bytes;
        blocks::widen(self.entry.dtype, &self.bytes[range], out);
        if self.entry.offset != 0.0 {
            out.iter_mut().for_each(|v| *v -= self.entry.offset);
        }
    }
}

/// Rows that are fetched ahead of the one that is read.
const AHEAD: usize = 8;
/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Brings a byte's cache line nearer, on machines where Rust can ask for it.
#[allow(unsafe_code)] // a hint that reads nothing, of a byte that is there
fn prefetch(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE, which all of x86-64 has; a prefetch changes nothing but caches.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

/// The stored row of Hugging Face row `row`, where a head is `width` rows. llama.cpp's converter lays each head out as
/// reshape(2, width/2) with the axes swapped: the halves (j, j + width/2) that rotate together become neighbours.
pub(crate) fn stored_row(row: usize, width: usize) -> usize {
    let (head, within) = (row / width, row % width);
    let (half, j) = (within / (width / 2), within % (width / 2));
    head * width + 2 * j + half
}

/// The way back: the Hugging Face row of stored row `row`.
pub(crate) fn hugging_face_row(row: usize, width: usize) -> usize {
    let (head, within) = (row / width, row % width);
    head * width + within % 2 * (width / 2) + within / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_llama_cpps_and_has_its_inverse() {
        // np.arange(8).reshape(1, 2, 4).swapaxes(1, 2).reshape(8): what the converter does to one head of 8 rows.
        let converted = [0, 4, 1, 5, 2, 6, 3, 7];
        for (stored, row) in converted.into_iter().enumerate() {
            assert_eq!(
                (stored_row(row, 8), hugging_face_row(stored, 8)),
                (stored, row)
            );
        }
        assert!((0..24).all(|row| hugging_face_row(stored_row(row, 12), 12) == row));
    }
}

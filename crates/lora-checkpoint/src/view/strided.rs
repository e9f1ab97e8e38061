//! Values that do not lie one behind the other: rows and columns by strides, blocks of MXFP4 beside their exponents.
use super::{Strides, TensorView};
use crate::blocks;
use crate::mxfp4::{Blocks, VALUES, widen_apart};
use crate::storage::StorageDtype;
use std::ops::Range;

/// Units that are gathered at once.
const GATHERED: usize = 64;

impl TensorView<'_> {
    /// Whether [`TensorView::mxfp4_rows`] has some.
    pub(crate) fn is_mxfp4(&self) -> bool {
        match self.entry.dtype {
            StorageDtype::Mxfp4 => self.lies_in_order(),
            dtype => dtype == StorageDtype::Mxfp4Apart,
        }
    }
    /// The blocks of MXFP4 of a matrix whose exponents are a tensor of their own, as GGUF has such: 17 bytes each, the exponent
    /// first. None of any other matrix.
    #[must_use]
    pub fn mxfp4_as_in_gguf(&self) -> Option<Vec<u8>> {
        match self.entry.dtype {
            StorageDtype::Mxfp4Apart => Some(self.mxfp4_rows(0, self.rows())?.to_gguf()),
            _ => None,
        }
    }
    /// Some rows of a matrix in blocks of MXFP4, as they are; none of another.
    pub(crate) fn mxfp4_rows(&self, first: usize, count: usize) -> Option<Blocks> {
        let each = self.columns() / VALUES;
        match self.entry.dtype {
            StorageDtype::Mxfp4 if self.lies_in_order() => {
                let bytes = self.bytes.len() / self.rows();
                let rows = &self.bytes[first * bytes..(first + count) * bytes];
                Some(Blocks::of_gguf(rows))
            }
            StorageDtype::Mxfp4Apart => {
                let mut all = Blocks::default();
                for row in first..first + count {
                    let start = self.entry.strides.map_or(row * each, |own| row * own.row);
                    let blocks = start..start + each;
                    all.exponents
                        .extend_from_slice(&self.exponents[blocks.clone()]);
                    all.codes
                        .extend_from_slice(&self.bytes[blocks.start * 16..blocks.end * 16]);
                }
                Some(all)
            }
            _ => None,
        }
    }

    /// Widens whole units that lie one behind the other.
    pub(super) fn widen_units(&self, units: Range<usize>, out: &mut [f32]) {
        let bytes = self.entry.dtype.unit().1;
        if let Some(behind) = self.behind(&units) {
            let (first, second) = out.split_at_mut(behind.0 * self.entry.dtype.unit().0);
            if behind.0 > 0 {
                blocks::widen(self.entry.dtype, &self.bytes[units.start * bytes..], first);
            }
            let rest = &self.rest[behind.1.start * bytes..behind.1.end * bytes];
            return blocks::widen(self.entry.dtype, rest, second);
        }
        let stored = &self.bytes[units.start * bytes..units.end * bytes];
        match self.entry.dtype {
            StorageDtype::Mxfp4Apart => widen_apart(stored, &self.exponents[units], out),
            dtype => blocks::widen(dtype, stored, out),
        }
    }

    /// Of units that reach into the second half, where that lies elsewhere: how many are of the first, and which of the second.
    fn behind(&self, units: &Range<usize>) -> Option<(usize, Range<usize>)> {
        let first = self.bytes.len() / self.entry.dtype.unit().1;
        let reaches = !self.rest.is_empty() && units.end > first;
        reaches.then(|| {
            let before = first.saturating_sub(units.start);
            (before, units.start.max(first) - first..units.end - first)
        })
    }

    /// Widens the values from `column` on of a row.
    pub(super) fn widen_strided(
        &self,
        strides: Strides,
        row: usize,
        column: usize,
        out: &mut [f32],
    ) {
        let (values, bytes) = self.entry.dtype.unit();
        let start = row * strides.row + column / values * strides.column;
        if strides.column == 1 {
            return self.widen_units(start..start + out.len() / values, out);
        }
        if values > 1 {
            for (i, out) in out.chunks_exact_mut(values).enumerate() {
                let unit = start + i * strides.column;
                self.widen_units(unit..unit + 1, out);
            }
            return;
        }
        let mut gathered = [0; 4 * GATHERED];
        for (chunk, out) in out.chunks_mut(GATHERED).enumerate() {
            let first = start + chunk * GATHERED * strides.column;
            let to = &mut gathered[..out.len() * bytes];
            for (i, to) in to.chunks_exact_mut(bytes).enumerate() {
                let from = (first + i * strides.column) * bytes;
                to.copy_from_slice(&self.bytes[from..from + bytes]);
            }
            blocks::widen(self.entry.dtype, to, out);
        }
    }
}

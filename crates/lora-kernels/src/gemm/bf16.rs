//! Weights in bfloat16 go into panels straight from where they lie: two neighbours at a time where they are transposed, and
//! without a widened row in between where they are not.
use super::packing::Packing;
use crate::dispatch::vectorised;
use crate::rows::Rows;
use std::ops::Range;

/// A stored weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16<'a> {
    values: &'a [[u8; 2]],
    columns: usize,
}

/// One step of every panel.
#[derive(Debug)]
pub(super) struct Step<'p> {
    pub(super) panels: &'p mut [f32],
    /// Values of a panel, and of a step.
    pub(super) panel_len: usize,
    pub(super) width: usize,
    pub(super) at: usize,
}

impl<'a> Bf16<'a> {
    /// Nothing for one that is stored otherwise.
    pub(super) fn of(weight: &'a dyn Rows) -> Option<Self> {
        let columns = weight.columns();
        weight.as_bf16().map(|values| Self { values, columns })
    }

    /// Whether these steps of its rows are whole pairs, and the machine has the first of a pair in the lower half.
    pub(super) fn has_pairs(self, steps: &Range<usize>) -> bool {
        let ends = [self.columns, steps.start, steps.end];
        ends.iter().all(|end| end.is_multiple_of(2)) && cfg!(target_endian = "little")
    }

    /// Some rows, and `steps` of their columns, as a panel: columns of Wᵀ.
    ///
    /// # Panics
    /// If they lie outside of the weight, are no whole pairs, or have no room.
    pub(super) fn transpose(
        self,
        packing: Packing,
        rows: Range<usize>,
        steps: Range<usize>,
        panel: &mut [f32],
    ) {
        assert!(
            self.has_pairs(&steps) && steps.end <= self.columns,
            "pairs of steps {steps:?}"
        );
        let values = &self.values[rows.start * self.columns..rows.end * self.columns];
        let (pairs, _) = values[steps.start..].as_flattened().as_chunks();
        let stride = self.columns / 2;
        packing.pack_pairs((pairs, stride), rows.len(), steps.len() / 2, panel);
    }

    /// Columns `n` of a row as a step of each panel.
    ///
    /// # Panics
    /// If they lie outside of the weight, or have no room.
    pub(super) fn widen(self, row: usize, n: Range<usize>, to: Step<'_>) {
        widen(&self.values[row * self.columns..][n], to);
    }
}

vectorised! {
    fn widen(values: &[[u8; 2]], to: Step<'_>) {
        let Step { panels, panel_len, width, at } = to;
        let panels = panels.chunks_exact_mut(panel_len);
        for (values, panel) in values.chunks(width).zip(panels) {
            let step = &mut panel[at * width..(at + 1) * width];
            step[values.len()..].fill(0.0);
            for (to, &value) in step.iter_mut().zip(values) {
                *to = f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16);
            }
        }
    }
}

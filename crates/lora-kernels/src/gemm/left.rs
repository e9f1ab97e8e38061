//! The left operand, packed: block after block of the inner dimension, in each the panels of tile rows, in each step after
//! step.
use super::isa::{Kernels, best, padded_rows};
use super::packing::Packing;
use crate::matrix::Mat;
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;

/// A packed left operand (rows × k), borrowed from the memory that it was packed into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    values: &'a [f32],
    /// Rows that count; packed are whole panels.
    pub(super) rows: usize,
    /// Inner dimension.
    pub(super) k: usize,
    /// Steps in a block.
    pub(super) block: usize,
    /// Rows of a panel.
    pub(super) panel_rows: usize,
}

/// Values from which threads share the packing.
const WORTH_SHARING: usize = 1 << 14;
/// Panels that a thread packs at once.
const PANELS: usize = 4;

impl<'a> Left<'a> {
    /// Packs `x` (rows × k) into `memory`, for right operands that are read in units of `unit` along k. Threads share the
    /// work.
    pub(crate) fn pack(x: Mat<'_>, unit: usize, memory: &'a mut Vec<f32>) -> Self {
        grow(memory, padded_rows(x.rows()) * x.columns());
        Self::pack_with(
            best(),
            x,
            unit,
            memory,
            x.rows() * x.columns() >= WORTH_SHARING,
        )
    }

    /// The same on this thread alone.
    ///
    /// # Panics
    /// If `memory` has no room for whole panels.
    pub(crate) fn pack_alone(x: Mat<'_>, unit: usize, memory: &'a mut [f32]) -> Self {
        Self::pack_with(best(), x, unit, memory, false)
    }

    pub(super) fn pack_with(
        kernels: &Kernels,
        x: Mat<'_>,
        unit: usize,
        memory: &'a mut [f32],
        is_shared: bool,
    ) -> Self {
        let packing = Packing::of_rows(kernels);
        let k = x.columns();
        let block = block_length(k, unit, longest_block(kernels, x.rows()));
        let panels = x.rows().div_ceil(packing.width);
        let packed_rows = panels * packing.width;
        let out = SharedMut::new(&mut memory[..packed_rows * k]);
        let pack_panel = |panel: usize| {
            let first_row = panel * packing.width;
            let rows = first_row..x.rows().min(first_row + packing.width);
            for first in (0..k).step_by(block) {
                let steps = first..k.min(first + block);
                let len = packing.width * steps.len();
                // SAFETY: each panel of each block is one task's alone.
                let to = unsafe { out.part(panel, first * packed_rows + panel * len, len) };
                packing.pack(x, rows.clone(), steps, to);
            }
        };
        if is_shared {
            (0..panels.div_ceil(PANELS))
                .into_par_iter()
                .with_max_len(2)
                .for_each(|group| {
                    (group * PANELS..panels.min((group + 1) * PANELS)).for_each(pack_panel);
                });
        } else {
            (0..panels).for_each(pack_panel);
        }
        Self {
            values: &memory[..packed_rows * k],
            rows: x.rows(),
            k,
            block,
            panel_rows: packing.width,
        }
    }

    /// True if the inner dimension is not cut.
    pub(crate) fn is_one_block(self) -> bool {
        self.k <= self.block
    }

    /// True if a panel of the right operand is used once or a few times.
    pub(super) fn is_few(self) -> bool {
        self.rows <= FEW_ROWS
    }

    /// Panels of tile rows.
    pub(super) fn panels(self) -> usize {
        self.rows.div_ceil(self.panel_rows)
    }

    /// A panel of the block of `steps` steps that begins at `first`.
    pub(super) fn panel(self, first: usize, steps: usize, panel: usize) -> &'a [f32] {
        let at = first * self.panels() * self.panel_rows + panel * self.panel_rows * steps;
        &self.values[at..at + self.panel_rows * steps]
    }
}

/// Steps of the inner dimension that are packed together at most.
pub(super) const BLOCK: usize = 384;

/// Rows up to which a panel of the right operand pays only from the first-level cache: it is used once or a few times.
const FEW_ROWS: usize = 64;
/// Values of a panel that fit there beside one of the left operand.
const NEAR: usize = 6144;

/// Steps of a block at most, for so many rows.
fn longest_block(kernels: &Kernels, rows: usize) -> usize {
    match rows <= FEW_ROWS {
        true => BLOCK.min(NEAR / kernels.columns),
        false => BLOCK,
    }
}

/// The length of the blocks into which an inner dimension of `k` is cut, whole units of the right operand's storage.
fn block_length(k: usize, unit: usize, longest: usize) -> usize {
    let even = k
        .div_ceil(k.div_ceil(longest).max(1))
        .next_multiple_of(8.max(unit));
    if even <= longest {
        even.max(1)
    } else {
        (longest / unit * unit).max(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, block_length};

    #[test]
    fn blocks_are_whole_units_near_the_wanted_length() {
        let cases = [
            (576, 32, 288),
            (1536, 32, 384),
            (2048, 256, 256),
            (4096, 256, 256),
            (192, 1, 192),
            (1, 1, 8),
            (11008, 32, 384),
        ];
        for (k, unit, want) in cases {
            assert_eq!(block_length(k, unit, BLOCK), want, "{k} in units of {unit}");
        }
    }
}

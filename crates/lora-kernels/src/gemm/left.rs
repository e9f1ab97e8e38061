//! The left operand, packed: block after block of the inner dimension, in each the panels of tile rows, in each step after
//! step.
use super::block_length;
use super::isa::{Kernels, best};
use crate::matmul::Mat;
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
    panel_rows: usize,
}

/// Values from which threads share the packing.
const WORTH_SHARING: usize = 1 << 14;
/// Panels that a thread packs at once.
const PANELS: usize = 4;

impl<'a> Left<'a> {
    /// Packs `x` (rows × k) into `memory`, for right operands that are read in units of `unit` along k. Threads share the
    /// work if `parallel`.
    pub(crate) fn pack(x: Mat<'_>, unit: usize, memory: &'a mut Vec<f32>, parallel: bool) -> Self {
        Self::pack_with(best(), x, unit, memory, parallel)
    }

    pub(super) fn pack_with(
        kernels: &Kernels,
        x: Mat<'_>,
        unit: usize,
        memory: &'a mut Vec<f32>,
        parallel: bool,
    ) -> Self {
        let (rows, k, panel_rows) = (x.rows(), x.columns(), kernels.rows);
        let (panels, block) = (rows.div_ceil(panel_rows), block_length(k, unit));
        let packed_rows = panels * panel_rows;
        grow(memory, packed_rows * k);
        let out = SharedMut::new(&mut memory[..packed_rows * k]);
        let pack_panels = |group: usize| {
            for panel in group * PANELS..panels.min((group + 1) * PANELS) {
                let live = panel_rows.min(rows - panel * panel_rows);
                for first in (0..k).step_by(block) {
                    let steps = block.min(k - first);
                    // SAFETY: each panel of each block is one thread's alone.
                    let to = unsafe {
                        out.part(
                            first * packed_rows + panel * panel_rows * steps,
                            panel_rows * steps,
                        )
                    };
                    x.pack(
                        kernels.transpose,
                        panel * panel_rows,
                        live,
                        first,
                        steps,
                        to,
                        panel_rows,
                    );
                }
            }
        };
        let groups = panels.div_ceil(PANELS);
        if parallel && rows * k >= WORTH_SHARING {
            (0..groups)
                .into_par_iter()
                .with_max_len(2)
                .for_each(pack_panels);
        } else {
            (0..groups).for_each(pack_panels);
        }
        Self {
            values: &memory[..packed_rows * k],
            rows,
            k,
            block,
            panel_rows,
        }
    }

    /// True if the inner dimension is not cut.
    pub(crate) fn is_one_block(self) -> bool {
        self.k <= self.block
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

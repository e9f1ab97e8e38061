//! The right operand (k × n): whatever can pack a part of itself into panels.
use super::bf16::{Bf16, Step};
use super::packing::Packing;
use super::prefetch::{Cache, prefetch};
use crate::matrix::Mat;
use crate::memory::grow;
use crate::rows::Rows;
use std::ops::Range;

/// Rows of a weight that are asked for ahead of the one that is read: parts of them lie too far apart for the machine to
/// see where this leads.
const AHEAD: usize = 8;

/// A right operand.
pub(crate) trait Right: Sync {
    /// Inner dimension and columns.
    fn shape(&self) -> (usize, usize);
    /// Steps of the inner dimension, and columns, that can be read alone: parts begin at multiples of these.
    fn units(&self) -> (usize, usize) {
        (1, 1)
    }
    /// Packs steps `k` of columns `n` into `panels`: panel after panel of the tile's columns, in each step after step, zero
    /// behind the last column. `rows` is memory that is kept between calls.
    fn pack(
        &self,
        packing: Packing,
        k: Range<usize>,
        n: Range<usize>,
        panels: &mut [f32],
        rows: &mut Vec<f32>,
    );
    /// Whether a column's steps are neighbours in memory.
    fn has_whole_columns(&self) -> bool {
        false
    }
    /// Asks the machine for what is packed after the next tiles; it may do nothing.
    fn prefetch(&self, _k: Range<usize>, _n: Range<usize>) {}
}

/// A strided matrix in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatRight<'a> {
    mat: Mat<'a>,
    scale: f32,
}

impl<'a> MatRight<'a> {
    pub(crate) fn new(mat: Mat<'a>) -> Self {
        Self::scaled(mat, 1.0)
    }

    /// scale · mat.
    pub(crate) fn scaled(mat: Mat<'a>, scale: f32) -> Self {
        Self { mat, scale }
    }
}

impl Right for MatRight<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.mat.rows(), self.mat.columns())
    }

    fn pack(
        &self,
        packing: Packing,
        k: Range<usize>,
        n: Range<usize>,
        panels: &mut [f32],
        _: &mut Vec<f32>,
    ) {
        let columns = self.mat.t();
        let panel_len = k.len() * packing.width;
        for (panel, first) in panels
            .chunks_exact_mut(panel_len)
            .zip(n.clone().step_by(packing.width))
        {
            let live = first..n.end.min(first + packing.width);
            packing.pack(columns, live, k.clone(), panel);
        }
        if self.scale != 1.0 {
            panels.iter_mut().for_each(|v| *v *= self.scale);
        }
    }
}

/// Wᵀ of a stored weight W (n × k).
#[derive(Clone, Copy)]
pub(crate) struct Transposed<'a>(pub(crate) &'a dyn Rows);

impl Right for Transposed<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.0.columns(), self.0.rows())
    }

    fn units(&self) -> (usize, usize) {
        (self.0.unit(), 1)
    }

    fn pack(
        &self,
        packing: Packing,
        k: Range<usize>,
        n: Range<usize>,
        panels: &mut [f32],
        rows: &mut Vec<f32>,
    ) {
        if let Some(values) = self.0.as_f32() {
            let w = Mat::new(values, self.0.rows(), self.0.columns());
            return MatRight::new(w.t()).pack(packing, k, n, panels, rows);
        }
        if let Some(weight) = Bf16::of(self.0).filter(|weight| weight.has_pairs(&k)) {
            let width = packing.width;
            let panels = panels.chunks_exact_mut(k.len() * width);
            for (panel, first) in panels.zip(n.clone().step_by(width)) {
                let next = first + width..n.end.min(first + 2 * width);
                Right::prefetch(self, k.clone(), next);
                let rows = first..n.end.min(first + width);
                weight.transpose(packing, rows, k.clone(), panel);
            }
            return;
        }
        let steps = k.len();
        let panel_len = steps * packing.width;
        grow(rows, panel_len);
        for (panel, first) in panels
            .chunks_exact_mut(panel_len)
            .zip(n.clone().step_by(packing.width))
        {
            let live = packing.width.min(n.end - first);
            for (row, values) in rows.chunks_exact_mut(steps).take(live).enumerate() {
                let ahead = self.0.stored_part(first + row + AHEAD, k.start, steps);
                prefetch(ahead, Cache::First);
                self.0.read_part(first + row, k.start, values);
            }
            packing.pack(Mat::new(rows, live, steps), 0..live, 0..steps, panel);
        }
    }

    fn has_whole_columns(&self) -> bool {
        true
    }

    fn prefetch(&self, k: Range<usize>, n: Range<usize>) {
        n.for_each(|row| prefetch(self.0.stored_part(row, k.start, k.len()), Cache::Second));
    }
}

/// Rows of a stored weight W (k × n) as they are.
#[derive(Clone)]
pub(crate) struct Plain<'a> {
    weight: &'a dyn Rows,
    rows: Range<usize>,
}

impl<'a> Plain<'a> {
    /// The whole weight.
    pub(crate) fn new(weight: &'a dyn Rows) -> Self {
        Self {
            weight,
            rows: 0..weight.rows(),
        }
    }

    /// Some rows of it.
    pub(crate) fn of_rows(weight: &'a dyn Rows, rows: Range<usize>) -> Self {
        Self { weight, rows }
    }
}

impl Right for Plain<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.weight.columns())
    }

    fn units(&self) -> (usize, usize) {
        (1, self.weight.unit())
    }

    fn pack(
        &self,
        packing: Packing,
        k: Range<usize>,
        n: Range<usize>,
        panels: &mut [f32],
        rows: &mut Vec<f32>,
    ) {
        let k = self.rows.start + k.start..self.rows.start + k.end;
        if let Some(values) = self.weight.as_f32() {
            let w = Mat::new(values, self.weight.rows(), self.weight.columns());
            return MatRight::new(w).pack(packing, k, n, panels, rows);
        }
        let width = packing.width;
        let panel_len = k.len() * width;
        if let Some(weight) = Bf16::of(self.weight) {
            for (at, k) in k.enumerate() {
                let ahead = self.weight.stored_part(k + AHEAD, n.start, n.len());
                prefetch(ahead, Cache::First);
                let to = Step {
                    panels,
                    panel_len,
                    width,
                    at,
                };
                weight.widen(k, n.clone(), to);
            }
            return;
        }
        let padded = n.len().next_multiple_of(width);
        grow(rows, padded);
        let row = &mut rows[..padded];
        row[n.len()..].fill(0.0);
        for (step, k) in k.enumerate() {
            let ahead = self.weight.stored_part(k + AHEAD, n.start, n.len());
            prefetch(ahead, Cache::First);
            self.weight.read_part(k, n.start, &mut row[..n.len()]);
            for (panel, part) in panels
                .chunks_exact_mut(panel_len)
                .zip(row.chunks_exact(width))
            {
                panel[step * width..(step + 1) * width].copy_from_slice(part);
            }
        }
    }
}

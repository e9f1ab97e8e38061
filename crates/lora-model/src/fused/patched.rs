//! A weight of the vocabulary of which some rows train: those are the adapter's, the others the base's.
use super::matrix::Matrix;
use lora_core::TrainedRows;
use lora_kernels::Rows;
use lora_kernels::matrix::Mat;

/// Rows that train, over the base's.
#[derive(Debug)]
pub(super) struct Patched<'s> {
    base: &'s Matrix<'s>,
    own: &'s TrainedRows,
    /// Of all that train here, (rows, width).
    values: &'s [f32],
}

impl<'s> Patched<'s> {
    pub(super) fn new(base: &'s Matrix<'s>, (own, values): (&'s TrainedRows, &'s [f32])) -> Self {
        Self { base, own, values }
    }

    /// Adds dyᵀ·x to the gradient of the rows that train, at a head: `x` (T, in), `dy` (T, out).
    pub(super) fn head_gradient(&self, x: Mat<'_>, dy: Mat<'_>, gradients: &mut [f32]) {
        let width = self.own.width;
        let each = gradients[self.own.range.clone()].chunks_exact_mut(width);
        for (&row, sum) in self.own.rows.iter().zip(each) {
            let outputs = dy.values().chunks_exact(dy.columns());
            for (x, dy) in x.values().chunks_exact(width).zip(outputs) {
                sum.iter_mut()
                    .zip(x)
                    .for_each(|(sum, x)| *sum += dy[row] * x);
            }
        }
    }

    /// Adds `scale` · dx to the gradient of the rows that train, at the embedding of `ids`: `dx` (T, width).
    pub(super) fn embedding_gradient(
        &self,
        dx: &[f32],
        ids: &[u32],
        scale: f32,
        gradients: &mut [f32],
    ) {
        let width = self.own.width;
        let to = &mut gradients[self.own.range.clone()];
        for (&id, dx) in ids.iter().zip(dx.chunks_exact(width)) {
            if let Some(place) = self.own.place_of(id as usize) {
                let sum = &mut to[place * width..(place + 1) * width];
                sum.iter_mut()
                    .zip(dx)
                    .for_each(|(sum, d)| *sum += scale * d);
            }
        }
    }
}

impl Rows for Patched<'_> {
    fn rows(&self) -> usize {
        self.base.rows()
    }
    fn columns(&self) -> usize {
        self.base.columns()
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        self.base.read_rows(first, out);
        self.own.put(self.values, first, out);
    }
    fn unit(&self) -> usize {
        self.base.unit()
    }
    fn stored_part(&self, row: usize, column: usize, len: usize) -> &[u8] {
        self.base.stored_part(row, column, len)
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        match self.own.place_of(row) {
            Some(place) => {
                let at = place * self.own.width + column;
                out.copy_from_slice(&self.values[at..at + out.len()]);
            }
            None => self.base.read_part(row, column, out),
        }
    }
}

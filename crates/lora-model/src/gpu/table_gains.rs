//! DoRA's gains at the embedding and at the head, which are read in parts. The head's norms are those of W's rows, the
//! embedding's those of its columns: its weight is (V, H), its outputs are H.
use super::gains::Gains;
use super::pairs::GroupFactors;
use super::table::Table;
use lora_gpu::{Dtype, Error, Gpu, Mat, Product, Tensor, Write};

/// Of a table.
#[derive(Debug)]
pub(super) struct TableGains {
    pub(super) gains: Gains,
    /// W·Aᵀ f32 (out, columns), and A·Aᵀ, (columns, columns).
    projected: Tensor,
    gram: Tensor,
}

/// Which table, and where its blocks are widened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'t> {
    pub(super) table: &'t Table,
    pub(super) wide: &'t Tensor,
    /// Whether rows are looked up: it is the embedding.
    pub(super) looks_up: bool,
}

impl Read<'_> {
    /// Calls f with the table in parts, and each part's first row.
    fn each(self, gpu: &Gpu, f: impl Fn(Mat<'_>, usize) -> Result<(), Error>) -> Result<(), Error> {
        for rows in self.table.slices() {
            let first = rows.start;
            f(self.table.slice(gpu, rows, self.wide)?, first)?;
        }
        Ok(())
    }
}

impl TableGains {
    /// Memory for those of a table with these factors, and the squares of its weight.
    pub(super) fn new(
        gpu: &Gpu,
        from: Read<'_>,
        (outputs, columns): (usize, usize),
    ) -> Result<Self, Error> {
        let gains = Gains::ones(gpu, outputs)?;
        let squares = gains.squares();
        if from.looks_up {
            gpu.convert(squares, 0.0, squares)?;
        }
        from.each(gpu, |part, first| match from.looks_up {
            true => gpu.add_column_squares(part, squares),
            false => gpu.row_squares(part, squares.of_columns(first..first + part.rows())),
        })?;
        Ok(Self {
            gains,
            projected: gpu.alloc(Dtype::F32, outputs * columns)?,
            gram: gpu.alloc(Dtype::F32, columns * columns)?,
        })
    }

    /// The gains by the factors A (columns, in), s·B (out, columns) and the magnitudes among the parameters.
    pub(super) fn update(
        &self,
        gpu: &Gpu,
        (from, factors): (Read<'_>, &GroupFactors),
        (a, b): (Mat<'_>, Mat<'_>),
        params: &Tensor,
    ) -> Result<(), Error> {
        let columns = a.rows();
        let projected = self.projected.mat(b.rows(), columns);
        from.each(gpu, |part, first| {
            let rows = first..first + part.rows();
            if !from.looks_up {
                return gpu.gemm(Product::new(part.n(), a.t(), projected.of_rows(rows)));
            }
            let a = a.of_columns(rows);
            let write = if first > 0 {
                Write::Add
            } else {
                Write::Replace
            };
            gpu.gemm(Product::new(part.t(), a.t(), projected).written(write))
        })?;
        let gram = self.gram.mat(columns, columns);
        gpu.gemm(Product::new(a.n(), a.t(), gram))?;
        self.gains
            .update(gpu, factors, (b, projected, gram), params)
    }
}

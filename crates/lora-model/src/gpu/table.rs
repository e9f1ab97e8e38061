//! The token embedding, the output head and the table of layers' inputs on the device: (V, H), dense or as the file's blocks, of which only the rows in use
//! are widened.
use super::buffer::Buffer;
use super::group::{as_stored, blocks_of};
use super::load::Loader;
use lora_checkpoint::TensorView;
use lora_gpu::{Dtype, Error, Gpu, Mat, TableRows, Tensor, Widen};
use std::ops::Range;

/// Rows of a head that are widened at once.
const SLICE: usize = 1 << 14;

/// A table of V rows of H values.
#[derive(Debug, Clone)]
pub(super) struct Table {
    rows: usize,
    columns: usize,
    stored: Tensor,
    /// How its rows are stored, if not dense.
    blocks: Option<Widen>,
}

impl Table {
    pub(super) fn load(loader: &mut Loader<'_>, view: &TensorView<'_>) -> Result<Self, Error> {
        let gpu = loader.gpu();
        let (rows, columns) = (view.rows(), view.columns());
        let blocks = blocks_of(view);
        let stored = match blocks {
            Some(_) => as_stored(gpu, view)?,
            None => {
                let dense = gpu.activations(rows * columns)?;
                loader.matrix(view, dense.mat(rows, columns))?;
                dense
            }
        };
        Ok(Self {
            rows,
            columns,
            stored,
            blocks,
        })
    }

    /// One whose values are still to be written.
    pub(super) fn dense(gpu: &Gpu, rows: usize, columns: usize) -> Result<Self, Error> {
        Ok(Self {
            rows,
            columns,
            stored: gpu.activations(rows * columns)?,
            blocks: None,
        })
    }

    /// All values of a dense one.
    pub(super) fn values(&self) -> Mat<'_> {
        self.stored.mat(self.rows, self.columns)
    }

    /// Its size.
    pub(super) fn size(&self) -> TableSize {
        TableSize {
            rows: self.rows,
            columns: self.columns,
            row_bytes: self.blocks.map(|kind| self.row_bytes(kind)),
        }
    }

    /// Bytes of a row of blocks.
    fn row_bytes(&self, kind: Widen) -> usize {
        let (values, bytes) = kind.block();
        self.columns / values * bytes
    }

    /// Its rows in parts that are at hand at once.
    pub(super) fn slices(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows;
        let step = match self.blocks {
            Some(_) => SLICE,
            None => rows.max(1),
        };
        (0..rows)
            .step_by(step)
            .map(move |first| first..rows.min(first + step))
    }

    /// Values of the largest part that is widened.
    pub(super) fn widened(&self) -> usize {
        match self.blocks {
            Some(_) => self.rows.min(SLICE) * self.columns,
            None => 0,
        }
    }

    /// Some of its rows; those of blocks are widened into `wide`.
    pub(super) fn slice<'t>(
        &'t self,
        gpu: &Gpu,
        rows: Range<usize>,
        wide: &'t Tensor,
    ) -> Result<Mat<'t>, Error> {
        let Some(kind) = self.blocks else {
            return Ok(self.stored.mat(self.rows, self.columns).of_rows(rows));
        };
        let to = wide.mat(rows.len(), self.columns);
        let first = rows.start * self.row_bytes(kind);
        gpu.widen(kind, &self.stored, first, to)?;
        Ok(to)
    }
}

/// A table as memory sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableSize {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Bytes of a row of blocks, if it is not dense.
    pub(super) row_bytes: Option<usize>,
}

impl TableSize {
    /// Bytes that it holds, with activations of `act` bytes.
    pub(super) fn bytes(self, act: usize) -> usize {
        self.rows * self.row_bytes.unwrap_or(act * self.columns)
    }

    /// Values of what is widened of a head.
    pub(super) fn widened(self) -> usize {
        match self.row_bytes {
            Some(_) => self.rows.min(SLICE) * self.columns,
            None => 0,
        }
    }

    /// Bytes of what is widened of an embedding for T rows.
    pub(super) fn looked_up(self, t: usize, act: usize) -> usize {
        self.row_bytes
            .map_or(0, |bytes| t * (bytes + act * self.columns))
    }
}

/// Memory in which rows of an embedding are widened.
#[derive(Debug)]
pub(super) struct Lookup {
    bytes: Buffer,
    wide: Buffer,
}

impl Lookup {
    pub(super) fn new(gpu: &Gpu) -> Self {
        Self {
            bytes: Buffer::new(Dtype::U8),
            wide: Buffer::new(gpu.dtype()),
        }
    }

    /// The rows of `ids` (T), widened one after the other, (T, H); of a dense table they are read where they lie.
    pub(super) fn widened(
        &mut self,
        gpu: &Gpu,
        table: &Table,
        (ids, t): (&Tensor, usize),
    ) -> Result<Option<Tensor>, Error> {
        let Some(kind) = table.blocks else {
            return Ok(None);
        };
        let (h, row) = (table.columns, table.row_bytes(kind));
        let bytes = self.bytes.get(gpu, t * row)?;
        let wide = self.wide.get(gpu, t * h)?;
        gpu.gather(table.stored.mat(table.rows, row), ids, 0, bytes.mat(t, row))?;
        gpu.widen(kind, &bytes, 0, wide.mat(t, h))?;
        Ok(Some(wide))
    }

    /// x (T, H) = scale · the rows of `ids` (T).
    pub(super) fn embed(
        &mut self,
        gpu: &Gpu,
        table: &Table,
        ids: &Tensor,
        scale: f32,
        x: Mat<'_>,
    ) -> Result<(), Error> {
        match self.widened(gpu, table, (ids, x.rows()))? {
            None => gpu.embed(table.values(), ids, scale, x),
            Some(wide) => gpu.convert(wide.mat(x.rows(), table.columns), scale, x),
        }
    }

    /// The rows of `ids` (T) of the table of layers' inputs; `wide` is what [`Self::widened`] gave.
    pub(super) fn rows<'t>(
        table: &'t Table,
        (ids, t): (&'t Tensor, usize),
        wide: Option<&'t Tensor>,
        scale: f32,
    ) -> TableRows<'t> {
        match wide {
            None => TableRows {
                table: table.values(),
                ids: Some(ids),
                scale,
            },
            Some(wide) => TableRows {
                table: wide.mat(t, table.columns),
                ids: None,
                scale,
            },
        }
    }
}

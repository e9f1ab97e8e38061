//! Rows of a table that train on the device, in the place of the base's: looked up by token at the embedding, columns of the
//! logits at the head.
use super::by_token::{self, ByToken};
use lora_core::TrainedRows;
use lora_gpu::{Dtype, Error, Gpu, Mat, Product, Tensor};

/// Those of a table.
#[derive(Debug)]
pub(super) struct OwnRows {
    trained: TrainedRows,
    /// (n, H), activations.
    values: Tensor,
    /// Their tokens, u32 (n).
    tokens: Tensor,
}

/// Which rows of a batch are looked up among them, and where.
#[derive(Debug)]
pub(super) struct RowsOfBatch {
    rows: Tensor,
    places: Tensor,
    count: usize,
}

impl RowsOfBatch {
    pub(super) fn of(gpu: &Gpu, trained: &TrainedRows, ids: &[u32]) -> Result<Self, Error> {
        let (rows, places): (Vec<u32>, Vec<u32>) =
            by_token::places(ids, trained).into_iter().unzip();
        Ok(Self {
            count: rows.len(),
            rows: gpu.uploaded(Dtype::U32, &rows)?,
            places: gpu.uploaded(Dtype::U32, &places)?,
        })
    }
}

impl OwnRows {
    /// Memory for rows that train.
    pub(super) fn new(gpu: &Gpu, trained: &TrainedRows) -> Result<Self, Error> {
        let tokens: Vec<u32> = trained.rows.iter().map(|&row| row as u32).collect();
        Ok(Self {
            values: gpu.activations(trained.rows.len() * trained.width)?,
            tokens: gpu.uploaded(Dtype::U32, &tokens)?,
            trained: trained.clone(),
        })
    }

    /// Takes the parameters on.
    pub(super) fn set(&self, gpu: &Gpu, params: &Tensor) -> Result<(), Error> {
        gpu.convert(self.in_flat(params), 1.0, self.mat())
    }

    /// Their place among all parameters, or gradients.
    fn in_flat<'t>(&self, flat: &'t Tensor) -> Mat<'t> {
        let (count, width) = (self.count(), self.trained.width);
        flat.strided(self.trained.range.start, count, width, width)
    }

    fn mat(&self) -> Mat<'_> {
        self.values.mat(self.count(), self.trained.width)
    }

    pub(super) fn count(&self) -> usize {
        self.trained.rows.len()
    }

    /// x (T, H) = scale · the rows of tokens that are among them; the others stay.
    pub(super) fn look_up(
        &self,
        gpu: &Gpu,
        found: &RowsOfBatch,
        scale: f32,
        x: Mat<'_>,
    ) -> Result<(), Error> {
        let lists = (&found.places, &found.rows, found.count);
        gpu.embed_at(self.mat(), lists, scale, x)
    }

    /// Their columns of the logits (n, V) of `hidden` (n, H); `room` holds them for a time, f32.
    pub(super) fn put_logits(
        &self,
        gpu: &Gpu,
        hidden: Mat<'_>,
        room: &Tensor,
        logits: Mat<'_>,
    ) -> Result<(), Error> {
        let own = room.mat(hidden.rows(), self.count());
        gpu.gemm(Product::new(hidden.n(), self.mat().t(), own))?;
        gpu.put_columns(own, &self.tokens, logits)
    }

    /// Takes their columns out of the gradient of logits, d (n, V), which are 0 afterwards, to `room`.
    pub(super) fn take_gradients<'t>(
        &self,
        gpu: &Gpu,
        d: Mat<'_>,
        room: &'t Tensor,
    ) -> Result<Mat<'t>, Error> {
        let own = room.mat(d.rows(), self.count());
        gpu.take_columns(d, &self.tokens, own)?;
        Ok(own)
    }

    /// Adds to d_hidden (n, H) what passes them, and to their gradients, from those of their logits, `own` (n, rows).
    pub(super) fn logits_backward(
        &self,
        gpu: &Gpu,
        (own, hidden): (Mat<'_>, Mat<'_>),
        d_hidden: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        gpu.gemm(Product::new(own.n(), self.mat().n(), d_hidden).adding())?;
        let to = self.in_flat(gradients);
        gpu.gemm(Product::new(own.t(), hidden.n(), to).adding())
    }

    /// The same of the rows that are looked up, from dx f32 (T, H): adds to their gradients alone.
    pub(super) fn look_up_backward(
        &self,
        gpu: &Gpu,
        ids: &[u32],
        dx: (Mat<'_>, &Tensor),
        scale: f32,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let found = ByToken::among(ids, &self.trained);
        found.add_gradients(gpu, dx, scale, self.in_flat(gradients))
    }
}

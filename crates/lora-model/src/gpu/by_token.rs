//! The rows of a batch by token, so that gradients of an embedding are summed token by token in the rows' order.
use lora_core::TrainedRows;
use lora_gpu::{Dtype, Error, Gpu, Mat, Tensor};

/// The rows of a batch by what they are counted under: the numbers that are there, where each one's list begins, and the lists.
#[derive(Debug)]
pub(super) struct ByToken {
    numbers: Vec<u32>,
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl ByToken {
    /// All rows, by their tokens.
    pub(super) fn of(ids: &[u32]) -> Self {
        let all = (0..ids.len() as u32).zip(ids.iter().copied());
        Self::by(all.collect())
    }

    /// The rows of tokens whose own rows of a table train, by these rows' places.
    pub(super) fn among(ids: &[u32], trained: &TrainedRows) -> Self {
        Self::by(places(ids, trained))
    }

    fn by(mut all: Vec<(u32, u32)>) -> Self {
        all.sort_by_key(|&(_, number)| number); // stable: in the rows' order
        let (mut numbers, mut starts) = (Vec::new(), Vec::new());
        for (at, &(_, number)) in all.iter().enumerate() {
            if numbers.last() != Some(&number) {
                numbers.push(number);
                starts.push(at as u32);
            }
        }
        starts.push(all.len() as u32);
        Self {
            numbers,
            starts,
            rows: all.into_iter().map(|(row, _)| row).collect(),
        }
    }

    /// d\[number\] += scale·Σ dx over the number's rows, dx f32 (T, H): the gradient of an embedding's rows. Sums go to `room`,
    /// which is of dx's shape, for a time.
    pub(super) fn add_gradients(
        &self,
        gpu: &Gpu,
        (dx, room): (Mat<'_>, &Tensor),
        scale: f32,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let [numbers, starts, rows] = self.lists(gpu)?;
        let sums = room.mat(self.numbers.len(), dx.columns());
        gpu.sum_rows(dx, &starts, &rows, sums)?;
        if scale != 1.0 {
            gpu.convert(sums, scale, sums)?;
        }
        gpu.put_add(sums, &numbers, 0, to)
    }

    /// The same of factors: d_a (r, V) += Σ d_u over each token's rows in its column, d_u f32 (T, r).
    pub(super) fn add_to_columns(
        &self,
        gpu: &Gpu,
        d_u: Mat<'_>,
        d_a: Mat<'_>,
    ) -> Result<(), Error> {
        let [numbers, starts, rows] = self.lists(gpu)?;
        let columns = (&numbers, self.numbers.len());
        gpu.add_columns(d_u, (&starts, &rows), columns, d_a)
    }

    fn lists(&self, gpu: &Gpu) -> Result<[Tensor; 3], Error> {
        let list = |values: &[u32]| gpu.uploaded(Dtype::U32, values);
        Ok([list(&self.numbers)?, list(&self.starts)?, list(&self.rows)?])
    }
}

/// Which rows of a batch are of tokens whose own rows train, and their places among these.
pub(super) fn places(ids: &[u32], trained: &TrainedRows) -> Vec<(u32, u32)> {
    let rows = (0..ids.len() as u32).zip(ids);
    let place = |id: u32| trained.place_of(id as usize);
    rows.filter_map(|(row, &id)| Some((row, place(id)? as u32)))
        .collect()
}

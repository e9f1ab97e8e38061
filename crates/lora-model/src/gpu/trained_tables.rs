//! Embedding and head that train as a whole (modules to save): which, and the embedding's gradient.
use lora_gpu::{Dtype, Error, Gpu, Mat, Tensor};

/// Which of them train: their places in the flat parameters, each (V, H).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TrainedTables {
    pub(super) embedding: Option<usize>,
    pub(super) head: Option<usize>,
}

impl TrainedTables {
    /// Both places, of those that train.
    pub(super) fn places(self) -> impl Iterator<Item = usize> {
        self.embedding.into_iter().chain(self.head)
    }
}

/// The rows of a batch by token: the tokens that are there, where each one's list begins, and the lists.
#[derive(Debug)]
pub(super) struct ByToken {
    tokens: Vec<u32>,
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl ByToken {
    pub(super) fn of(ids: &[u32]) -> Self {
        let mut rows: Vec<u32> = (0..ids.len() as u32).collect();
        rows.sort_by_key(|&row| ids[row as usize]); // stable: in the rows' order
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        for (at, &row) in rows.iter().enumerate() {
            let id = ids[row as usize];
            if tokens.last() != Some(&id) {
                tokens.push(id);
                starts.push(at as u32);
            }
        }
        starts.push(rows.len() as u32);
        Self {
            tokens,
            starts,
            rows,
        }
    }

    /// The gradient of an embedding (V, H), d\[token\] += scale·Σ dx over the token's rows, dx f32 (T, H); sums go to `room`, which
    /// is of dx's shape, for a time.
    pub(super) fn add_gradients(
        &self,
        gpu: &Gpu,
        (dx, room): (Mat<'_>, &Tensor),
        scale: f32,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let starts = gpu.uploaded(Dtype::U32, &self.starts)?;
        let rows = gpu.uploaded(Dtype::U32, &self.rows)?;
        let tokens = gpu.uploaded(Dtype::U32, &self.tokens)?;
        let sums = room.mat(self.tokens.len(), dx.columns());
        gpu.sum_rows(dx, &starts, &rows, sums)?;
        if scale != 1.0 {
            gpu.convert(sums, scale, sums)?;
        }
        gpu.put_add(sums, &tokens, 0, to)
    }
}

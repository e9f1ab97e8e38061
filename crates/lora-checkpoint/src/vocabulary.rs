//! [`Vocabulary`]: a model's vocabulary made larger, for the tokens that an adapter or a dataset adds to it.
use crate::error::{Error, Result, invalid};
use crate::storage::StorageDtype;
use crate::view::{Entry, TensorView};
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is added to a model's vocabulary. Rows whose values nobody brings are the mean of the model's own (transformers'
/// `resize_token_embeddings` draws them from a normal distribution around that mean).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vocabulary {
    /// Rows of embedding and head in all; no fewer than the model's own.
    pub rows: usize,
    /// The added tokens by id: behind the model's own rows, or on some of those that no token of its tokenizer has.
    pub tokens: BTreeMap<u32, String>,
    /// The folder whose tokenizer knows the added tokens; None where the model's own tokenizer stays.
    pub tokenizer: Option<PathBuf>,
    /// The added rows of the embedding, (rows − own, H) row-major.
    pub embedding: Option<Vec<f32>>,
    /// The added rows of a head of its own.
    pub head: Option<Vec<f32>>,
}

/// A weight with rows of its own behind those of the file, in the file's type.
#[derive(Debug, Clone)]
pub(crate) struct Enlarged {
    pub(crate) entry: Entry,
    pub(crate) bytes: Arc<Vec<u8>>,
}

impl Enlarged {
    /// A copy of a weight with rows behind it, up to `rows` of them: `added`, or else the mean of those that are there.
    pub(crate) fn new(
        path: &Path,
        (view, entry): (&TensorView<'_>, &Entry),
        rows: usize,
        added: Option<&[f32]>,
    ) -> Result<Self> {
        let own = view.rows();
        let columns = view.columns();
        let mean;
        let added = match added {
            Some(values) => values,
            None => {
                mean = mean_row(view).repeat(rows.saturating_sub(own));
                &mean
            }
        };
        if added.len() != rows.saturating_sub(own) * columns {
            return Err(invalid(
                path,
                format!(
                    "{} values for rows {own} to {rows} of {}, {columns} in each",
                    added.len(),
                    view.name()
                ),
            ));
        }
        let tail = stored(view.dtype(), added).ok_or_else(|| refuse_gguf(path))?;
        let mut bytes = Vec::with_capacity(view.stored_bytes() + tail.len());
        bytes.extend_from_slice(view.stored());
        bytes.extend_from_slice(&tail);
        let entry = Entry {
            range: 0..bytes.len(),
            shape: vec![rows, columns],
            ..entry.clone()
        };
        Ok(Self {
            entry,
            bytes: Arc::new(bytes),
        })
    }

    pub(crate) fn view<'a>(&'a self, name: &'a str) -> TensorView<'a> {
        TensorView::new(name, &self.entry, &self.bytes)
    }
}

/// The mean of a weight's rows, each column summed in f64.
pub(crate) fn mean_row(view: &TensorView<'_>) -> Vec<f32> {
    let mut sums = vec![0f64; view.columns()];
    let mut row = vec![0f32; view.columns()];
    for index in 0..view.rows() {
        view.read_rows(index, &mut row);
        sums.iter_mut()
            .zip(&row)
            .for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let count = view.rows().max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Values as a file stores them; None for blocks.
fn stored(dtype: StorageDtype, values: &[f32]) -> Option<Vec<u8>> {
    let values = values.iter();
    match dtype {
        StorageDtype::F32 => Some(values.flat_map(|v| v.to_le_bytes()).collect()),
        StorageDtype::F16 => Some(
            values
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
        ),
        StorageDtype::BF16 => Some(
            values
                .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                .collect(),
        ),
        StorageDtype::Quantised(_) | StorageDtype::Mxfp4 | StorageDtype::Mxfp4Apart => None,
    }
}

/// What is said of a model to which no token can be added.
pub(crate) fn refuse_gguf(path: &Path) -> Error {
    invalid(
        path,
        "tokens were added, and a GGUF file's vocabulary can't be made larger",
    )
    .hint("take the model's folder of Hugging Face in place of the GGUF file")
}

/// The same of one whose layers have inputs that are looked up by token.
pub(crate) fn refuse_per_layer(path: &Path) -> Error {
    invalid(
        path,
        "tokens were added, and the table of this model's layers (embed_tokens_per_layer) can't be made larger here",
    )
    .hint("in place of new tokens take some that the vocabulary has and no text uses, such as <unused0>")
}

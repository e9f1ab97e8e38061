//! What tokens that a dataset adds to a model's take: rows of embedding and head, and copies of both in memory.
use super::workload::{BaseType, Workload};
use crate::model::shape::Shape;
use lora_checkpoint::TokenizerBundle;
use lora_cli::Result;
use lora_data::{Manifest, dataset_tokenizer};
use std::path::Path;

/// Tokens that a dataset adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tokens {
    /// How many.
    count: usize,
    /// Rows of the vocabulary with them.
    rows: usize,
}

impl Tokens {
    pub(super) fn of(dataset: &Path) -> Result<Self> {
        let Some(folder) = dataset_tokenizer(dataset) else {
            return Ok(Self::default());
        };
        let tokenizer = TokenizerBundle::from_files(&folder)?.tokenizer;
        let last = tokenizer.get_vocab(true).into_values().max();
        Ok(Self {
            count: Manifest::read(dataset)?.added_tokens.len(),
            rows: last.map_or(0, |last| last as usize + 1),
        })
    }

    /// The shape with rows for them.
    pub(super) fn on(self, mut shape: Shape) -> Shape {
        shape.config.vocab_size = shape.config.vocab_size.max(self.rows);
        shape
    }

    /// What they add to a workload on the enlarged shape, of whose rows the files have `own`.
    pub(super) fn add_to(self, shape: &Shape, own: usize, work: &mut Workload) {
        let sides = if shape.config.tie_word_embeddings {
            1
        } else {
            2
        };
        let width = shape.config.hidden_size * sides;
        work.trainable += (self.count * width) as u64;
        work.embedding |= self.count > 0;
        let rows = shape.config.vocab_size;
        if let BaseType::File(bytes) = &mut work.base
            && rows > own
        {
            let added = ((rows - own) * width) as u64;
            let in_files = shape.total_parameters() - added;
            let copied = (rows * width) as u64;
            *bytes += (added + copied) * *bytes / in_files.max(1);
        }
    }
}

//! What tokens that a dataset adds to a model's take: rows of embedding and head, and copies of both in memory.
use super::workload::{BaseType, Workload};
use crate::model::shape::Shape;
use lora_checkpoint::TokenizerBundle;
use lora_cli::Result;
use lora_core::LoraConfig;
use lora_data::{Manifest, dataset_tokenizer};
use lora_model::spec;
use std::path::Path;

/// Tokens that a dataset adds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AddedTokens {
    ids: Vec<usize>,
    /// Rows of the vocabulary with them.
    rows: usize,
}

impl AddedTokens {
    /// Those of a dataset.
    ///
    /// # Errors
    /// When its tokenizer can't be read.
    pub(crate) fn of(dataset: &Path) -> Result<Self> {
        let Some(folder) = dataset_tokenizer(dataset) else {
            return Ok(Self::default());
        };
        let tokenizer = TokenizerBundle::from_files(&folder)?.tokenizer;
        let last = tokenizer.get_vocab(true).into_values().max();
        let added = Manifest::read(dataset)?.added_tokens.into_iter();
        let ids = added.filter_map(|token| tokenizer.token_to_id(&token));
        let mut ids: Vec<usize> = ids.map(|id| id as usize).collect();
        ids.sort_unstable();
        Ok(Self {
            ids,
            rows: last.map_or(0, |last| last as usize + 1),
        })
    }

    /// The shape with rows for them.
    pub(crate) fn on(&self, mut shape: Shape) -> Shape {
        shape.config.vocab_size = shape.config.vocab_size.max(self.rows);
        shape
    }

    /// An adapter trains their rows, where embedding and head don't train as a whole.
    pub(crate) fn train_rows(&self, shape: &Shape, config: &mut LoraConfig) {
        let tied = shape.config.tie_word_embeddings;
        config.trainable_token_indices = spec::rows_to_train(config, tied, &self.ids);
    }

    /// What they add to a workload on the enlarged shape, of whose rows the files have `own`.
    pub(crate) fn add_to(&self, shape: &Shape, own: usize, work: &mut Workload) {
        let tied = shape.config.tie_word_embeddings;
        let width = shape.config.hidden_size * if tied { 1 } else { 2 };
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

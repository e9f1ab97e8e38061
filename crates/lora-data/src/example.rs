//! One prepared row, and one split of them.
use crate::Error;
use crate::error::Mistake;
use lora_checkpoint::{Chat, TokenizerBundle};
use std::path::Path;

/// The label of a position that is not supervised (the Hugging Face convention).
pub const IGNORE: i32 = -100;

/// One row of a dataset (parquet schema version 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Ids of the whole text.
    pub input_ids: Vec<u32>,
    /// Same length; [`IGNORE`] or the id itself. Position t is predicted from position t−1.
    pub labels: Vec<i32>,
    /// First 16 hex digits of the sha256 of the source record.
    pub id: String,
    /// sha256 of the rendered prompt: the unit of splitting.
    pub group: String,
    /// Rendered prompt, with the generation prompt.
    pub prompt: String,
    /// Rendered completion, with its end-of-turn token.
    pub completion: String,
}

impl Example {
    /// Tokens in the row.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// True if it has no tokens.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Positions that enter the loss. The first is never one: nothing predicts it.
    pub fn supervised(&self) -> usize {
        self.labels
            .iter()
            .skip(1)
            .filter(|label| **label != IGNORE)
            .count()
    }

    /// Ids before the first supervised position: the prompt, as a generation starts from it.
    pub fn prompt_ids(&self) -> &[u32] {
        let end = self
            .labels
            .iter()
            .position(|label| *label != IGNORE)
            .unwrap_or(self.labels.len());
        &self.input_ids[..end.min(self.input_ids.len())]
    }

    /// What is wrong with the row, if anything: the law that readers and writers both keep.
    pub(crate) fn mistake(&self) -> Option<Mistake> {
        let (ids, labels) = (self.input_ids.len(), self.labels.len());
        if ids == 0 {
            return Some(Mistake::new("input_ids is empty"));
        }
        if ids != labels {
            return Some(Mistake::new(format!(
                "input_ids has {ids} values but labels has {labels}"
            )));
        }
        for (at, (id, label)) in self.input_ids.iter().zip(&self.labels).enumerate() {
            if i32::try_from(*id).is_err() {
                return Some(Mistake::new(format!(
                    "input_ids[{at}] is {id}, which is no token id"
                )));
            }
            if *label != IGNORE && i64::from(*label) != i64::from(*id) {
                return Some(
                    Mistake::new(format!(
                        "labels[{at}] is {label} but input_ids[{at}] is {id}"
                    ))
                    .hint(format!(
                        "a label is {IGNORE} or the id at its own position: labels are not shifted"
                    )),
                );
            }
        }
        if self.supervised() == 0 {
            return Some(
                Mistake::new("no token is supervised").hint("drop rows whose labels are all -100"),
            );
        }
        None
    }
}

/// One split of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows in file order.
    pub examples: Vec<Example>,
    /// `lora.tokenizer_sha256`, absent in a plain parquet.
    pub tokenizer_sha256: Option<String>,
    /// `lora.template_sha256`, absent in a plain parquet and where no template was used.
    pub template_sha256: Option<String>,
    /// How the rows' chats are written (`lora.template` and `lora.system`); None if nothing tells: in a plain parquet, in
    /// rows without a tokenizer's fingerprint, and in datasets of before that have only the hash of a template.
    pub chat: Option<Chat>,
}

impl Split {
    /// Refuses a dataset made with another tokenizer than the base's; `base` is the base's fingerprint.
    /// A plain parquet carries no fingerprint and passes: check its ids with [`Split::check_vocabulary`].
    pub fn check_tokenizer(&self, base: &str, path: &Path) -> Result<(), Error> {
        match &self.tokenizer_sha256 {
            Some(own) if own != base => Err(Error::invalid(
                path,
                format!(
                    "the dataset was made with another tokenizer ({}…) than the base's ({}…)",
                    own.get(..12).unwrap_or(own),
                    base.get(..12).unwrap_or(base)
                ),
            )
            .hint("prepare it again with lora-prep --base and this base")),
            _ => Ok(()),
        }
    }

    /// The same for a tokenizer to which tokens may have been added: a dataset of before has the ids that it would have with
    /// them.
    pub fn check_tokenizer_of(&self, base: &TokenizerBundle, path: &Path) -> Result<(), Error> {
        let is_of_before = base.sha256_without_added.is_some()
            && base.sha256_without_added == self.tokenizer_sha256;
        match is_of_before {
            true => Ok(()),
            false => self.check_tokenizer(&base.sha256, path),
        }
    }

    /// Refuses ids that the model has no embedding for.
    pub fn check_vocabulary(&self, vocab_size: usize, path: &Path) -> Result<(), Error> {
        for (row, example) in self.examples.iter().enumerate() {
            if let Some(id) = example
                .input_ids
                .iter()
                .find(|id| **id as usize >= vocab_size)
            {
                return Err(Error::invalid(
                    path,
                    format!(
                        "row {}: token id {id} is outside the model's vocabulary of {vocab_size}",
                        row + 1
                    ),
                )
                .hint("the dataset was made for another model"));
            }
        }
        Ok(())
    }

    /// Tokens of each row, in file order.
    pub fn lengths(&self) -> Vec<usize> {
        self.examples.iter().map(Example::len).collect()
    }
}

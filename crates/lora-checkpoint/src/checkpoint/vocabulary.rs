//! A model with a larger vocabulary than its files have, and with a head of its own.
use super::Checkpoint;
use crate::error::{Error, invalid};
use crate::view::TensorView;
use crate::vocabulary::{Enlarged, Vocabulary, mean_row, refuse_gguf, refuse_per_layer};

impl Checkpoint {
    /// The same model with a head of its own: a tied one becomes a tensor, of the same values as the embedding.
    #[must_use]
    pub fn untied(mut self) -> Self {
        if self.config.tie_word_embeddings
            && let Some(entry) = self.entries.get("model.embed_tokens.weight").cloned()
        {
            self.entries.insert("lm_head.weight".to_owned(), entry);
            if let Some(enlarged) = self.enlarged.get("model.embed_tokens.weight").cloned() {
                self.enlarged.insert("lm_head.weight".to_owned(), enlarged);
            }
            self.config.tie_word_embeddings = false;
        }
        self
    }

    /// The same model with a larger vocabulary: the embedding, and a head of its own, get rows behind the files', in memory
    /// and in the files' type.
    ///
    /// # Errors
    /// If it is a GGUF file, its rows are stored in blocks, or the rows are not as many as they should be.
    pub fn with_vocabulary(mut self, added: Vocabulary) -> Result<Self, Error> {
        if self.gguf.is_some() {
            return Err(refuse_gguf(&self.path));
        }
        if added.rows > self.config.vocab_size {
            if self.config.per_layer().is_some() {
                return Err(refuse_per_layer(&self.path));
            }
            let sides = [
                ("model.embed_tokens.weight", &added.embedding),
                ("lm_head.weight", &added.head),
            ];
            for (name, values) in sides {
                let Some(entry) = self.entries.get(name) else {
                    continue; // a tied head
                };
                let view = self.tensor(name)?;
                let enlarged =
                    Enlarged::new(&self.path, (&view, entry), added.rows, values.as_deref())?;
                self.enlarged.insert(name.to_owned(), enlarged);
            }
            self.config.vocab_size = added.rows;
        }
        self.added = Some(added);
        Ok(self)
    }

    /// The same files opened anew, with the same vocabulary.
    ///
    /// # Errors
    /// If they are not what they were.
    pub fn reopened(&self) -> Result<Self, Error> {
        let again = Self::open(&self.path)?;
        match &self.added {
            Some(added) => again.with_vocabulary(added.clone()),
            None => Ok(again),
        }
    }

    /// What was added to the vocabulary of the files.
    pub fn added_vocabulary(&self) -> Option<&Vocabulary> {
        self.added.as_ref()
    }
    /// Rows of the vocabulary in the files.
    pub fn file_rows(&self) -> usize {
        let entry = self.entries.get("model.embed_tokens.weight");
        entry.map_or(0, |entry| entry.shape[0])
    }
    /// The mean of the rows that the files have of a weight.
    ///
    /// # Errors
    /// If there is no such weight.
    pub fn mean_row(&self, name: &str) -> Result<Vec<f32>, Error> {
        match self.entries.get_key_value(name) {
            Some((name, entry)) => {
                let bytes = self.files[entry.file].bytes();
                Ok(mean_row(&TensorView::new(name, entry, bytes)))
            }
            None => Err(invalid(&self.path, format!("no tensor {name}"))),
        }
    }
    /// Bytes of weights that are held in memory beside the files: those whose vocabulary was made larger.
    pub fn enlarged_bytes(&self) -> usize {
        self.enlarged.values().map(|own| own.bytes.len()).sum()
    }
}

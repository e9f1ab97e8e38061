//! Tokens that one tokenizer has beyond another: adding them, and finding which were added.
use super::bundle::{TokenizerBundle, fingerprint, from_json_text};
use crate::error::{Error, Result, invalid};
use crate::files::read_json;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Most tokens that are added: tokenizers look for each of them in every text.
const MOST_ADDED: usize = 65_536;

impl TokenizerBundle {
    /// The same tokenizer with new special tokens behind its own, in the order of `tokens`; those that it has as added
    /// tokens already are left out.
    ///
    /// # Errors
    /// If a token is empty or a word of the vocabulary, or the tokenizer was built from a GGUF file.
    pub fn with_added_tokens(mut self, tokens: &[String]) -> Result<Self, Error> {
        if tokens.is_empty() {
            return Ok(self);
        }
        let Some(folder) = self.folder.clone() else {
            return Err(invalid(
                &PathBuf::from("tokenizer"),
                "tokens can't be added to the tokenizer of a GGUF file",
            )
            .hint("take the model's folder of Hugging Face: its tokenizer files are enough"));
        };
        let path = folder.join("tokenizer.json");
        if tokens.len() > MOST_ADDED {
            let what = format!("{} tokens are too many to be added", tokens.len());
            return Err(invalid(&path, what).hint(format!(
                "add up to {MOST_ADDED}; for a new language train a vocabulary of its own"
            )));
        }
        let mut json: Value =
            serde_json::from_str(&self.json).map_err(|e| invalid(&path, e.to_string()))?;
        let mut next = self.next_id();
        let added: HashSet<u32> = self
            .tokenizer
            .get_added_tokens_decoder()
            .into_keys()
            .collect();
        let mut expected = Vec::new();
        let mut seen = HashSet::new();
        for token in tokens {
            if self.is_added(&path, token, &added)? || !seen.insert(token) {
                continue;
            }
            let list = json["added_tokens"].as_array_mut();
            let Some(list) = list else {
                return Err(invalid(&path, "no list of added tokens"));
            };
            list.push(json!({
                "id": next, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }));
            expected.push((next, token.clone()));
            next += 1;
        }
        if expected.is_empty() {
            return Ok(self);
        }
        self.json = serde_json::to_string_pretty(&json).unwrap_or_default();
        self.tokenizer = from_json_text(&path, &self.json)?;
        let misplaced =
            |(id, token): &&(u32, String)| self.tokenizer.token_to_id(token) != Some(*id);
        if let Some((id, token)) = expected.iter().find(misplaced) {
            return Err(invalid(
                &path,
                format!("token {token:?} can't be added: it would not have the id {id}"),
            )
            .hint(
                "add it with transformers (tokenizer.add_special_tokens), and save the tokenizer",
            ));
        }
        self.sha256 = fingerprint(&self.tokenizer);
        self.has_added = true;
        self.added_tokens = expected.into_iter().map(|(_, token)| token).collect();
        Ok(self)
    }

    /// The id behind all others.
    fn next_id(&self) -> u32 {
        let vocabulary = self.tokenizer.get_vocab(true);
        vocabulary.values().max().map_or(0, |last| last + 1)
    }

    /// True if a token is an `added` one already, by their ids; one that is a word of the vocabulary can't become one.
    fn is_added(&self, path: &Path, token: &str, added: &HashSet<u32>) -> Result<bool> {
        if token.trim().is_empty() || token.trim() != token {
            return Err(invalid(path, format!("{token:?} can't be a token"))
                .hint("name tokens without spaces around them, e.g. <|tool|>"));
        }
        let Some(id) = self.tokenizer.token_to_id(token) else {
            return Ok(false);
        };
        match added.contains(&id) {
            true => Ok(true),
            false => Err(invalid(
                path,
                format!("{token:?} is a word of the vocabulary already (id {id})"),
            )
            .hint("name a token that no text holds by chance, e.g. <|tool|>")),
        }
    }

    /// The added tokens of a folder's tokenizer that this one does not know, by id.
    ///
    /// # Errors
    /// If its tokenizer.json can't be read, or both know a token by different ids.
    pub fn tokens_beyond(&self, folder: &Path) -> Result<BTreeMap<u32, String>, Error> {
        let path = folder.join("tokenizer.json");
        let mut beyond = BTreeMap::new();
        for (id, token) in added_tokens(&path)? {
            match self.tokenizer.token_to_id(&token) {
                Some(own) if own == id => {}
                Some(own) => {
                    return Err(invalid(
                        &path,
                        format!("token {token:?} has the id {id} here and {own} in the base"),
                    )
                    .hint("name the base whose tokenizer this one was made of"));
                }
                None => _ = beyond.insert(id, token),
            }
        }
        Ok(beyond)
    }
}

/// The added tokens in a tokenizer.json.
fn added_tokens(path: &Path) -> Result<Vec<(u32, String)>> {
    let json = read_json(path)?;
    let list = json["added_tokens"].as_array();
    let token = |entry: &Value| {
        let id = entry["id"].as_u64()?.try_into().ok()?;
        Some((id, entry["content"].as_str()?.to_owned()))
    };
    let list = list.into_iter().flatten();
    let tokens: Option<Vec<_>> = list.map(token).collect();
    tokens.ok_or_else(|| invalid(path, "an added token without id or text"))
}

//! A tokenizer and how its model's chats are written; built from the text of a tokenizer.json.
use crate::error::{Result, invalid};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// What turns text into ids and back, and how the model's chats are written.
#[derive(Debug, Clone)]
pub struct TokenizerBundle {
    /// The tokenizer; call `encode(text, false)`: no special tokens are added.
    pub tokenizer: Tokenizer,
    /// Jinja source of the chat template, if the model has one.
    pub chat_template: Option<String>,
    /// Templates that the model has by name (`tool_use`, `rag`, …), of which transformers takes `tool_use` for chats that
    /// offer tools and `default` for the others.
    pub named_templates: BTreeMap<String, String>,
    /// BOS text, if any.
    pub bos_token: Option<String>,
    /// EOS text, if any.
    pub eos_token: Option<String>,
    /// Text that stands for unknown input, if any.
    pub unk_token: Option<String>,
    /// Padding text, if any.
    pub pad_token: Option<String>,
    /// True if the model's own tokenizer puts BOS, or what its post-processor has in BOS's place, before a text when special
    /// tokens are asked for.
    pub add_bos_token: bool,
    /// sha256 of the canonical vocabulary (id, token, special), hex: equal for a GGUF and the Hugging Face folder of the same model.
    pub sha256: String,
    /// The same of the vocabulary without added tokens: of the tokenizer that they were added to.
    pub sha256_without_added: Option<String>,
    /// Tokens that were added for texts that hold them: control tokens that are a part of what is said.
    pub added_tokens: Vec<String>,
    /// tokenizer.json as it was read or built.
    pub(super) json: String,
    /// The folder that the files came from; None if built from GGUF metadata.
    pub(super) folder: Option<PathBuf>,
    /// True if its tokenizer.json has more tokens than the folder's.
    pub(super) has_added: bool,
}

impl TokenizerBundle {
    /// The same tokenizer, of which some tokens were added to another's.
    pub(crate) fn with_added(mut self, tokens: Vec<String>) -> Self {
        self.sha256_without_added = Some(fingerprint_without(&self.tokenizer, &tokens));
        self.added_tokens = tokens;
        self
    }

    /// Ids that the model's own tokenizer puts before a text when special tokens are asked for: those of its post-processor
    /// (GLM-4 begins texts with two, neither of them BOS), else BOS.
    pub fn prefix(&self) -> Vec<u32> {
        if !self.add_bos_token {
            return Vec::new();
        }
        let own = self.tokenizer.encode("a", true).map(|text| {
            let ids = text.get_ids().iter().zip(text.get_special_tokens_mask());
            ids.take_while(|(_, is_special)| **is_special == 1)
                .map(|(id, _)| *id)
                .collect::<Vec<u32>>()
        });
        own.ok()
            .filter(|own| !own.is_empty())
            .unwrap_or_else(|| self.bos_id().into_iter().collect())
    }

    /// True if BOS is what texts begin with.
    pub fn begins_with_bos(&self) -> bool {
        let bos = self.bos_id();
        bos.is_some() && self.prefix().first().copied() == bos
    }

    fn bos_id(&self) -> Option<u32> {
        let bos = self.bos_token.as_ref()?;
        self.tokenizer.token_to_id(bos)
    }

    /// The same tokenizer with another chat template, or with none.
    #[must_use]
    pub fn with_chat_template(mut self, template: Option<String>) -> Self {
        self.chat_template = template;
        self
    }
}

/// sha256 over (id, token, special) in the order of the ids.
pub(super) fn fingerprint(tokenizer: &Tokenizer) -> String {
    fingerprint_without(tokenizer, &[])
}

/// The same without some tokens.
fn fingerprint_without(tokenizer: &Tokenizer, left_out: &[String]) -> String {
    let added = tokenizer.get_added_tokens_decoder();
    let mut vocabulary: Vec<(u32, String)> = tokenizer
        .get_vocab(true)
        .into_iter()
        .filter(|(token, _)| !left_out.contains(token))
        .map(|(token, id)| (id, token))
        .collect();
    vocabulary.sort();
    let mut hash = Sha256::new();
    for (id, token) in vocabulary {
        let special = added.get(&id).is_some_and(|a| a.special);
        hash.update(id.to_le_bytes());
        hash.update((token.len() as u64).to_le_bytes());
        hash.update(token.as_bytes());
        hash.update([u8::from(special)]);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Builds a tokenizer from the text of a tokenizer.json. Truncation and padding are switched off: lengths are the
/// caller's business.
pub(super) fn from_json_text(path: &Path, text: &str) -> Result<Tokenizer> {
    check_merges(text).map_err(|message| invalid(path, message))?;
    let mut tokenizer = Tokenizer::from_bytes(text.as_bytes())
        .map_err(|e| invalid(path, format!("not a tokenizer that can be read: {e}")))?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|e| invalid(path, e.to_string()))?;
    Ok(tokenizer)
}

/// The tokenizers crate panics on a merge whose product is longer than every token; so look before it does.
fn check_merges(text: &str) -> Result<(), String> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    let model = &json["model"];
    let (Some(vocabulary), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Ok(());
    };
    let longest = vocabulary.keys().map(String::len).max().unwrap_or(0);
    for merge in merges {
        let length = match merge {
            serde_json::Value::String(pair) => pair.len().saturating_sub(1),
            pair => [&pair[0], &pair[1]]
                .iter()
                .map(|s| s.as_str().map_or(0, str::len))
                .sum(),
        };
        if length > longest {
            return Err(format!(
                "the product of merge {merge} is not in the vocabulary"
            ));
        }
    }
    Ok(())
}

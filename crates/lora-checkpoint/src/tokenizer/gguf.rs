//! The tokenizer of a GGUF file: its metadata → the tokenizer.json that the same model has as a Hugging Face folder.
use super::bundle::{TokenizerBundle, fingerprint, from_json_text};
use super::{pre, sentencepiece};
use crate::error::{Fault, Result, invalid};
use crate::gguf::{Value, parse::Gguf};
use serde_json::{Map, json};
use std::path::Path;

/// Token types of `tokenizer.ggml.token_type`.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The longest token that is believed.
const MAX_TOKEN_BYTES: usize = 2048;

impl TokenizerBundle {
    /// Builds the tokenizer from a GGUF file's metadata.
    pub(crate) fn from_gguf(path: &Path, gguf: &Gguf) -> Result<Self> {
        let source = Source { gguf };
        let built = source.tokenizer_json().map_err(|m| invalid(path, m))?;
        let json = serde_json::to_string(&built).map_err(|e| invalid(path, e.to_string()))?;
        let tokenizer = from_json_text(path, &json)?;
        let token = |name: &str| source.special(name).map_err(|m| invalid(path, m));
        Ok(Self {
            chat_template: source.text("tokenizer.chat_template").map(str::to_owned),
            named_templates: source.named_templates(),
            bos_token: token("bos")?,
            eos_token: token("eos")?,
            unk_token: token("unknown")?,
            pad_token: token("padding")?,
            add_bos_token: source.adds_bos(),
            sha256: fingerprint(&tokenizer),
            tokenizer,
            json,
            folder: None,
            sha256_without_added: None,
            added_tokens: Vec::new(),
            has_added: false,
        })
    }
}

/// The metadata, as the tokenizer needs it.
pub(super) struct Source<'a> {
    gguf: &'a Gguf,
}

impl<'a> Source<'a> {
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.gguf.metadata.get(key)
    }
    /// Templates under `tokenizer.chat_template.NAME`.
    fn named_templates(&self) -> std::collections::BTreeMap<String, String> {
        let names = ["default", "tool_use", "rag"];
        let named = names.into_iter().filter_map(|name| {
            let source = self.text(&format!("tokenizer.chat_template.{name}"))?;
            Some((name.to_owned(), source.to_owned()))
        });
        named.collect()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.value(key)?.as_str()
    }
    fn tokens(&self) -> Result<&'a [String], Fault> {
        match self.value("tokenizer.ggml.tokens") {
            Some(Value::Strings(tokens)) => Ok(tokens),
            _ => Err(Fault::new("no tokenizer.ggml.tokens in the metadata")
                .hint("convert the model again, with its tokenizer")),
        }
    }
    fn types(&self, count: usize) -> Result<Vec<i32>, String> {
        match self.value("tokenizer.ggml.token_type") {
            None => Ok(vec![1; count]),
            Some(Value::I32s(types)) if types.len() == count => Ok(types.clone()),
            Some(_) => Err(format!(
                "tokenizer.ggml.token_type is not a list of {count} types"
            )),
        }
    }
    fn model(&self) -> &str {
        self.text("tokenizer.ggml.model").unwrap_or_default()
    }
    /// llama.cpp's default: SentencePiece models start with BOS, byte-level ones don't.
    fn adds_bos(&self) -> bool {
        let set = self
            .value("tokenizer.ggml.add_bos_token")
            .and_then(Value::as_bool);
        set.unwrap_or_else(|| self.model() == "llama")
    }
    /// The text of `tokenizer.ggml.NAME_token_id`.
    fn special(&self, name: &str) -> Result<Option<String>, String> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = self
            .value(&key)
            .and_then(Value::as_u64)
            .filter(|&id| id != u64::from(u32::MAX))
        else {
            return Ok(None);
        };
        let token = usize::try_from(id)
            .ok()
            .and_then(|id| self.tokens().ok()?.get(id));
        token
            .map(|t| Some(t.clone()))
            .ok_or_else(|| format!("{key} {id} is not in the vocabulary"))
    }

    fn tokenizer_json(&self) -> Result<serde_json::Value, Fault> {
        let tokens = self.tokens()?;
        let types = self.types(tokens.len())?;
        let mut vocabulary = Map::new();
        let mut added = Vec::new();
        for (id, (token, &kind)) in tokens.iter().zip(&types).enumerate() {
            if kind == UNUSED && *token == format!("[PAD{id}]") {
                continue; // the converter's filler for rows of the embedding that no token has
            }
            if token.len() > MAX_TOKEN_BYTES {
                return Err(Fault::new(format!(
                    "token {id} is {} bytes long",
                    token.len()
                )));
            }
            if vocabulary.insert(token.clone(), json!(id)).is_some() {
                return Err(Fault::new(format!(
                    "token {id}, {token:?}, is in the vocabulary twice"
                )));
            }
            if matches!(kind, UNKNOWN | CONTROL | USER_DEFINED) {
                added.push(json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind != USER_DEFINED,
                }));
            }
        }
        let mut json = match self.model() {
            "gpt2" => self.byte_level(vocabulary)?,
            "llama" => self.sentencepiece(tokens, &types, vocabulary)?,
            "" => return Err(Fault::new("no tokenizer.ggml.model in the metadata")),
            other => {
                return Err(
                    Fault::new(format!("tokenizer model \"{other}\" can't be read"))
                        .hint("gpt2 (byte-level BPE) and llama (SentencePiece BPE) can"),
                );
            }
        };
        json["added_tokens"] = json!(added);
        json["post_processor"] = self.post_processor()?;
        Ok(json)
    }

    /// Byte-level BPE: merges are in the file, the pre-tokenizer is named.
    fn byte_level(
        &self,
        vocabulary: Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, Fault> {
        let name = self.text("tokenizer.ggml.pre").unwrap_or("default");
        let (pre_tokenizer, ignore_merges) = pre::structure(name)?;
        let Some(Value::Strings(lines)) = self.value("tokenizer.ggml.merges") else {
            return Err(Fault::new("no tokenizer.ggml.merges in the metadata"));
        };
        let mut merges = Vec::new();
        for line in lines {
            // The left part may itself start with a space in some files; the separator is never the first byte.
            let pair = line
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == ' ')
                .map(|(at, _)| (&line[..at], &line[at + 1..]));
            let (left, right) = pair.ok_or_else(|| format!("merge {line:?} is not two parts"))?;
            if !vocabulary.contains_key(&format!("{left}{right}")) {
                return Err(Fault::new(format!(
                    "the product of merge {line:?} is not in the vocabulary"
                )));
            }
            merges.push(json!([left, right]));
        }
        let normalizer = if pre::COMPOSING.contains(&name) {
            json!({"type": "NFC"})
        } else {
            json!(null)
        };
        let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        Ok(whole(
            normalizer,
            pre_tokenizer,
            decoder,
            json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges, "vocab": vocabulary, "merges": merges,
            }),
        ))
    }

    /// SentencePiece BPE as transformers converts it: merges recovered from the scores, spaces as ▁, bytes as <0x..>.
    fn sentencepiece(
        &self,
        tokens: &[String],
        types: &[i32],
        vocabulary: Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, Fault> {
        let scores = match self.value("tokenizer.ggml.scores") {
            Some(Value::F32s(scores)) if scores.len() == tokens.len() => scores,
            _ => {
                return Err(Fault::new(format!(
                    "tokenizer.ggml.scores is not a list of {} numbers",
                    tokens.len()
                )));
            }
        };
        let plain = |id: usize| matches!(types[id], 1 | USER_DEFINED);
        let merges = sentencepiece::merges(tokens, scores, plain);
        let prefix = self
            .value("tokenizer.ggml.add_space_prefix")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let unknown = self.special("unknown")?;
        Ok(whole(
            sentencepiece::normalizer(prefix),
            json!(null),
            sentencepiece::decoder(prefix),
            json!({
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
            }),
        ))
    }

    /// BOS before a text, for those who ask for special tokens.
    fn post_processor(&self) -> Result<serde_json::Value, String> {
        let id = self
            .value("tokenizer.ggml.bos_token_id")
            .and_then(Value::as_u64);
        let (Some(bos), Some(id), true) = (self.special("bos")?, id, self.adds_bos()) else {
            return Ok(json!(null));
        };
        let start = |type_id: u32| json!({"SpecialToken": {"id": bos.clone(), "type_id": type_id}});
        let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
        Ok(json!({
            "type": "TemplateProcessing",
            "single": [start(0), text("A", 0)],
            "pair": [start(0), text("A", 0), start(1), text("B", 1)],
            "special_tokens": {bos.clone(): {"id": bos.clone(), "ids": [id], "tokens": [bos]}},
        }))
    }
}

/// A tokenizer.json without its added tokens and post-processor, in the order that the tokenizers crate writes.
fn whole(
    normalizer: serde_json::Value,
    pre_tokenizer: serde_json::Value,
    decoder: serde_json::Value,
    model: serde_json::Value,
) -> serde_json::Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
    })
}

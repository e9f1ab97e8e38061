//! A tokenizer.json → `tokenizer.*` metadata, as llama.cpp's converter writes it. A structure that llama.cpp has no
//! name for is refused: a guess would silently split text differently.
use super::bundle::TokenizerBundle;
use super::{pre, sentencepiece};
use crate::ModelConfig;
use crate::error::Fault;
use crate::gguf::Value;
use serde_json::Value as Json;
use std::collections::BTreeMap;

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

type Entries = Vec<(String, Value)>;

/// A tokenizer as GGUF has it.
pub(crate) struct Written {
    /// Its metadata.
    pub(crate) entries: Entries,
    /// The token ids among them.
    pub(crate) ids: Ids,
    /// Where llama.cpp differs from this tokenizer in a corner case, and what has no place.
    pub(crate) warnings: Vec<String>,
}

/// Special tokens by id.
pub(crate) struct Ids {
    pub(crate) bos: Option<u32>,
    /// The end of a text and further ends of a turn.
    pub(crate) eos: Vec<u32>,
    pub(crate) unknown: Option<u32>,
    pub(crate) padding: Option<u32>,
}

/// llama.cpp's keys of ends, in the order in which they are filled.
pub(crate) const GGUF_ENDS: [&str; 3] = ["eos", "eot", "eom"];

impl TokenizerBundle {
    /// The metadata of a model's tokenizer.
    pub(crate) fn to_gguf(&self, config: &ModelConfig) -> Result<Written, Fault> {
        let json: Json =
            serde_json::from_str(&self.json).map_err(|e| format!("tokenizer.json: {e}"))?;
        if json["model"]["type"] != "BPE" {
            return Err(Fault::new(format!(
                "a tokenizer of type {} can't be written as GGUF",
                json["model"]["type"]
            ))
            .hint("BPE can"));
        }
        let vocabulary = Vocabulary::read(&json, config.vocab_size)?;
        let merges = merges(&json)?;
        let mut entries = Entries::new();
        let mut warnings = Vec::new();
        if json["model"]["byte_fallback"] == true {
            let (prefix, corner) = sentencepiece::space_prefix(&json)?;
            warnings.extend(corner);
            push(&mut entries, "ggml.model", text("llama"));
            push(&mut entries, "ggml.pre", text("default"));
            let scores = sentencepiece::scores(
                &vocabulary.tokens,
                &vocabulary.sentencepiece_types(),
                &merges,
            )?;
            let types = vocabulary.sentencepiece_types();
            push(
                &mut entries,
                "ggml.tokens",
                Value::Strings(vocabulary.tokens),
            );
            push(&mut entries, "ggml.scores", Value::F32s(scores));
            push(&mut entries, "ggml.token_type", Value::I32s(types));
            push(&mut entries, "ggml.add_space_prefix", Value::Bool(prefix));
        } else {
            push(&mut entries, "ggml.model", text("gpt2"));
            push(&mut entries, "ggml.pre", text(pre::detect(&json)?));
            push(
                &mut entries,
                "ggml.tokens",
                Value::Strings(vocabulary.tokens),
            );
            push(
                &mut entries,
                "ggml.token_type",
                Value::I32s(vocabulary.types),
            );
            push(
                &mut entries,
                "ggml.merges",
                Value::Strings(joined(&merges)?),
            );
            push(&mut entries, "ggml.add_space_prefix", Value::Bool(false));
        }
        let mut ids = self.ids(config);
        if ids.eos.len() > GGUF_ENDS.len() {
            let left_out = ids.eos.split_off(GGUF_ENDS.len());
            warnings.push(format!(
                "GGUF names {} ends of an answer, this model has more: generation will not stop at the ids {left_out:?}",
                GGUF_ENDS.len()
            ));
        }
        entries.extend(self.special_entries(&ids));
        Ok(Written {
            entries,
            ids,
            warnings,
        })
    }

    /// The ids of the special tokens: the tokenizer's own, else the config's.
    fn ids(&self, config: &ModelConfig) -> Ids {
        let id =
            |token: &Option<String>| token.as_ref().and_then(|t| self.tokenizer.token_to_id(t));
        // config.json lists further ends of a turn after EOS.
        let mut eos: Vec<u32> = Vec::new();
        for end in id(&self.eos_token)
            .into_iter()
            .chain(config.eos_token_ids.iter().copied())
        {
            if !eos.contains(&end) {
                eos.push(end);
            }
        }
        Ids {
            bos: id(&self.bos_token).or(config.bos_token_id),
            eos,
            unknown: id(&self.unk_token),
            padding: id(&self.pad_token).or(config.pad_token_id),
        }
    }

    /// Special ids, BOS behaviour and the chat template.
    fn special_entries(&self, ids: &Ids) -> Entries {
        let mut entries = Entries::new();
        let ends = GGUF_ENDS
            .into_iter()
            .zip(ids.eos.iter().map(|&id| Some(id)));
        let all = [("bos", ids.bos)]
            .into_iter()
            .chain(ends)
            .chain([("unknown", ids.unknown), ("padding", ids.padding)]);
        for (name, id) in all {
            if let Some(id) = id {
                push(
                    &mut entries,
                    &format!("ggml.{name}_token_id"),
                    Value::U32(id),
                );
            }
        }
        push(
            &mut entries,
            "ggml.add_bos_token",
            Value::Bool(self.begins_with_bos()),
        );
        if let Some(template) = &self.chat_template {
            push(&mut entries, "chat_template", text(template));
        }
        entries
    }
}

fn push(entries: &mut Entries, key: &str, value: Value) {
    entries.push((format!("tokenizer.{key}"), value));
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Tokens by id with their types; rows of the embedding without a token are filled as the converter fills them.
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    unknown: Option<String>,
}

impl Vocabulary {
    fn read(json: &Json, vocab_size: usize) -> Result<Self, Fault> {
        let mut known: BTreeMap<u64, (String, i32)> = BTreeMap::new();
        for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
            let id = id
                .as_u64()
                .ok_or_else(|| format!("tokenizer.json: the id of {token:?} is no whole number"))?;
            if known.insert(id, (token.clone(), NORMAL)).is_some() {
                return Err(Fault::new(format!(
                    "tokenizer.json: two tokens have the id {id}"
                )));
            }
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            if let (Some(id), Some(content)) = (added["id"].as_u64(), added["content"].as_str()) {
                let kind = if added["special"] == true {
                    CONTROL
                } else {
                    USER_DEFINED
                };
                known.insert(id, (content.to_owned(), kind));
            }
        }
        if let Some((&id, (token, _))) = known.last_key_value()
            && id >= vocab_size as u64
        {
            return Err(Fault::new(format!(
                "token {token:?} has the id {id}, but the embedding has {vocab_size} rows"
            ))
            .hint("is the tokenizer that of another model?"));
        }
        let filler = |id: usize| (format!("[PAD{id}]"), UNUSED);
        let (tokens, types) = (0..vocab_size)
            .map(|id| known.remove(&(id as u64)).unwrap_or_else(|| filler(id)))
            .unzip();
        Ok(Self {
            tokens,
            types,
            unknown: json["model"]["unk_token"].as_str().map(str::to_owned),
        })
    }

    /// SentencePiece also marks bytes and the unknown token.
    fn sentencepiece_types(&self) -> Vec<i32> {
        let is_byte = |t: &str| t.len() == 6 && t.starts_with("<0x") && t.ends_with('>');
        let kind = |(token, &kind): (&String, &i32)| match kind {
            NORMAL if is_byte(token) => BYTE,
            _ if Some(token) == self.unknown.as_ref() => UNKNOWN,
            kind => kind,
        };
        self.tokens.iter().zip(&self.types).map(kind).collect()
    }
}

/// Pairs of tokenizer.json, which writes them as "a b" or ["a", "b"].
fn merges(json: &Json) -> Result<Vec<(String, String)>, String> {
    let parts = |merge: &Json| match merge {
        Json::String(line) => line
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned())),
        pair => Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())),
    };
    let list = json["model"]["merges"]
        .as_array()
        .ok_or("tokenizer.json has no merges")?;
    list.iter()
        .map(|m| parts(m).ok_or_else(|| format!("tokenizer.json: merge {m} is not two parts")))
        .collect()
}

/// "a b" lines.
fn joined(merges: &[(String, String)]) -> Result<Vec<String>, String> {
    let line = |(a, b): &(String, String)| match a.contains(' ') || b.contains(' ') {
        true => Err(format!(
            "merge {a:?} {b:?} has a space inside, which GGUF can't hold"
        )),
        false => Ok(format!("{a} {b}")),
    };
    merges.iter().map(line).collect()
}

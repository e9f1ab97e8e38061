//! The text part of a model that has more: its configuration among others, its weights under a prefix. Weights of vision and
//! audio towers stay unread.
use crate::families::Family;
use crate::view::Entry;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

type Object = Map<String, Value>;

/// What text configurations leave to the whole model's.
const SHARED: [&str; 5] = [
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
    "quantization_config",
];

/// The configuration of the text part, and one line that says so; none if the file is that of a text model.
pub(crate) fn config(json: &Object) -> Option<(Object, String)> {
    let whole = json.get("model_type").and_then(Value::as_str)?;
    let text = json.get("text_config")?.as_object()?;
    let own = text.get("model_type").and_then(Value::as_str)?;
    if Family::of_model_type(whole).is_some() {
        return None;
    }
    Family::of_model_type(own)?;
    let mut text = text.clone();
    for key in SHARED {
        if let (false, Some(value)) = (text.contains_key(key), json.get(key)) {
            text.insert(key.to_owned(), value.clone());
        }
    }
    let note = format!(
        "this is the text part ({own}) of a {whole} model: its other towers are left alone, and adapters have the names of the text \
         model's modules"
    );
    Some((text, note))
}

/// Where a decoder lies in a file, beside `model.`: in a model with towers (as transformers 4 and 5 save it), or without a
/// head around it.
const PREFIXES: [&str; 4] = [
    "language_model.model.",
    "model.language_model.",
    "language_model.",
    "",
];
const EMBEDDING: &str = "embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// The weights under the names of a text model. Of a model with towers (`has_towers`) only the decoder's remain.
pub(crate) fn weights(
    entries: BTreeMap<String, Entry>,
    has_towers: bool,
) -> BTreeMap<String, Entry> {
    let is_plain = entries.contains_key(&format!("model.{EMBEDDING}"));
    let found = PREFIXES
        .into_iter()
        .filter(|_| !is_plain)
        .find(|prefix| entries.contains_key(&format!("{prefix}{EMBEDDING}")));
    let prefix = match found {
        Some(prefix) => prefix,
        None if has_towers => "model.",
        None => return entries,
    };
    let rename = |name: String| match name.strip_suffix(HEAD) {
        Some("" | "language_model." | "model.language_model.") => Some(HEAD.to_owned()),
        _ => match name.strip_prefix(prefix) {
            Some(inner) => Some(format!("model.{inner}")),
            None => (!has_towers).then_some(name),
        },
    };
    let mut named = BTreeMap::new();
    for (name, entry) in entries {
        match rename(name.clone()) {
            // Two of one name: the second stays as it is, and has no place in the decoder.
            Some(own) if named.contains_key(&own) => _ = named.insert(name, entry),
            Some(own) => _ = named.insert(own, entry),
            None => {}
        }
    }
    named
}

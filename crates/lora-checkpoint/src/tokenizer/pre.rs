//! llama.cpp's names for pre-tokenizers (`tokenizer.ggml.pre`) and their structure in a tokenizer.json. One table, read
//! in both directions; a name or a structure that is not in it is refused, never guessed.
use crate::error::Fault;
use serde_json::{Value, json};

/// Llama 3's split.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's split.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's Tekken split.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A pre-tokenizer that both sides know.
struct Known {
    /// llama.cpp's names; the first is the one that is written.
    names: &'static [&'static str],
    /// `pre_tokenizer` of tokenizer.json.
    structure: fn() -> Value,
    /// `model.ignore_merges` of tokenizer.json.
    ignore_merges: bool,
}

/// What llama.cpp does where a file names no pre-tokenizer: four splits, one after the other.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

const KNOWN: [Known; 7] = [
    Known {
        names: &["smollm", "starcoder", "refact", "codeshell"],
        structure: digits_then_bytes,
        ignore_merges: false,
    },
    Known {
        names: &["gpt-2"],
        structure: bytes,
        ignore_merges: false,
    },
    Known {
        names: &["default"],
        structure: || splits_then_bytes(&DEFAULT),
        ignore_merges: false,
    },
    Known {
        names: &["llama-bpe", "llama3", "llama-v3"],
        structure: || splits_then_bytes(&[LLAMA3]),
        ignore_merges: true,
    },
    // Llama 3's split for tokenizers that merge every word (SmolLM3).
    Known {
        names: &["smaug-bpe"],
        structure: || splits_then_bytes(&[LLAMA3]),
        ignore_merges: false,
    },
    Known {
        names: &["qwen2", "deepseek-r1-qwen"],
        structure: || splits_then_bytes(&[QWEN2]),
        ignore_merges: false,
    },
    Known {
        names: &["tekken"],
        structure: || splits_then_bytes(&[TEKKEN]),
        ignore_merges: true,
    },
];

fn bytes() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

fn digits_then_bytes() -> Value {
    json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes()]})
}

fn splits_then_bytes(regexes: &[&str]) -> Value {
    let split = |regex: &&str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({"type": "Sequence", "pretokenizers": regexes.iter().map(split).chain([bytes]).collect::<Vec<_>>()})
}

/// The tokenizer.json structure of a `tokenizer.ggml.pre`, and its `ignore_merges`.
pub(crate) fn structure(name: &str) -> Result<(Value, bool), Fault> {
    match KNOWN.iter().find(|k| k.names.contains(&name)) {
        Some(known) => Ok(((known.structure)(), known.ignore_merges)),
        None => Err(Fault::new(format!(
            "pre-tokenizer \"{name}\" (tokenizer.ggml.pre) is not known"
        ))
        .hint(format!(
            "known are {}; use the Hugging Face folder of this model",
            names()
        ))),
    }
}

/// The `tokenizer.ggml.pre` of a tokenizer.json.
pub(crate) fn detect(tokenizer: &Value) -> Result<&'static str, Fault> {
    let found = without_offsets(tokenizer["pre_tokenizer"].clone());
    let ignore_merges = tokenizer["model"]["ignore_merges"]
        .as_bool()
        .unwrap_or(false);
    let normalizer = &tokenizer["normalizer"];
    KNOWN
        .iter()
        .find(|k| without_offsets((k.structure)()) == found && k.ignore_merges == ignore_merges)
        .filter(|k| normalizer.is_null() || (k.names[0] == "qwen2" && normalizer["type"] == "NFC"))
        .map(|k| k.names[0])
        .ok_or_else(|| {
            Fault::new("llama.cpp's name for this tokenizer's pre-tokenizer is not known").hint(
                format!(
                    "known are {}; a wrong one would \
                 silently split text differently",
                    names()
                ),
            )
        })
}

/// Drops `trim_offsets`, which does not change any id.
fn without_offsets(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("trim_offsets");
    }
    if let Some(list) = value.get_mut("pretokenizers").and_then(Value::as_array_mut) {
        for item in list {
            *item = without_offsets(item.take());
        }
    }
    value
}

fn names() -> String {
    KNOWN
        .iter()
        .flat_map(|k| k.names)
        .copied()
        .collect::<Vec<_>>()
        .join(", ")
}

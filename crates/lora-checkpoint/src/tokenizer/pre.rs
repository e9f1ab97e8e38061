//! llama.cpp's names for pre-tokenizers (`tokenizer.ggml.pre`) and their structure in a tokenizer.json. One table, read
//! in both directions; a name or a structure that is not in it is refused, never guessed.
use crate::error::Fault;
use serde_json::{Value, json};

/// Llama 3's split.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's split.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 3.5's split: marks are part of words.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's Tekken split.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-4o's split (o200k).
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Seed's split.
const SEED: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// DeepSeek V3's splits, one after the other.
const DEEPSEEK3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

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

const KNOWN: [Known; 11] = [
    Known {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "codeshell",
            "command-r",
            "exaone",
        ],
        structure: digits_then_bytes,
        ignore_merges: false,
    },
    Known {
        names: &["gpt-2", "exaone4", "phi-2", "olmo"],
        structure: bytes,
        ignore_merges: false,
    },
    Known {
        names: &["default"],
        structure: || splits_then_bytes(&DEFAULT),
        ignore_merges: false,
    },
    Known {
        names: &["llama-bpe", "llama3", "llama-v3", "lfm2", "falcon-h1"],
        structure: || splits_then_bytes(&[LLAMA3]),
        ignore_merges: true,
    },
    // Llama 3's split for tokenizers that merge every word (SmolLM3, Phi-4, OLMo 2 and 3, GLM-4).
    Known {
        names: &["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"],
        structure: || splits_then_bytes(&[LLAMA3]),
        ignore_merges: false,
    },
    Known {
        names: &["qwen2", "deepseek-r1-qwen"],
        structure: || splits_then_bytes(&[QWEN2]),
        ignore_merges: false,
    },
    Known {
        names: &["qwen35"],
        structure: || splits_then_bytes(&[QWEN35]),
        ignore_merges: false,
    },
    Known {
        names: &["tekken"],
        structure: || splits_then_bytes(&[TEKKEN]),
        ignore_merges: true,
    },
    Known {
        names: &["gpt-4o", "llama4"],
        structure: || splits_then_bytes(&[GPT4O]),
        ignore_merges: false,
    },
    Known {
        names: &["seed-coder"],
        structure: || splits_then_bytes(&[SEED]),
        ignore_merges: false,
    },
    Known {
        names: &["hunyuan-dense", "deepseek-v3"],
        structure: || splits_then_bytes(&DEEPSEEK3),
        ignore_merges: false,
    },
];

/// Names of those whose tokenizer.json composes characters first (NFC), which llama.cpp leaves out.
pub(crate) const COMPOSING: [&str; 3] = ["qwen2", "qwen35", "command-r"];

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
    let found = plain(tokenizer["pre_tokenizer"].clone());
    let ignore_merges = tokenizer["model"]["ignore_merges"]
        .as_bool()
        .unwrap_or(false);
    let normalizer = &tokenizer["normalizer"];
    let composes = normalizer["type"] == "NFC";
    let name_of = |known: &Known| match known.names {
        _ if normalizer.is_null() => Some(known.names[0]),
        names if composes => names.iter().copied().find(|name| COMPOSING.contains(name)),
        _ => None,
    };
    KNOWN
        .iter()
        .find(|k| plain((k.structure)()) == found && k.ignore_merges == ignore_merges)
        .and_then(name_of)
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

/// One spelling of what gives the same ids: without `trim_offsets`, line ends in a pattern by their escapes, and what a
/// pattern alone keeps as what it isolates (OpenAI's patterns match every character, so nothing lies between).
fn plain(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("trim_offsets");
    }
    if let Some(Value::String(regex)) = value.pointer_mut("/pattern/Regex") {
        *regex = regex.replace('\r', r"\r").replace('\n', r"\n");
    }
    if let Some(list) = value.get_mut("pretokenizers").and_then(Value::as_array_mut) {
        let splits = list.iter().filter(|item| item["type"] == "Split").count();
        for item in list {
            *item = plain(item.take());
            let keeps = item["behavior"] == "Removed" && item["invert"] == true;
            if splits == 1 && keeps && matches_everything(&item["pattern"]["Regex"]) {
                item["behavior"] = "Isolated".into();
                item["invert"] = false.into();
            }
        }
    }
    value
}

/// Whether no character lies outside of a pattern's matches: every letter, number, other visible character and space is in
/// one of the alternatives.
fn matches_everything(regex: &Value) -> bool {
    [LLAMA3, QWEN2, QWEN35, TEKKEN, GPT4O, SEED]
        .iter()
        .any(|known| regex == known)
}

fn names() -> String {
    KNOWN
        .iter()
        .flat_map(|k| k.names)
        .copied()
        .collect::<Vec<_>>()
        .join(", ")
}

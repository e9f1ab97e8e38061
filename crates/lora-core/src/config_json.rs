//! adapter_config.json: read strictly, written as PEFT writes it.
use crate::config::needs_a_list;
use crate::keys::{self, KEYS, Role};
use crate::targets::ModuleNames;
use crate::{Bias, Error, Init, LoraConfig, Pattern, TargetModules};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

impl LoraConfig {
    /// Reads adapter_config.json; active options that can't be honoured are errors, unknown keys are carried.
    ///
    /// # Errors
    /// Names the file, the key and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let fields: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|e| Error::invalid(path, format!("not a JSON object: {e}")))?;
        Self::from_json(&fields).map_err(|message| Error::invalid(path, message))
    }

    /// Reads the fields of adapter_config.json; the error is one line, perhaps with a hint.
    fn from_json(fields: &Map<String, Value>) -> Result<Self, String> {
        let get = |key: &str| fields.get(key).unwrap_or(&Value::Null);
        let flag = |key: &str| read(get(key), json!(false), key, "true or false", Value::as_bool);
        expect_word(fields, "peft_type", "LORA")?;
        if !get("task_type").is_null() {
            expect_word(fields, "task_type", "CAUSAL_LM")?;
        }
        // To PEFT even an empty list of layers beside an expression is one too many.
        let is_set = |key: &&&str| get("target_modules").is_string() && !get(key).is_null();
        if let Some(key) = ["layers_to_transform", "layers_pattern"]
            .iter()
            .find(is_set)
        {
            return Err(needs_a_list(key, &read_targets(get("target_modules"))?));
        }
        let bias = |v: &Value| Bias::named(v.as_str()?);
        let config = Self {
            r: read(get("r"), json!(8), "r", "a positive whole number", as_count)?,
            lora_alpha: read(
                get("lora_alpha"),
                json!(8),
                "lora_alpha",
                "a number",
                Value::as_f64,
            )?,
            lora_dropout: read(
                get("lora_dropout"),
                json!(0.0),
                "lora_dropout",
                "a number",
                Value::as_f64,
            )?,
            use_rslora: flag("use_rslora")?,
            use_dora: flag("use_dora")?,
            lora_bias: flag("lora_bias")?,
            bias: read(
                get("bias"),
                json!("none"),
                "bias",
                "\"none\", \"all\" or \"lora_only\"",
                bias,
            )?,
            target_modules: read_targets(get("target_modules"))?,
            exclude_modules: read_names(get("exclude_modules"), "exclude_modules")?,
            layers_to_transform: one_or_list(
                get("layers_to_transform"),
                "layers_to_transform",
                "numbers",
                as_count,
            )?,
            layers_pattern: one_or_list(
                get("layers_pattern"),
                "layers_pattern",
                "strings",
                as_word,
            )?,
            rank_pattern: read_pattern(
                get("rank_pattern"),
                "rank_pattern",
                "positive whole numbers",
                as_count,
            )?,
            alpha_pattern: read_pattern(
                get("alpha_pattern"),
                "alpha_pattern",
                "numbers",
                Value::as_f64,
            )?,
            modules_to_save: read_list(get("modules_to_save"), "modules_to_save")?,
            init: Init::from_value(get("init_lora_weights"))
                .ok_or_else(|| refusal("init_lora_weights", get("init_lora_weights")))?,
            ensure_weight_tying: flag("ensure_weight_tying")?,
            base_model_name_or_path: match get("base_model_name_or_path") {
                Value::Null => None,
                value => Some(read(
                    value,
                    Value::Null,
                    "base_model_name_or_path",
                    "a string",
                    as_string,
                )?),
            },
            extra: carried(fields)?,
        };
        config.check()?;
        Ok(config)
    }

    /// All 41 keys that PEFT 0.21.2 writes, and the carried ones, sorted, indent 2.
    pub(crate) fn to_json(&self) -> String {
        let mut fields: BTreeMap<String, Value> = KEYS
            .iter()
            .map(|(key, literal, _)| (key.to_string(), keys::default(literal)))
            .collect();
        fields.extend(
            self.extra
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        let list = |items: &[String]| {
            if items.is_empty() {
                Value::Null
            } else {
                json!(items)
            }
        };
        let targets = match &self.target_modules {
            TargetModules::List(names) => sorted(names),
            other => json!(other.to_string()),
        };
        let excluded = match &self.exclude_modules {
            None => Value::Null,
            Some(ModuleNames::List(names)) => sorted(names),
            Some(ModuleNames::Regex(pattern)) => json!(pattern),
        };
        let layers = &self.layers_to_transform;
        for (key, value) in [
            ("r", json!(self.r)),
            ("lora_alpha", number(self.lora_alpha)),
            ("lora_dropout", json!(self.lora_dropout)),
            ("use_rslora", json!(self.use_rslora)),
            ("use_dora", json!(self.use_dora)),
            ("lora_bias", json!(self.lora_bias)),
            ("bias", json!(self.bias.word())),
            ("target_modules", targets),
            ("exclude_modules", excluded),
            (
                "layers_to_transform",
                if layers.is_empty() {
                    Value::Null
                } else {
                    json!(layers)
                },
            ),
            ("layers_pattern", list(&self.layers_pattern)),
            (
                "rank_pattern",
                object(&self.rank_pattern, |rank| json!(rank)),
            ),
            ("alpha_pattern", object(&self.alpha_pattern, number)),
            ("modules_to_save", list(&self.modules_to_save)),
            ("init_lora_weights", self.init.value()),
            ("ensure_weight_tying", json!(self.ensure_weight_tying)),
            (
                "base_model_name_or_path",
                json!(self.base_model_name_or_path),
            ),
        ] {
            fields.insert(key.to_string(), value);
        }
        serde_json::to_string_pretty(&fields).unwrap_or_default()
    }
}

/// A number as Python writes it: 16, not 16.0.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

fn sorted(names: &[String]) -> Value {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    json!(names)
}

fn object<T: Copy>(pattern: &Pattern<T>, value: impl Fn(T) -> Value) -> Value {
    Value::Object(
        pattern
            .0
            .iter()
            .map(|(key, x)| (key.clone(), value(*x)))
            .collect(),
    )
}

/// The keys to carry; an active one that can't be honoured is an error that names key and value.
fn carried(fields: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut extra = Map::new();
    for (key, value) in fields {
        let default = KEYS
            .iter()
            .find(|(name, ..)| name == key)
            .map(|(_, literal, _)| keys::default(literal));
        match (keys::role(key), default) {
            (Some(Role::Honoured | Role::Constant), _) => {}
            (Some(Role::Refused), Some(default)) if !keys::is_inactive(value, &default) => {
                return Err(refusal(key, value));
            }
            (_, default) if default.as_ref() == Some(value) => {}
            _ => {
                extra.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(extra)
}

fn refusal(key: &str, value: &Value) -> String {
    format!(
        "option `{key}: {value}` is not supported\nhint: it changes what the adapter computes; merge it with PEFT, or train \
         without `{key}`"
    )
}

fn expect_word(fields: &Map<String, Value>, key: &str, word: &str) -> Result<(), String> {
    match fields.get(key) {
        Some(Value::String(found)) if found == word => Ok(()),
        Some(found) => Err(format!("{key} is {found}, only \"{word}\" is supported")),
        None => Err(format!(
            "no key `{key}`: not an adapter_config.json of PEFT"
        )),
    }
}

/// A value of the right type; null stands for PEFT's default.
fn read<T>(
    value: &Value,
    default: Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<T, String> {
    let value = if value.is_null() { &default } else { value };
    get(value).ok_or_else(|| format!("{key} must be {kind}, not {value}"))
}

fn as_string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

/// A word that is not empty: PEFT takes an empty one as unset.
fn as_word(value: &Value) -> Option<String> {
    as_string(value).filter(|word| !word.is_empty())
}

fn as_count(value: &Value) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}

fn read_list(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let items = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(as_word).collect(),
        _ => None,
    };
    items.ok_or_else(|| format!("{key} must be a list of strings, not {value}"))
}

/// A single value, or a list of them; empty if unset.
fn one_or_list<T>(
    value: &Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let items = match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::Array(items) => items.iter().map(get).collect(),
        one => get(one).map(|one| vec![one]),
    };
    items.ok_or_else(|| format!("{key} must be {kind}, not {value}"))
}

fn read_pattern<T>(
    value: &Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<Pattern<T>, String> {
    let pairs = match value {
        Value::Null => Some(Vec::new()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| Some((name.clone(), get(value)?)))
            .collect(),
        _ => None,
    };
    pairs
        .map(Pattern)
        .ok_or_else(|| format!("{key} must map names of modules to {kind}, not {value}"))
}

/// PEFT's `exclude_modules`: nothing, a list, or an expression.
fn read_names(value: &Value, key: &str) -> Result<Option<ModuleNames>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(pattern) => Ok(Some(ModuleNames::Regex(pattern.clone()))),
        _ => {
            let names = read_list(value, key)?;
            Ok((!names.is_empty()).then_some(ModuleNames::List(names)))
        }
    }
}

/// PEFT's `target_modules`; null means its default in every family that it has one for and
/// that is known here.
fn read_targets(value: &Value) -> Result<TargetModules, String> {
    let targets = match value {
        Value::Null => Some(TargetModules::List(
            ["q_proj", "v_proj"].map(str::to_string).to_vec(),
        )),
        Value::String(word) if word.eq_ignore_ascii_case("all-linear") => {
            Some(TargetModules::AllLinear)
        }
        Value::String(pattern) => Some(TargetModules::Regex(pattern.clone())),
        Value::Array(items) => {
            items
                .iter()
                .map(as_string)
                .collect::<Option<Vec<_>>>()
                .map(|mut names| {
                    names.sort();
                    names.dedup();
                    TargetModules::List(names)
                })
        }
        _ => None,
    };
    targets
        .ok_or_else(|| format!("target_modules must be a list of strings or a string, not {value}"))
}

//! adapter_config.json read: every key checked, what can't be honoured refused.
use super::value::{
    as_count, as_string, as_word, expect_word, one_or_list, read, read_list, read_pattern,
};
use crate::config::needs_a_list;
use crate::keys::{self, KEYS, Role};
use crate::targets::ModuleNames;
use crate::{Bias, Error, Fault, Init, LoraConfig, TargetModules, TokenIndices};
use serde_json::{Map, Value, json};
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

    /// Reads the fields of adapter_config.json.
    fn from_json(fields: &Map<String, Value>) -> Result<Self, Fault> {
        let get = |key: &str| fields.get(key).unwrap_or(&Value::Null);
        let flag = |key: &str| read(get(key), json!(false), key, "true or false", Value::as_bool);
        expect_word(fields, "peft_type", "LORA")
            .map_err(|what| Fault::new(what).hint(hint_at_method(get("peft_type"))))?;
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
            target_modules: match (get("target_modules"), get("target_parameters")) {
                // PEFT knows no default for models with experts but Mixtral's, and writes that down.
                (Value::Null, Value::Array(named)) if !named.is_empty() => {
                    TargetModules::List(Vec::new())
                }
                (targets, _) => read_targets(targets)?,
            },
            target_parameters: match get("target_parameters") {
                Value::Null => None,
                value => Some(read_list(value, "target_parameters")?),
            },
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
            trainable_token_indices: read_tokens(get("trainable_token_indices"))?,
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
}

/// The keys to carry; an active one that can't be honoured is an error that names key and value.
fn carried(fields: &Map<String, Value>) -> Result<Map<String, Value>, Fault> {
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

fn refusal(key: &str, value: &Value) -> Fault {
    Fault::new(format!("option `{key}: {value}` is not supported")).hint(format!(
        "it changes what the adapter computes; merge it with PEFT, or train without `{key}`"
    ))
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

/// PEFT's `trainable_token_indices`: a list of tokens, or one for each module; empty ones are unset.
fn read_tokens(value: &Value) -> Result<TokenIndices, String> {
    let key = "trainable_token_indices";
    let tokens = |value: &Value| one_or_list(value, key, "whole numbers", as_count);
    match value {
        Value::Null => Ok(TokenIndices::None),
        Value::Array(items) if items.is_empty() => Ok(TokenIndices::None),
        Value::Array(_) => Ok(TokenIndices::Embedding(tokens(value)?)),
        Value::Object(fields) => {
            let own = fields.iter().filter(|(_, tokens)| tokens != &&json!([]));
            let own = own.map(|(name, list)| Ok((name.clone(), tokens(list)?)));
            let own: Vec<_> = own.collect::<Result<_, String>>()?;
            Ok(if own.is_empty() {
                TokenIndices::None
            } else {
                TokenIndices::Modules(own)
            })
        }
        _ => Err(format!(
            "{key} must be a list of whole numbers, or map names of modules to such, not {value}"
        )),
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

/// What to do with an adapter of another method.
fn hint_at_method(found: &Value) -> &'static str {
    match found.is_string() {
        true => {
            "it is of another method than LoRA: merge it into its base with PEFT (merge_and_unload), and take that as the base"
        }
        false => "is this what PEFT, mlx-lm or lora-train wrote? save or copy the adapter again",
    }
}

//! adapter_config.json written as PEFT writes it.
use crate::keys::{self, KEYS};
use crate::targets::ModuleNames;
use crate::{LoraConfig, Pattern, TargetModules, TokenIndices};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl LoraConfig {
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
            ("target_parameters", json!(self.target_parameters)),
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
            (
                "trainable_token_indices",
                tokens(&self.trainable_token_indices),
            ),
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

fn tokens(indices: &TokenIndices) -> Value {
    match indices {
        TokenIndices::None => Value::Null,
        TokenIndices::Embedding(rows) => json!(rows),
        TokenIndices::Modules(named) => named
            .iter()
            .map(|(name, rows)| (name.clone(), json!(rows)))
            .collect(),
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

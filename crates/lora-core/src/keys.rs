//! The one table of adapter_config.json: every key that PEFT 0.21.2 writes, its default, and what is done with it here.
//! A new option is honoured by changing its row and reading it in `config`.
use serde_json::Value;

/// What is done with a key of adapter_config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Read into a field of `LoraConfig`.
    Honoured,
    /// Describes how the adapter was made, or is inert by itself: carried as it is.
    Carried,
    /// Written as PEFT writes it, whatever was read.
    Constant,
    /// Changes what the adapter computes and is not implemented: only an inactive value is accepted.
    Refused,
}

/// (key, what PEFT writes by default, role), sorted as PEFT sorts.
#[rustfmt::skip]
pub(crate) const KEYS: [(&str, &str, Role); 41] = [
    ("alora_invocation_tokens", "null",               Role::Refused),
    ("alpha_pattern",           "{}",                 Role::Honoured),
    ("arrow_config",            "null",               Role::Refused),
    ("auto_mapping",            "null",               Role::Carried),
    ("base_model_name_or_path", "null",               Role::Honoured),
    ("bias",                    "\"none\"",           Role::Honoured),
    ("corda_config",            "null",               Role::Refused),
    ("ensure_weight_tying",     "false",              Role::Honoured),
    ("eva_config",              "null",               Role::Carried), // how A began
    ("exclude_modules",         "null",               Role::Honoured),
    ("fan_in_fan_out",          "false",              Role::Refused),
    ("inference_mode",          "true",               Role::Constant),
    ("init_lora_weights",       "true",               Role::Honoured),
    ("kasa_config",             "null",               Role::Refused),
    ("layer_replication",       "null",               Role::Refused),
    ("layers_pattern",          "null",               Role::Honoured),
    ("layers_to_transform",     "null",               Role::Honoured),
    ("loftq_config",            "{}",                 Role::Refused),
    ("lora_alpha",              "8",                  Role::Honoured),
    ("lora_bias",               "false",              Role::Honoured),
    ("lora_dropout",            "0.0",                Role::Honoured),
    ("lora_ga_config",          "null",               Role::Refused),
    ("megatron_config",         "null",               Role::Refused),
    ("megatron_core",           "\"megatron.core\"",  Role::Carried),
    ("modules_to_save",         "null",               Role::Honoured),
    ("monteclora_config",       "null",               Role::Refused),
    ("peft_type",               "\"LORA\"",           Role::Honoured),
    ("peft_version",            "\"0.21.2\"",         Role::Constant),
    ("qalora_group_size",       "16",                 Role::Carried), // acts through use_qalora only
    ("r",                       "8",                  Role::Honoured),
    ("rank_pattern",            "{}",                 Role::Honoured),
    ("revision",                "null",               Role::Carried),
    ("target_modules",          "null",               Role::Honoured),
    ("target_parameters",       "null",               Role::Honoured),
    ("task_type",               "\"CAUSAL_LM\"",      Role::Honoured),
    ("trainable_token_indices", "null",               Role::Honoured),
    ("use_bdlora",              "null",               Role::Refused),
    ("use_dora",                "false",              Role::Honoured),
    ("use_qalora",              "false",              Role::Refused),
    ("use_rslora",              "false",              Role::Honoured),
    ("velora_config",           "null",               Role::Refused),
];

/// The role of a key; None if PEFT 0.21.2 doesn't write it.
pub(crate) fn role(key: &str) -> Option<Role> {
    KEYS.binary_search_by(|(name, ..)| (*name).cmp(key))
        .ok()
        .map(|i| KEYS[i].2)
}

/// What PEFT writes for a key by default.
pub(crate) fn default(literal: &str) -> Value {
    serde_json::from_str(literal).unwrap_or(Value::Null)
}

/// True if a value of a refused key changes nothing: its default, or any of the empty values that PEFT treats as unset.
pub(crate) fn is_inactive(value: &Value, default: &Value) -> bool {
    value == default
        || match value {
            Value::Null => true,
            Value::Bool(on) => !on,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Number(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_its_defaults_are_json() {
        assert!(KEYS.windows(2).all(|w| w[0].0 < w[1].0));
        for (key, literal, _) in KEYS {
            assert!(serde_json::from_str::<Value>(literal).is_ok(), "{key}");
        }
    }
}

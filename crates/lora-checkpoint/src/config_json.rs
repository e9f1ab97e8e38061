//! config.json as transformers 4 and 5 write it → [`ModelConfig`]. What can't be honoured is refused by name.
use crate::error::{Result, invalid, read_json};
use crate::{ModelConfig, RopeScaling};
use serde_json::{Map, Value};
use std::path::Path;

type Object = Map<String, Value>;

/// Reads config.json (and generation_config.json beside it).
pub(crate) fn load(path: &Path) -> Result<ModelConfig> {
    let value = read_json(path)?;
    let Value::Object(json) = value else {
        return Err(invalid(path, "not a JSON object"));
    };
    let mut config = parse(&json).map_err(|message| invalid(path, message))?;
    let generation = path.with_file_name("generation_config.json");
    if generation.is_file() {
        let more = ids(read_json(&generation)?.get("eos_token_id")).map_err(|m| invalid(&generation, m))?;
        for id in more {
            if !config.eos_token_ids.contains(&id) {
                config.eos_token_ids.push(id);
            }
        }
    }
    Ok(config)
}

/// transformers' `LlamaConfig` defaults for what is absent.
fn parse(json: &Object) -> Result<ModelConfig, String> {
    refuse_unsupported(json)?;
    let heads = size(json, "num_attention_heads")?.unwrap_or(32);
    let hidden = size(json, "hidden_size")?.unwrap_or(4096);
    let max_position_embeddings = size(json, "max_position_embeddings")?.unwrap_or(2048);
    let (rope_theta, rope_scaling) = rope(json, max_position_embeddings)?;
    let config = ModelConfig {
        model_type: "llama".to_owned(),
        vocab_size: size(json, "vocab_size")?.unwrap_or(32_000),
        hidden_size: hidden,
        intermediate_size: size(json, "intermediate_size")?.unwrap_or(11_008),
        num_hidden_layers: size(json, "num_hidden_layers")?.unwrap_or(32),
        num_attention_heads: heads,
        num_key_value_heads: size(json, "num_key_value_heads")?.unwrap_or(heads),
        head_dim: size(json, "head_dim")?.unwrap_or(hidden / heads.max(1)),
        rms_norm_eps: real(json, "rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        tie_word_embeddings: flag(json, "tie_word_embeddings")?,
        max_position_embeddings,
        attention_bias: flag(json, "attention_bias")?,
        mlp_bias: flag(json, "mlp_bias")?,
        bos_token_id: ids_or(json, "bos_token_id", Some(1))?.first().copied(),
        eos_token_ids: ids_or(json, "eos_token_id", Some(2))?,
        pad_token_id: ids_or(json, "pad_token_id", None)?.first().copied(),
    };
    config.validate()?;
    Ok(config)
}

fn refuse_unsupported(json: &Object) -> Result<(), String> {
    match json.get("model_type").and_then(Value::as_str) {
        Some("llama") => {}
        Some(other) => {
            return Err(format!(
                "model_type \"{other}\" is not supported\nhint: the llama family is (SmolLM2, TinyLlama, Llama 2 and 3)"
            ));
        }
        None => return Err("no model_type\nhint: is this the config.json of a Hugging Face model?".to_owned()),
    }
    match json.get("hidden_act") {
        None | Some(Value::Null) => {}
        Some(Value::String(act)) if act == "silu" || act == "swish" => {}
        Some(act) => return Err(format!("hidden_act {act} is not supported, only \"silu\" is")),
    }
    if json.get("quantization_config").is_some_and(|v| !v.is_null()) {
        return Err("a model quantised by another library (quantization_config) can't be read\n\
             hint: use its unquantised folder, or a GGUF file"
            .to_owned());
    }
    Ok(())
}

/// `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (transformers 4).
fn rope(json: &Object, max_position_embeddings: usize) -> Result<(f64, RopeScaling), String> {
    let empty = Map::new();
    let nested = match (non_null(json, "rope_scaling"), non_null(json, "rope_parameters")) {
        (Some(Value::Object(o)), _) if !o.is_empty() => o,
        (_, Some(Value::Object(o))) => o,
        (None | Some(Value::Object(_)), None) => &empty,
        _ => return Err("rope_parameters (or rope_scaling) is not an object".to_owned()),
    };
    let theta = match real(nested, "rope_theta")? {
        Some(theta) => theta,
        None => real(json, "rope_theta")?.unwrap_or(10_000.0),
    };
    for object in [nested, json] {
        if real(object, "partial_rotary_factor")?.is_some_and(|f| f != 1.0) {
            return Err("partial_rotary_factor other than 1 is not supported".to_owned());
        }
    }
    let kind = non_null(nested, "rope_type").or_else(|| non_null(nested, "type"));
    let kind = match kind {
        None => "default",
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(format!("rope_type {other} is not a string")),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "llama3" => {
            let need = |key: &str| real(nested, key)?.ok_or_else(|| format!("rope_type llama3 needs {key}"));
            let original = match size(json, "original_max_position_embeddings")? {
                Some(n) => n,
                None => size(nested, "original_max_position_embeddings")?.unwrap_or(max_position_embeddings),
            };
            RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_position_embeddings: original,
            }
        }
        other => {
            return Err(format!("rope_type \"{other}\" is not supported\nhint: \"default\" and \"llama3\" are"));
        }
    };
    Ok((theta, scaling))
}

fn non_null<'a>(json: &'a Object, key: &str) -> Option<&'a Value> {
    json.get(key).filter(|v| !v.is_null())
}

fn size(json: &Object, key: &str) -> Result<Option<usize>, String> {
    match non_null(json, key) {
        None => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("{key} is {v}, expected a whole number")),
        },
    }
}

fn real(json: &Object, key: &str) -> Result<Option<f64>, String> {
    match non_null(json, key) {
        None => Ok(None),
        Some(v) => v.as_f64().map(Some).ok_or_else(|| format!("{key} is {v}, expected a number")),
    }
}

fn flag(json: &Object, key: &str) -> Result<bool, String> {
    match non_null(json, key) {
        None => Ok(false),
        Some(v) => v.as_bool().ok_or_else(|| format!("{key} is {v}, expected true or false")),
    }
}

/// Ids under a key; an absent key has transformers' default, an explicit null has none.
fn ids_or(json: &Object, key: &str, default: Option<u32>) -> Result<Vec<u32>, String> {
    match json.get(key) {
        None => Ok(default.into_iter().collect()),
        value => ids(value).map_err(|m| format!("{key}: {m}")),
    }
}

/// An id, a list of ids, or null.
fn ids(value: Option<&Value>) -> Result<Vec<u32>, String> {
    let id = |v: &Value| match v.as_i64() {
        Some(n) if (0..=i64::from(u32::MAX)).contains(&n) => Ok(n as u32),
        _ => Err(format!("token id {v} is not a whole number that is not negative")),
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        // Old configs write -1 for "none".
        Some(v) if v.as_i64() == Some(-1) => Ok(Vec::new()),
        Some(v) => Ok(vec![id(v)?]),
    }
}

//! config.json and generation_config.json of a written folder.
use super::encode::SaveDtype;
use crate::error::{Error, invalid, io, read_json};
use crate::rope::recover_llama3;
use crate::{Checkpoint, Format, ModelConfig, RopeScaling};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// JSON with an indent of 2 and a newline at the end, as transformers writes it.
pub(crate) fn write(path: &Path, value: &Value) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| invalid(path, e.to_string()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(io("write", path))
}

/// Both config files. A Hugging Face source keeps every key of its own; only the dtype is the new one.
pub(crate) fn write_configs(
    dir: &Path,
    model: &Checkpoint,
    dtype: SaveDtype,
    files: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let path = dir.join("config.json");
    let config = match model.format() {
        Format::HuggingFace => with_dtype(read_json(&model.path().join("config.json"))?, dtype),
        Format::Gguf => build(model.config(), dtype).map_err(|m| invalid(model.path(), m))?,
    };
    write(&path, &config)?;
    files.push(path);
    let path = dir.join("generation_config.json");
    let source = model.path().join("generation_config.json");
    match model.format() {
        Format::HuggingFace if source.is_file() => {
            let bytes = std::fs::read(&source).map_err(io("read", &source))?;
            std::fs::write(&path, bytes).map_err(io("write", &path))?;
        }
        Format::HuggingFace => return Ok(()),
        Format::Gguf => write(&path, &Value::Object(special_ids(model.config())))?,
    }
    files.push(path);
    Ok(())
}

fn with_dtype(mut config: Value, dtype: SaveDtype) -> Value {
    if let Some(map) = config.as_object_mut() {
        let old_key = map.contains_key("torch_dtype");
        if old_key {
            map.insert("torch_dtype".to_owned(), dtype.torch_name().into());
        }
        if !old_key || map.contains_key("dtype") {
            map.insert("dtype".to_owned(), dtype.torch_name().into());
        }
    }
    config
}

/// config.json from a decoder's shape. `rope_parameters` is transformers 5's; `rope_theta` and `rope_scaling` say the
/// same to transformers 4.
fn build(config: &ModelConfig, dtype: SaveDtype) -> Result<Value, String> {
    let mut map = Map::new();
    map.insert("architectures".to_owned(), json!(["LlamaForCausalLM"]));
    map.insert("attention_bias".to_owned(), config.attention_bias.into());
    map.insert("attention_dropout".to_owned(), json!(0.0));
    map.extend(special_ids(config));
    map.insert("dtype".to_owned(), dtype.torch_name().into());
    map.insert("head_dim".to_owned(), config.head_dim.into());
    map.insert("hidden_act".to_owned(), "silu".into());
    map.insert("hidden_size".to_owned(), config.hidden_size.into());
    map.insert("initializer_range".to_owned(), json!(0.02));
    map.insert("intermediate_size".to_owned(), config.intermediate_size.into());
    map.insert("max_position_embeddings".to_owned(), config.max_position_embeddings.into());
    map.insert("mlp_bias".to_owned(), config.mlp_bias.into());
    map.insert("model_type".to_owned(), config.model_type.as_str().into());
    map.insert("num_attention_heads".to_owned(), config.num_attention_heads.into());
    map.insert("num_hidden_layers".to_owned(), config.num_hidden_layers.into());
    map.insert("num_key_value_heads".to_owned(), config.num_key_value_heads.into());
    map.insert("rms_norm_eps".to_owned(), config.rms_norm_eps.into());
    let scaling = rope_scaling(config)?;
    let mut parameters =
        scaling.clone().unwrap_or_else(|| Map::from_iter([("rope_type".to_owned(), json!("default"))]));
    parameters.insert("rope_theta".to_owned(), config.rope_theta.into());
    map.insert("rope_parameters".to_owned(), Value::Object(parameters));
    map.insert("rope_scaling".to_owned(), scaling.map_or(Value::Null, Value::Object));
    map.insert("rope_theta".to_owned(), config.rope_theta.into());
    map.insert("tie_word_embeddings".to_owned(), config.tie_word_embeddings.into());
    map.insert("torch_dtype".to_owned(), dtype.torch_name().into());
    map.insert("use_cache".to_owned(), true.into());
    map.insert("vocab_size".to_owned(), config.vocab_size.into());
    Ok(Value::Object(map))
}

/// transformers' `rope_scaling`; None for the plain embedding.
fn rope_scaling(config: &ModelConfig) -> Result<Option<Map<String, Value>>, String> {
    let scaling = match &config.rope_scaling {
        RopeScaling::Factors(factors) => recover_llama3(factors, config.rope_theta).ok_or(
            "the rope factors of this file are not those of Llama 3's scaling, which is all that config.json can say\n\
             hint: keep the model as a GGUF file",
        )?,
        other => other.clone(),
    };
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = scaling
    else {
        return Ok(None);
    };
    let value = json!({
        "factor": factor, "high_freq_factor": high_freq_factor, "low_freq_factor": low_freq_factor,
        "original_max_position_embeddings": original_max_position_embeddings, "rope_type": "llama3",
    });
    Ok(value.as_object().cloned())
}

/// bos, eos (a list if there are several) and pad.
fn special_ids(config: &ModelConfig) -> Map<String, Value> {
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    Map::from_iter([
        ("bos_token_id".to_owned(), json!(config.bos_token_id)),
        ("eos_token_id".to_owned(), eos),
        ("pad_token_id".to_owned(), json!(config.pad_token_id)),
    ])
}

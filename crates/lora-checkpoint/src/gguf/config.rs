//! GGUF metadata → [`ModelConfig`].
use super::parse::Gguf;
use crate::view::{Entry, StorageDtype, TensorView};
use crate::{ModelConfig, RopeScaling};

/// The decoder that the metadata and the tensor table describe. `bytes` is the whole file.
pub(crate) fn model_config(gguf: &Gguf, bytes: &[u8]) -> Result<ModelConfig, String> {
    refuse_unsupported(gguf)?;
    let heads = need(gguf, "attention.head_count")?;
    let hidden = need(gguf, "embedding_length")?;
    let head_dim = size(gguf, "llama.attention.key_length")?.or(size(gguf, "llama.rope.dimension_count")?);
    let head_dim = head_dim.unwrap_or(hidden / heads.max(1));
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        if size(gguf, key)?.is_some_and(|n| n != head_dim) {
            return Err(format!("{key} differs from the width of a head, {head_dim}: not supported"));
        }
    }
    let embedding = gguf.tensors.get("token_embd.weight").ok_or("no tensor token_embd.weight")?;
    let biased = |module: &str| gguf.tensors.contains_key(&format!("blk.0.{module}.bias"));
    let config = ModelConfig {
        model_type: "llama".to_owned(),
        vocab_size: embedding.shape[0],
        hidden_size: hidden,
        intermediate_size: need(gguf, "feed_forward_length")?,
        num_hidden_layers: need(gguf, "block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: size(gguf, "llama.attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        rms_norm_eps: real(gguf, "llama.attention.layer_norm_rms_epsilon")?
            .ok_or("no llama.attention.layer_norm_rms_epsilon")?,
        rope_theta: real(gguf, "llama.rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: rope_factors(gguf, bytes, head_dim)?,
        tie_word_embeddings: !gguf.tensors.contains_key("output.weight"),
        max_position_embeddings: need(gguf, "context_length")?,
        attention_bias: biased("attn_q"),
        mlp_bias: biased("ffn_gate"),
        bos_token_id: id(gguf, "bos")?,
        eos_token_ids: eos_ids(gguf)?,
        pad_token_id: id(gguf, "padding")?,
    };
    config.validate()?;
    Ok(config)
}

fn refuse_unsupported(gguf: &Gguf) -> Result<(), String> {
    if gguf.metadata.get("general.type").and_then(|v| v.as_str()) == Some("adapter") {
        return Err("an adapter, not a model\nhint: name the GGUF file of the base model".to_owned());
    }
    match gguf.metadata.get("general.architecture").and_then(|v| v.as_str()) {
        Some("llama") => {}
        Some(other) => {
            return Err(format!(
                "architecture \"{other}\" is not supported\nhint: the llama family is (SmolLM2, TinyLlama, Llama 2 and 3)"
            ));
        }
        None => return Err("no general.architecture in the metadata".to_owned()),
    }
    if size(gguf, "llama.expert_count")?.is_some_and(|n| n > 0) {
        return Err("mixtures of experts are not supported".to_owned());
    }
    let scaling = gguf.metadata.get("llama.rope.scaling.type").and_then(|v| v.as_str());
    if scaling.is_some_and(|s| s != "none") {
        return Err(format!("llama.rope.scaling.type \"{}\" is not supported", scaling.unwrap_or_default()));
    }
    Ok(())
}

/// `rope_freqs.weight`, llama.cpp's place for Llama 3's scaling.
fn rope_factors(gguf: &Gguf, bytes: &[u8], head_dim: usize) -> Result<RopeScaling, String> {
    let Some(tensor) = gguf.tensors.get("rope_freqs.weight") else {
        return Ok(RopeScaling::None);
    };
    if tensor.dtype != StorageDtype::F32 || tensor.shape != [head_dim / 2] {
        return Err(format!("rope_freqs.weight has shape {:?}, expected f32 [{}]", tensor.shape, head_dim / 2));
    }
    let entry = Entry {
        file: 0,
        range: tensor.range.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype,
        permuted: None,
    };
    let factors = TensorView::new("rope_freqs.weight", &entry, bytes).to_f32();
    Ok(if factors.iter().all(|&f| f == 1.0) { RopeScaling::None } else { RopeScaling::Factors(factors) })
}

/// EOS, and the other ends of a turn that llama.cpp also stops at.
fn eos_ids(gguf: &Gguf) -> Result<Vec<u32>, String> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        if let Some(id) = id(gguf, name)?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn id(gguf: &Gguf, name: &str) -> Result<Option<u32>, String> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match gguf.metadata.get(&key) {
        None => Ok(None),
        Some(v) => match v.as_u64().map(u32::try_from) {
            // llama.cpp's own "none".
            Some(Ok(u32::MAX)) => Ok(None),
            Some(Ok(id)) => Ok(Some(id)),
            _ => Err(format!("{key} is no token id")),
        },
    }
}

fn need(gguf: &Gguf, key: &str) -> Result<usize, String> {
    let key = format!("llama.{key}");
    size(gguf, &key)?.ok_or_else(|| format!("no {key} in the metadata"))
}

fn size(gguf: &Gguf, key: &str) -> Result<Option<usize>, String> {
    match gguf.metadata.get(key) {
        None => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("{key} is not a whole number (a value per layer is not supported)")),
        },
    }
}

fn real(gguf: &Gguf, key: &str) -> Result<Option<f64>, String> {
    match gguf.metadata.get(key) {
        None => Ok(None),
        Some(v) => v.as_f64().map(Some).ok_or_else(|| format!("{key} is not a number")),
    }
}

//! GGUF metadata → [`ModelConfig`].
use super::parse::Gguf;
use super::rope;
use crate::ModelConfig;
use crate::config::{Biases, LayerSpec, check_layers};
use crate::error::Fault;
use crate::family::{Family, Projection};
use crate::gguf::Value;

/// Metadata under the keys of one architecture.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    arch: &'static str,
}

/// The decoder that the metadata and the tensor table describe. `bytes` is the whole file.
pub(crate) fn model_config(gguf: &Gguf, bytes: &[u8]) -> Result<ModelConfig, Fault> {
    let family = family(gguf)?;
    let keys = Keys {
        gguf,
        arch: family.facts().gguf,
    };
    if keys.size("expert_count")?.is_some_and(|n| n > 0) {
        return Err(Fault::new("mixtures of experts are not supported"));
    }
    let (heads, hidden) = (
        keys.need("attention.head_count")?,
        keys.need("embedding_length")?,
    );
    let rotated = keys.size("rope.dimension_count")?;
    let head_dim = match keys.size("attention.key_length")? {
        Some(n) => n,
        None if family == Family::Phi3 => hidden / heads.max(1),
        None => rotated.unwrap_or(hidden / heads.max(1)),
    };
    if keys
        .size("attention.value_length")?
        .is_some_and(|n| n != head_dim)
    {
        return Err(Fault::new(format!(
            "{} differs from the width of a head, {head_dim}: not supported",
            keys.name("attention.value_length")
        )));
    }
    let rotated = rotated.unwrap_or(head_dim);
    if rotated != head_dim && family != Family::Phi3 {
        return Err(Fault::new(format!(
            "{} differs from the width of a head, {head_dim}: not supported",
            keys.name("rope.dimension_count")
        )));
    }
    let embedding = gguf
        .tensors
        .get("token_embd.weight")
        .ok_or("no tensor token_embd.weight")?;
    let num_hidden_layers = keys.need("block_count")?;
    check_layers(num_hidden_layers)?;
    let max_position_embeddings = keys.need("context_length")?;
    let config = ModelConfig {
        family,
        vocab_size: embedding.shape[0],
        hidden_size: hidden,
        intermediate_size: keys.need("feed_forward_length")?,
        num_hidden_layers,
        num_attention_heads: heads,
        num_key_value_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        rms_norm_eps: keys
            .real("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| format!("no {}", keys.name("attention.layer_norm_rms_epsilon")))?,
        ropes: rope::read(&keys, bytes, family, rotated, max_position_embeddings)?,
        layers: layers(&keys, family, num_hidden_layers)?,
        query_pre_attn_scalar: query_pre_attn_scalar(
            family,
            num_hidden_layers,
            hidden,
            heads,
            head_dim,
        ),
        attention_softcap: match family {
            Family::Gemma2 => Some(keys.real("attn_logit_softcapping")?.unwrap_or(50.0)),
            _ => None,
        },
        logit_softcap: match family {
            Family::Gemma2 => Some(keys.real("final_logit_softcapping")?.unwrap_or(30.0)),
            Family::Gemma3 => keys
                .real("final_logit_softcapping")?
                .filter(|&cap| cap != 0.0),
            _ => None,
        },
        tie_word_embeddings: !gguf.tensors.contains_key("output.weight"),
        max_position_embeddings,
        biases: biases(gguf, family),
        bos_token_id: id(gguf, "bos")?,
        eos_token_ids: eos_ids(gguf)?,
        pad_token_id: id(gguf, "padding")?,
    };
    config.validate()?;
    Ok(config)
}

/// The family of an architecture. llama.cpp has no name for Mistral: a window in a llama file makes it one.
fn family(gguf: &Gguf) -> Result<Family, Fault> {
    if gguf.metadata.get("general.type").and_then(|v| v.as_str()) == Some("adapter") {
        return Err(
            Fault::new("an adapter, not a model").hint("name the GGUF file of the base model")
        );
    }
    let arch = gguf
        .metadata
        .get("general.architecture")
        .and_then(|v| v.as_str());
    let arch = arch.ok_or("no general.architecture in the metadata")?;
    let window = gguf
        .metadata
        .get(&format!("{arch}.attention.sliding_window"))
        .and_then(Value::as_u64);
    let mut candidates = Family::ALL.into_iter().filter(|f| f.facts().gguf == arch);
    let found = if arch == "llama" && window.is_some_and(|n| n > 0) {
        Some(Family::Mistral)
    } else {
        candidates.next()
    };
    found.ok_or_else(|| {
        let mut known: Vec<&str> = Family::ALL.iter().map(|f| f.facts().gguf).collect();
        known.dedup();
        Fault::new(format!("architecture \"{arch}\" is not supported"))
            .hint(format!("known are {}", known.join(", ")))
    })
}

/// How llama.cpp spaces the layers of an architecture that differ: every n-th sees everything, or has no rotary embedding.
/// `period` is n where a file names it.
pub(crate) fn layers_of(
    family: Family,
    count: usize,
    window: Option<usize>,
    period: Option<usize>,
) -> Vec<LayerSpec> {
    let every = |default: usize, i: usize| (i + 1).is_multiple_of(period.unwrap_or(default));
    let layer = |i: usize| match family {
        Family::Gemma2 => LayerSpec {
            window: window.filter(|_| !every(2, i)),
            rope: Some(0),
        },
        Family::Gemma3 if every(6, i) || window.is_none() => LayerSpec {
            window: None,
            rope: Some(0),
        },
        Family::Gemma3 => LayerSpec {
            window,
            rope: Some(1),
        },
        Family::SmolLm3 => LayerSpec {
            window: None,
            rope: (!(i + 1).is_multiple_of(4)).then_some(0),
        },
        Family::Mistral | Family::Phi3 => LayerSpec {
            window,
            rope: Some(0),
        },
        Family::Llama | Family::Qwen2 | Family::Qwen3 => LayerSpec {
            window: None,
            rope: Some(0),
        },
    };
    (0..count).map(layer).collect()
}

fn layers(keys: &Keys<'_>, family: Family, count: usize) -> Result<Vec<LayerSpec>, String> {
    let default = (family == Family::Gemma2).then_some(4096);
    let window = keys
        .size("attention.sliding_window")?
        .filter(|&n| n > 0)
        .or(default);
    let period = keys.size("attention.sliding_window_pattern")?;
    if period == Some(0) {
        return Err(format!(
            "{} is 0, expected at least 1",
            keys.name("attention.sliding_window_pattern")
        ));
    }
    Ok(layers_of(family, count, window, period))
}

/// What llama.cpp divides scores by the root of: the width of a head, but for the largest Gemmas the hidden state's share.
pub(crate) fn query_pre_attn_scalar(
    family: Family,
    layers: usize,
    hidden: usize,
    heads: usize,
    head_dim: usize,
) -> f64 {
    match (family, layers) {
        (Family::Gemma2, 46) | (Family::Gemma3, 62) => (hidden / heads.max(1)) as f64,
        _ => head_dim as f64,
    }
}

fn biases(gguf: &Gguf, family: Family) -> Biases {
    let biased = |projection| {
        let linear = family.facts().linear_of(projection);
        gguf.tensors
            .contains_key(&super::names::tensor(crate::config::Part::Bias(0, linear)))
    };
    Biases {
        qkv: biased(Projection::Q),
        output: biased(Projection::O),
        mlp: biased(Projection::Up),
    }
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

impl Keys<'_> {
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.gguf.metadata.get(&self.name(key))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    fn need(&self, key: &str) -> Result<usize, String> {
        self.size(key)?
            .ok_or_else(|| format!("no {} in the metadata", self.name(key)))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => Err(format!(
                    "{} is not a whole number (a value per layer is not supported)",
                    self.name(key)
                )),
            },
        }
    }

    pub(super) fn real(&self, key: &str) -> Result<Option<f64>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(v) => v
                .as_f64()
                .map(Some)
                .ok_or_else(|| format!("{} is not a number", self.name(key))),
        }
    }
}

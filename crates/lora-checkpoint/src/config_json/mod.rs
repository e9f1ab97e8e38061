//! config.json as transformers 4 and 5 write it → [`ModelConfig`]. What can't be honoured is refused by name.
//! - `blocks`: the width of an MLP in blocks.
//! - `experts`: of a mixture.
//! - `factors`: beside the matrices and around them.
//! - `layers`: windows and rotary embeddings layer by layer.
//! - `recurrent`: layers that keep a state.
//! - `rope`: rotary embedding parameters.
//! - `unread`: keys that a family does not read and that would change what is computed.
//! - `value`: typed look-ups.
//! - `variants`: where attention layers differ beside windows.
mod blocks;
mod experts;
mod factors;
mod layers;
mod recurrent;
mod rope;
mod unread;
mod value;
mod variants;

use crate::config::check_layers;
use crate::error::{Error, Fault, Result, invalid};
use crate::families::{Activation, BiasKey, Facts, Family, Heads, Mlp, SoftCap, Stacked};
use crate::files::read_json;
use crate::text_part;
use crate::{Biases, ModelConfig, Rope};
use serde_json::Value;
use std::path::Path;
use value::{Object, flag, ids, ids_or, non_null, real, size};

impl ModelConfig {
    /// Parses config.json as transformers 4 and 5 write it; refuses families and options that can't be honoured.
    /// `generation_config.json` beside it adds its EOS ids.
    pub fn from_json(path: &Path) -> Result<Self, Error> {
        load(path).map(|loaded| loaded.config)
    }
}

/// A config.json that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: ModelConfig,
    /// It is the text part of a model that has more.
    pub(crate) has_towers: bool,
    /// One line for each setting that is not honoured when the model is trained here.
    pub(crate) notes: Vec<String>,
}

/// The config of a text model, or of the text part of another.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    let value = read_json(path)?;
    let Value::Object(json) = value else {
        return Err(invalid(path, "not a JSON object"));
    };
    let (json, text_part) = match text_part::config(&json) {
        Some((text, note)) => (text, Some(note)),
        None => (json, None),
    };
    let mut config = parse(&json).map_err(|message| invalid(path, message))?;
    let generation = path.with_file_name("generation_config.json");
    if generation.is_file() {
        let more = ids(read_json(&generation)?.get("eos_token_id"))
            .map_err(|m| invalid(&generation, m))?;
        for id in more {
            if !config.eos_token_ids.contains(&id) {
                config.eos_token_ids.push(id);
            }
        }
    }
    let has_towers = text_part.is_some();
    let of_experts = experts::notes(&json, config.experts);
    let notes = text_part.into_iter().chain(unread::notes(&json));
    Ok(Loaded {
        config,
        has_towers,
        notes: notes.chain(of_experts).collect(),
    })
}

fn parse(json: &Object) -> Result<ModelConfig, Fault> {
    let family = family(json)?;
    let facts = family.facts();
    let default = &facts.json;
    refuse_unsupported(json, facts)?;
    let size_or =
        |key: &str, default: usize| Ok::<usize, String>(size(json, key)?.unwrap_or(default));
    let heads = size_or("num_attention_heads", default.num_attention_heads)?;
    let hidden_size = size_or("hidden_size", default.hidden_size)?;
    let head_dim = head_dim(json, facts, hidden_size, heads)?;
    let num_hidden_layers = size_or("num_hidden_layers", default.num_hidden_layers)?;
    check_layers(num_hidden_layers)?;
    let max_position_embeddings =
        size_or("max_position_embeddings", default.max_position_embeddings)?;
    let mut layers = layers::all(json, facts, num_hidden_layers)?;
    let num_key_value_heads = match json.get("num_key_value_heads") {
        None => default.num_key_value_heads.unwrap_or(heads),
        _ => size_or("num_key_value_heads", heads)?,
    };
    let usual = Heads {
        kv: num_key_value_heads,
        width: head_dim,
    };
    let variants = variants::read(json, facts, usual, &layers)?;
    let shape = rope::Shape {
        head_dim,
        full_head_dim: variants.full.map_or(head_dim, |own| own.width),
        max_position_embeddings,
        theta: default.rope_theta,
    };
    let ropes: Vec<Rope> = rope::all(json, facts, shape)?;
    let experts = experts::read(json, facts, &mut layers)?;
    unread::refuse_layer_types(json, facts, &layers)?;
    let mamba = recurrent::mamba(json, facts, hidden_size, &layers)?;
    let config = ModelConfig {
        family,
        vocab_size: size_or("vocab_size", default.vocab_size)?,
        hidden_size,
        intermediate_size: match default.block_width {
            true => blocks::width(json, default.intermediate_size)?,
            false => {
                let (key, usual) = experts::mlp_width(facts, experts);
                size_or(key, usual)?
            }
        },
        num_hidden_layers,
        num_attention_heads: heads,
        num_key_value_heads,
        head_dim,
        norm_eps: real(json, default.norm_eps.0)?.unwrap_or(default.norm_eps.1),
        ropes,
        layers,
        delta: recurrent::delta(json, facts)?,
        short_conv: recurrent::short_conv(json, facts)?,
        mamba,
        router_aux_loss: experts::router_aux_loss(json, facts, experts)?,
        query_pre_attn_scalar: match default.query_pre_attn_scalar {
            None => head_dim as f64,
            Some(default) => real(json, "query_pre_attn_scalar")?.unwrap_or(default),
        },
        multipliers: factors::beside(json, facts)?,
        factors: factors::around(json, facts)?,
        attention_softcap: soft_cap(json, "attn_logit_softcapping", default.attention_softcap)?,
        logit_softcap: soft_cap(json, "final_logit_softcapping", default.logit_softcap)?,
        tie_word_embeddings: match default.tie_embedding {
            true => blocks::tied(json, default.tie_word_embeddings)?,
            false => flag(json, "tie_word_embeddings", default.tie_word_embeddings)?,
        },
        max_position_embeddings,
        biases: biases(json, facts)?,
        experts,
        variants,
        bos_token_id: ids_or(json, "bos_token_id", default.bos.as_slice())?
            .first()
            .copied(),
        eos_token_ids: ids_or(json, "eos_token_id", default.eos)?,
        pad_token_id: ids_or(json, "pad_token_id", default.pad.as_slice())?
            .first()
            .copied(),
    };
    config.validate()?;
    Ok(config)
}

fn family(json: &Object) -> Result<Family, Fault> {
    match json.get("model_type").and_then(Value::as_str) {
        Some(name) => Family::of_model_type(name).ok_or_else(|| {
            Fault::new(format!("model_type \"{name}\" is not supported"))
                .hint(format!("known are {}", Family::names()))
        }),
        None => {
            Err(Fault::new("no model_type")
                .hint("is this the config.json of a Hugging Face model?"))
        }
    }
}

fn refuse_unsupported(json: &Object, facts: &Facts) -> Result<(), Fault> {
    let key = facts.json.activation;
    let expected: &[&str] = match facts.mlp {
        Mlp::Gated(Activation::Silu) | Mlp::Plain(Activation::Silu) => &["silu", "swish"],
        Mlp::Gated(Activation::GeluTanh) | Mlp::Plain(Activation::GeluTanh) => {
            &["gelu_pytorch_tanh"]
        }
        Mlp::Xielu => &["xielu"],
    };
    match non_null(json, key) {
        None => {}
        Some(Value::String(act)) if expected.contains(&act.as_str()) => {}
        Some(Value::String(act)) if facts.json.activation_names.contains(&act.as_str()) => {}
        Some(act) => {
            return Err(Fault::new(format!(
                "{key} {act} is not supported, only \"{}\" is",
                expected[0]
            )));
        }
    }
    // Between images alone, which stay unread.
    let of_vision = json
        .get("use_bidirectional_attention")
        .and_then(Value::as_str)
        == Some("vision");
    let is_read = of_vision && facts.json.variants.is_some();
    if !is_read && is_set(json, "use_bidirectional_attention") {
        return Err(Fault::new(
            "use_bidirectional_attention is not supported: every token sees only those before it",
        ));
    }
    if let Some(quantised) = non_null(json, "quantization_config")
        && !is_mxfp4(quantised, facts)
    {
        return Err(Fault::new(
            "a model quantised by another library (quantization_config) can't be read",
        )
        .hint("use its unquantised folder, or a GGUF file"));
    }
    unread::refuse(json, facts)
}

/// Whether what another library quantised are the experts alone, in blocks that are read here.
fn is_mxfp4(quantised: &Value, facts: &Facts) -> bool {
    let stacked = facts.experts.and_then(|own| own.stacked);
    let method = quantised.get("quant_method").and_then(Value::as_str);
    matches!(stacked, Some(Stacked::Columns(_))) && method == Some("mxfp4")
}

/// Whether a key has any value that is neither null nor false.
fn is_set(json: &Object, key: &str) -> bool {
    non_null(json, key).is_some_and(|value| value != &Value::Bool(false))
}

/// The width of a head: named, the family's own, or the hidden state shared out.
fn head_dim(json: &Object, facts: &Facts, hidden: usize, heads: usize) -> Result<usize, String> {
    if let Some(named) = size(json, "head_dim")?.or(facts.json.head_dim) {
        return Ok(named);
    }
    if heads > 0 && !hidden.is_multiple_of(heads) {
        return Err(format!(
            "hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
        ));
    }
    Ok(hidden / heads.max(1))
}

fn biases(json: &Object, facts: &Facts) -> Result<Biases, String> {
    let has = |key: BiasKey| match key {
        BiasKey::Never => Ok(false),
        BiasKey::Always => Ok(true),
        BiasKey::Read(key, default) => flag(json, key, default),
    };
    let of_mamba = |key| match facts.json.mamba_width {
        None => Ok(false),
        Some(_) => flag(json, key, false),
    };
    Ok(Biases {
        qkv: has(facts.json.qkv_bias)?,
        output: has(facts.json.output_bias)?,
        mlp: has(facts.json.mlp_bias)?,
        mamba_in: of_mamba("mamba_proj_bias")?,
        mamba_out: of_mamba("projectors_bias")?,
    })
}

/// The cap of a family that has one; an explicit null turns it off.
fn soft_cap(json: &Object, key: &str, cap: SoftCap) -> Result<Option<f64>, String> {
    match (cap, json.get(key)) {
        (SoftCap::Absent | SoftCap::Ignored, _) => Ok(None),
        (SoftCap::Read(default), None) => Ok(default),
        (SoftCap::Read(_), Some(_)) => real(json, key),
    }
}

//! Where attention layers differ beside windows: heads of the full ones, shared keys and values, inputs of each layer.
use super::value::{Object, flag, non_null, size};
use crate::LayerSpec;
use crate::families::{Facts, Heads, PerLayer, Variants};
use serde_json::Value;
use std::collections::BTreeMap;

/// What stands in the file beside the layers themselves, which have the model's own heads unless it says otherwise.
pub(super) fn read(
    json: &Object,
    facts: &Facts,
    usual: Heads,
    layers: &[LayerSpec],
) -> Result<Variants, String> {
    let Some(default) = facts.json.variants else {
        return Ok(Variants::default());
    };
    if flag(json, "enable_moe_block", false)? {
        return Err(format!(
            "enable_moe_block: experts beside the MLP of {} are not supported, only dense models are",
            facts.model_type
        ));
    }
    let values_are_keys = flag(json, "attention_k_eq_v", false)?;
    let named = Heads {
        kv: size(json, "num_global_key_value_heads")?
            .filter(|_| values_are_keys)
            .unwrap_or(usual.kv),
        width: match json.get("global_head_dim") {
            None => default.full_width,
            Some(_) => size(json, "global_head_dim")?
                .ok_or("global_head_dim is null, expected a number")?,
        },
    };
    let full = match of_layers(json, usual, layers)? {
        None => named,
        Some(own) => {
            let is_said = non_null(json, "global_head_dim").is_some();
            if is_said && own != named {
                return Err(format!(
                    "per_layer_config gives full layers {} heads of {}, global_head_dim and num_global_key_value_heads say {} of {}",
                    own.kv, own.width, named.kv, named.width
                ));
            }
            own
        }
    };
    let width = match json.get("hidden_size_per_layer_input") {
        None => default.per_layer.width,
        Some(_) => size(json, "hidden_size_per_layer_input")?.unwrap_or(0),
    };
    Ok(Variants {
        full: Some(full).filter(|&full| full != usual),
        values_are_keys,
        sharing: size(json, "num_kv_shared_layers")?.unwrap_or(0),
        double_wide: flag(json, "use_double_wide_mlp", false)?,
        per_layer: match width {
            0 => None,
            width => Some(PerLayer {
                width,
                vocabulary: size(json, "vocab_size_per_layer_input")?
                    .unwrap_or(default.per_layer.vocabulary),
            }),
        },
    })
}

/// The heads that `per_layer_config` gives the layers without a window, all the same; those with one have the model's own.
fn of_layers(json: &Object, usual: Heads, layers: &[LayerSpec]) -> Result<Option<Heads>, String> {
    let list = match non_null(json, "per_layer_config") {
        None => return Ok(None),
        Some(Value::Object(list)) => list,
        Some(_) => return Err("per_layer_config is not an object".to_owned()),
    };
    // transformers writes numbers of one width: 05.
    let mut named: BTreeMap<usize, &Value> = BTreeMap::new();
    for (key, value) in list {
        let layer = key.parse().ok().filter(|&layer| layer < layers.len());
        let is_new = layer.is_some_and(|layer| named.insert(layer, value).is_none());
        if !is_new {
            return Err(format!(
                "per_layer_config has {key}, which is no layer or stands there twice"
            ));
        }
    }
    let mut full = None;
    for (layer, spec) in layers.iter().enumerate() {
        let own = heads(named.get(&layer).copied(), usual)?;
        let expected = match spec.window {
            Some(_) => usual,
            None => *full.get_or_insert(own),
        };
        if own != expected {
            return Err(format!(
                "per_layer_config gives layer {layer} {} heads of {}, other layers of its kind have {} of {}: not supported",
                own.kv, own.width, expected.kv, expected.width
            ));
        }
    }
    Ok(full)
}

/// The heads of one layer.
fn heads(own: Option<&Value>, usual: Heads) -> Result<Heads, String> {
    let own = match own {
        None => return Ok(usual),
        Some(Value::Object(own)) => own,
        Some(other) => return Err(format!("per_layer_config has {other}, expected an object")),
    };
    let known = ["head_dim", "num_key_value_heads"];
    if let Some(key) = own.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!(
            "per_layer_config has {key}, which is not supported: only {} are",
            known.join(" and ")
        ));
    }
    Ok(Heads {
        kv: size(own, known[1])?.unwrap_or(usual.kv),
        width: size(own, known[0])?.unwrap_or(usual.width),
    })
}

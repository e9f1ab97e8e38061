//! Metadata that changes what a decoder computes in some architecture and is not read here: refused unless its value means
//! that nothing changes.
use super::keys::Keys;
use super::names;
use super::value::Value;
use crate::families::Facts;

/// Keys and the values that mean nothing.
const NEUTRAL: [(&str, &[f64]); 26] = [
    ("expert_count", &[0.0]),
    ("attention.scale", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.causal", &[1.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attention.layer_norm_epsilon", &[0.0]),
    ("attention.layer_norm_rms_epsilon", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("use_parallel_residual", &[0.0]),
    ("rope.scaling.finetuned", &[1.0]),
    ("rope.scaling.yarn_ext_factor", &[1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
    // Of files by a fork of llama.cpp, which had a model's multipliers beside the weights.
    ("ssm.has_mup", &[0.0]),
    ("mamba_norm_before_gate", &[0.0]),
    ("embedding_multiplier", &[1.0]),
    ("lm_head_multiplier", &[1.0]),
    ("key_multiplier", &[1.0]),
    ("attention_in_multiplier", &[1.0]),
    ("attention_out_multiplier", &[1.0]),
    ("ssm_in_multiplier", &[1.0]),
    ("ssm_out_multiplier", &[1.0]),
    ("mlp_gate_multiplier", &[1.0]),
    ("mlp_down_multiplier", &[1.0]),
];

/// Those that a family with multipliers reads.
const MULTIPLIERS: [&str; 4] = [
    "attention.scale",
    "embedding_scale",
    "residual_scale",
    "logit_scale",
];

/// Those that a family whose queries grow reads.
const GROWTH: [&str; 2] = [
    "attention.temperature_scale",
    "rope.scaling.yarn_log_multiplier",
];

/// Refuses keys that would make another model of it.
pub(super) fn refuse(keys: &Keys<'_>, facts: &Facts) -> Result<(), String> {
    for (key, neutral) in NEUTRAL {
        if key == names::norm_eps_key(facts) {
            continue;
        }
        if facts.json.logit_scale.is_some() && key == "logit_scale" {
            continue;
        }
        if facts.experts.is_some() && key == "expert_count" {
            continue;
        }
        if facts.json.multipliers && MULTIPLIERS.contains(&key) {
            continue;
        }
        if facts.json.query_growth && GROWTH.contains(&key) {
            continue;
        }
        // Granite's switch of the rotary embedding; elsewhere it says how the model was trained.
        let reads_switch = !facts.json.multipliers || facts.json.rope_switch;
        if reads_switch && key == "rope.scaling.finetuned" {
            continue;
        }
        let Some(value) = keys.value(key) else {
            continue;
        };
        let number = match value {
            Value::Bool(on) => Some(f64::from(u8::from(*on))),
            other => other.as_f64(),
        };
        if !number.is_some_and(|x| neutral.contains(&x)) {
            let shown = number.map_or("set".to_owned(), |x| x.to_string());
            return Err(format!(
                "{} is {shown}, which is not supported here: it changes what the model computes",
                keys.name(key)
            ));
        }
    }
    if keys.value("rope.dimension_sections").is_some() && !facts.json.sectioned_rope {
        return Err(format!(
            "{} (positions in several dimensions) is not supported",
            keys.name("rope.dimension_sections")
        ));
    }
    Ok(())
}

//! Rotary embedding parameters: `rope_parameters` (transformers 5, one object a layer type where they differ), or `rope_theta`
//! with `rope_scaling` (transformers 4).
use super::value::{Object, flag, non_null, real, reals, size};
use crate::error::Fault;
use crate::families::Facts;
use crate::rope::{longrope_attention_factor, yarn_attention_factor};
use crate::{Rope, RopeScaling};
use serde_json::{Map, Value};

/// What the parameters are read against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) head_dim: usize,
    pub(super) max_position_embeddings: usize,
    /// The family's default base.
    pub(super) theta: f64,
}

/// The rotary embeddings of a model: one, or that of the full layers and that of the sliding layers.
pub(super) fn all(json: &Object, facts: &Facts, shape: Shape) -> Result<Vec<Rope>, Fault> {
    let (scaling, parameters) = (
        object(json, "rope_scaling")?,
        object(json, "rope_parameters")?,
    );
    let Some(local) = facts.json.local_rope else {
        let nested = scaling
            .filter(|o| !o.is_empty())
            .or(parameters)
            .cloned()
            .unwrap_or_default();
        let theta = real(json, "rope_theta")?;
        return Ok(vec![one(json, &nested, facts, shape, theta)?]);
    };
    let of_type = |key: &str| {
        Ok::<_, String>(
            parameters
                .map(|p| object(p, key))
                .transpose()?
                .flatten()
                .cloned(),
        )
    };
    let mut full = of_type("full_attention")?.unwrap_or_default();
    full.extend(scaling.cloned().unwrap_or_default());
    let sliding = of_type("sliding_attention")?.unwrap_or_default();
    let theta = real(json, "rope_theta")?;
    let local_theta = real(json, local.key)?;
    let local = Shape {
        theta: local.theta,
        ..shape
    };
    Ok(vec![
        one(json, &full, facts, shape, theta)?,
        one(json, &sliding, facts, local, local_theta)?,
    ])
}

fn object<'a>(json: &'a Object, key: &str) -> Result<Option<&'a Map<String, Value>>, String> {
    match non_null(json, key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(format!("{key} is not an object")),
    }
}

/// One rotary embedding; `theta` is the base beside the object, where the object names none.
fn one(
    json: &Object,
    nested: &Object,
    facts: &Facts,
    shape: Shape,
    theta: Option<f64>,
) -> Result<Rope, Fault> {
    let theta = real(nested, "rope_theta")?.or(theta).unwrap_or(shape.theta);
    let part = match real(nested, "partial_rotary_factor")? {
        Some(part) => part,
        None => real(json, "partial_rotary_factor")?
            .or(facts.json.partial_rotary_factor)
            .unwrap_or(1.0),
    };
    if part != 1.0 && facts.json.partial_rotary_factor.is_none() {
        return Err(Fault::new(format!(
            "partial_rotary_factor other than 1 is not supported for {}",
            facts.model_type
        )));
    }
    if !(part > 0.0 && part <= 1.0) {
        return Err(Fault::new(format!(
            "partial_rotary_factor is {part}, expected more than 0 and at most 1"
        )));
    }
    let dim = (shape.head_dim as f64 * part) as usize;
    Ok(Rope {
        theta,
        dim,
        scaling: scaling(json, nested, facts, shape)?,
    })
}

fn scaling(
    json: &Object,
    nested: &Object,
    facts: &Facts,
    shape: Shape,
) -> Result<RopeScaling, Fault> {
    let kind = match non_null(nested, "rope_type").or_else(|| non_null(nested, "type")) {
        None => "default",
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(Fault::new(format!("rope_type {other} is not a string"))),
    };
    let renamed = facts.json.rope_types.iter().find(|(name, _)| *name == kind);
    let kind = renamed.map_or(kind, |(_, meant)| meant);
    let need =
        |key: &str| real(nested, key)?.ok_or_else(|| format!("rope_type {kind} needs {key}"));
    let list =
        |key: &str| reals(nested, key)?.ok_or_else(|| format!("rope_type {kind} needs {key}"));
    let original = match size(json, "original_max_position_embeddings")? {
        Some(n) => n,
        None => size(nested, "original_max_position_embeddings")?
            .unwrap_or(shape.max_position_embeddings),
    };
    let extension = shape.max_position_embeddings as f64 / original as f64;
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: need("factor")?,
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: need("factor")?,
            original_max_position_embeddings: shape.max_position_embeddings,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_max_position_embeddings: original,
        },
        "yarn" => {
            let factor = if nested.get("factor").is_some_and(Value::is_null) {
                extension
            } else {
                need("factor")?
            };
            let (mscale, all) = (real(nested, "mscale")?, real(nested, "mscale_all_dim")?);
            let or = |key: &str, default: f64| {
                Ok::<f64, String>(real(nested, key)?.filter(|&b| b != 0.0).unwrap_or(default))
            };
            RopeScaling::Yarn {
                factor,
                attention_factor: real(nested, "attention_factor")?
                    .unwrap_or_else(|| yarn_attention_factor(factor, mscale, all)),
                beta_fast: or("beta_fast", 32.0)?,
                beta_slow: or("beta_slow", 1.0)?,
                original_max_position_embeddings: original,
                truncate: flag(nested, "truncate", true)?,
            }
        }
        "longrope" => {
            let factor = real(nested, "factor")?.unwrap_or(extension);
            RopeScaling::LongRope {
                short_factor: list("short_factor")?,
                long_factor: list("long_factor")?,
                attention_factor: real(nested, "attention_factor")?
                    .unwrap_or_else(|| longrope_attention_factor(factor, original)),
                original_max_position_embeddings: original,
            }
        }
        other => {
            return Err(
                Fault::new(format!("rope_type \"{other}\" is not supported"))
                    .hint("default, linear, dynamic, yarn, longrope and llama3 are"),
            );
        }
    })
}

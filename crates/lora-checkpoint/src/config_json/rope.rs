//! Rotary embedding parameters: `rope_parameters` (transformers 5, one object a layer type where they differ), or `rope_theta`
//! with `rope_scaling` (transformers 4).
use super::value::{Object, flag, non_null, real, reals, size};
use crate::error::Fault;
use crate::families::{DefaultRope, Facts, LocalRope};
use crate::rope::{longrope_attention_factor, yarn_attention_factor};
use crate::{Growth, Rope, RopeScaling};
use serde_json::{Map, Value};

/// What the parameters are read against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) head_dim: usize,
    /// In layers without a window.
    pub(super) full_head_dim: usize,
    pub(super) max_position_embeddings: usize,
    /// The family's default base.
    pub(super) theta: f64,
}

/// The rotary embeddings of a model: one, or that of the full layers and that of the sliding layers, or that of keys and
/// that of queries.
pub(super) fn all(json: &Object, facts: &Facts, shape: Shape) -> Result<Vec<Rope>, Fault> {
    let (scaling, parameters) = (
        object(json, "rope_scaling")?,
        object(json, "rope_parameters")?,
    );
    if let Some(local) = facts.json.local_rope {
        return by_kind(json, facts, shape, local);
    }
    let theta = real(json, "rope_theta")?;
    let named = scaling.filter(|o| !o.is_empty()).or(parameters);
    let nested = match (named, facts.json.default_rope) {
        (Some(named), _) => named.clone(),
        (None, Some(default)) => by_default(default, theta, facts)?,
        (None, None) => Object::default(),
    };
    let of_keys = one(json, &nested, facts, shape, theta)?;
    if !facts.json.query_growth {
        return Ok(vec![of_keys]);
    }
    let of_queries = Rope {
        growth: Some(growth(&nested, facts)?),
        ..of_keys.clone()
    };
    Ok(vec![of_keys, of_queries])
}

/// The parameters of a family that has its own where the file names none; a base beside them is not read then.
fn by_default(default: DefaultRope, theta: Option<f64>, facts: &Facts) -> Result<Object, Fault> {
    if let Some(theta) = theta.filter(|&theta| theta != default.theta) {
        let message = format!(
            "rope_theta is {theta}, and without rope_parameters transformers gives {} {} and the scaling {}",
            facts.model_type, default.theta, default.rope_type
        );
        return Err(Fault::new(message).hint("say both in rope_parameters"));
    }
    let numbers = default.numbers.iter();
    let mut all: Object = numbers
        .map(|&(key, number)| (key.to_owned(), number.into()))
        .collect();
    let mut put = |key: &str, value: Value| _ = all.insert(key.to_owned(), value);
    put("rope_type", default.rope_type.into());
    put("rope_theta", default.theta.into());
    put(
        "original_max_position_embeddings",
        default.original_max_position_embeddings.into(),
    );
    if let Some(truncate) = default.truncate {
        put("truncate", truncate.into());
    }
    Ok(all)
}

/// That of the full layers, and that of the sliding ones.
fn by_kind(
    json: &Object,
    facts: &Facts,
    shape: Shape,
    local: LocalRope,
) -> Result<Vec<Rope>, Fault> {
    let parameters = object(json, "rope_parameters")?;
    let kinds = ["full_attention", "sliding_attention"];
    let mut keys = parameters.into_iter().flat_map(Map::keys);
    if let Some(flat) = keys.find(|key| !kinds.contains(&key.as_str())) {
        let message = format!(
            "rope_parameters has {flat}, and {} has an object for each kind of layer there: transformers would ignore it",
            facts.model_type
        );
        return Err(Fault::new(message).hint(format!("say it in {} and {}", kinds[0], kinds[1])));
    }
    let of_kind = |kind: &str| {
        let own = parameters.map(|p| object(p, kind)).transpose()?.flatten();
        Ok::<_, String>(own.cloned().unwrap_or_default())
    };
    let (mut full, sliding) = (of_kind(kinds[0])?, of_kind(kinds[1])?);
    let of_full = Shape {
        head_dim: shape.full_head_dim,
        ..shape
    };
    if let Some(part) = facts.json.proportional_rope {
        refuse_beside(json, facts)?;
        match parameters {
            None => full = proportional(part),
            Some(named) => {
                if let Some(kind) = kinds
                    .into_iter()
                    .find(|kind| non_null(named, kind).is_none())
                {
                    return Err(Fault::new(format!("rope_parameters has no {kind}")));
                }
            }
        }
    }
    full.extend(object(json, "rope_scaling")?.cloned().unwrap_or_default());
    let theta = real(json, "rope_theta")?;
    let local_theta = local.key.map(|key| real(json, key)).transpose()?.flatten();
    let own = real(&sliding, "rope_theta")?.or(local_theta);
    if let (None, None, Some(theta)) = (local.key, own, theta)
        && theta != local.theta
    {
        let message = format!(
            "rope_theta is {theta}, and no rope_theta is named for sliding layers: transformers gives them {}",
            local.theta
        );
        return Err(Fault::new(message).hint(
            "say both in rope_parameters: {\"full_attention\": {…}, \"sliding_attention\": {…}}",
        ));
    }
    let of_sliding = Shape {
        theta: local.theta,
        ..shape
    };
    Ok(vec![
        one(json, &full, facts, of_full, theta)?,
        one(json, &sliding, facts, of_sliding, local_theta)?,
    ])
}

/// Rotary parameters by the proportional rule.
fn proportional(part: f64) -> Object {
    Object::from_iter([
        ("rope_type".to_owned(), "proportional".into()),
        ("partial_rotary_factor".to_owned(), part.into()),
    ])
}

/// Keys beside `rope_parameters` that a family of transformers 5 alone does not read.
fn refuse_beside(json: &Object, facts: &Facts) -> Result<(), Fault> {
    for key in [
        "rope_theta",
        "rope_scaling",
        "rope_local_base_freq",
        "partial_rotary_factor",
    ] {
        if non_null(json, key).is_some() {
            let message = format!(
                "{key} stands beside rope_parameters, where {} does not read it",
                facts.model_type
            );
            return Err(Fault::new(message).hint("say it in rope_parameters"));
        }
    }
    Ok(())
}

/// The pairs that rotate by the proportional rule, in a family that has it: a part of all pairs.
fn proportional_pairs(
    nested: &Object,
    facts: &Facts,
    dim: usize,
) -> Result<Option<RopeScaling>, Fault> {
    let kind = non_null(nested, "rope_type").or_else(|| non_null(nested, "type"));
    let is_named = kind.and_then(Value::as_str) == Some("proportional");
    if !is_named || facts.json.proportional_rope.is_none() {
        return Ok(None);
    }
    let part = real(nested, "partial_rotary_factor")?.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&part) {
        return Err(Fault::new(format!(
            "partial_rotary_factor is {part}, expected 0 to 1"
        )));
    }
    Ok(Some(RopeScaling::Proportional {
        pairs: (part * dim as f64 / 2.0) as usize,
        factor: real(nested, "factor")?.unwrap_or(1.0),
    }))
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
    if let Some(scaling) = proportional_pairs(nested, facts, shape.head_dim)? {
        return Ok(Rope {
            theta,
            dim: shape.head_dim,
            scaling,
            growth: None,
        });
    }
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
    if let Some(theta) = enlarged(nested, facts, theta, dim)? {
        return Ok(Rope {
            theta,
            dim,
            scaling: RopeScaling::None,
            growth: None,
        });
    }
    Ok(Rope {
        theta,
        dim,
        scaling: scaling(json, nested, facts, shape)?,
        growth: None,
    })
}

/// The base that `alpha` makes of `theta`, in a family that reads it: θ·α^(dim / (dim − 2)), at every length.
fn enlarged(nested: &Object, facts: &Facts, theta: f64, dim: usize) -> Result<Option<f64>, String> {
    let kind = non_null(nested, "rope_type").or_else(|| non_null(nested, "type"));
    let is_dynamic = kind.and_then(Value::as_str) == Some("dynamic");
    let alpha = real(nested, "alpha")?.filter(|&alpha| alpha != 0.0);
    let Some(alpha) = alpha.filter(|_| facts.json.rope_alpha && is_dynamic) else {
        return Ok(None);
    };
    if alpha <= 0.0 || dim <= 2 {
        return Err(format!(
            "rope alpha is {alpha} for {dim} rotated features, expected a positive number and more than 2 features"
        ));
    }
    Ok(Some(theta * alpha.powf(dim as f64 / (dim as f64 - 2.0))))
}

/// The growth of queries, which the family's rotary parameters must name.
fn growth(nested: &Object, facts: &Facts) -> Result<Growth, String> {
    let family = facts.model_type;
    let needed = |key: &str| format!("{family} needs {key} in rope_parameters");
    Ok(Growth {
        beta: real(nested, "llama_4_scaling_beta")?
            .ok_or_else(|| needed("llama_4_scaling_beta"))?,
        original_max_position_embeddings: size(nested, "original_max_position_embeddings")?
            .ok_or_else(|| needed("original_max_position_embeddings"))?,
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

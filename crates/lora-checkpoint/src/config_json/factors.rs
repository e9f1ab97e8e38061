//! Factors beside the matrices and around linear layers; absent ones are 1.
use super::value::{Object, non_null, real};
use crate::families::Facts;
use crate::{Factors, Multipliers};

/// Of a family that reads them; absent ones are 1.
pub(super) fn beside(json: &Object, facts: &Facts) -> Result<Multipliers, String> {
    if let Some(default) = facts.json.logit_scale {
        return logit_scale(json, default);
    }
    if facts.json.factors {
        return Ok(Multipliers {
            embedding: one(json, "embedding_multiplier")?,
            logits: 1.0 / positive("lm_head_multiplier", one(json, "lm_head_multiplier")?)?,
            ..Multipliers::default()
        });
    }
    if !facts.json.multipliers {
        return Ok(Multipliers::default());
    }
    Ok(Multipliers {
        embedding: one(json, "embedding_multiplier")?,
        attention: Some(one(json, "attention_multiplier")?),
        residual: one(json, "residual_multiplier")?,
        logits: one(json, "logits_scaling")?,
    })
}

/// Of a family whose logits are multiplied by `logit_scale`.
fn logit_scale(json: &Object, default: f64) -> Result<Multipliers, String> {
    let scale = real(json, "logit_scale")?.unwrap_or(default);
    Ok(Multipliers {
        logits: 1.0 / positive("logit_scale", scale)?,
        ..Multipliers::default()
    })
}

/// Those around linear layers, of a family that reads them.
pub(super) fn around(json: &Object, facts: &Facts) -> Result<Factors, String> {
    if !facts.json.factors {
        return Ok(Factors::NONE);
    }
    Ok(Factors {
        attention_in: one(json, "attention_in_multiplier")?,
        attention_out: one(json, "attention_out_multiplier")?,
        key: one(json, "key_multiplier")?,
        ssm_in: one(json, "ssm_in_multiplier")?,
        ssm_out: one(json, "ssm_out_multiplier")?,
        ssm: list(json, "ssm_multipliers")?,
        mlp: list(json, "mlp_multipliers")?,
    })
}

fn one(json: &Object, key: &str) -> Result<f64, String> {
    Ok(real(json, key)?.unwrap_or(1.0))
}

/// A list of so many numbers.
fn list<const N: usize>(json: &Object, key: &str) -> Result<[f64; N], String> {
    let Some(value) = non_null(json, key) else {
        return Ok([1.0; N]);
    };
    let numbers: Option<Vec<f64>> = value
        .as_array()
        .and_then(|list| list.iter().map(serde_json::Value::as_f64).collect());
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("{key} is {value}, expected {N} numbers"))
}

/// A number to divide by.
fn positive(key: &str, number: f64) -> Result<f64, String> {
    match number.is_finite() && number > 0.0 {
        true => Ok(number),
        false => Err(format!("{key} is {number}, expected a positive number")),
    }
}

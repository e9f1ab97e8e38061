//! Layers that keep a state in place of keys and values: their heads and taps.
use super::value::{Object, flag, non_null, size};
use crate::LayerSpec;
use crate::families::{DeltaShape, Facts, MambaNorm, MambaShape, Mixer, RecurrentKind, ShortConv};
use serde_json::Value;

/// Heads of layers of Gated DeltaNet, of a family that has such.
pub(super) fn delta(json: &Object, facts: &Facts) -> Result<Option<DeltaShape>, String> {
    let kind = facts.recurrent.as_ref().map(|own| own.kind);
    let Some(RecurrentKind::Delta { shape, .. }) = kind else {
        return Ok(None);
    };
    let [key_heads, value_heads, key_dim, value_dim, taps] = shape
        .named()
        .map(|(key, default)| Ok::<_, String>(size(json, key)?.unwrap_or(default)));
    Ok(Some(DeltaShape {
        key_heads: key_heads?,
        value_heads: value_heads?,
        key_dim: key_dim?,
        value_dim: value_dim?,
        taps: taps?,
    }))
}

/// The convolution of layers that have nothing else, of a family that has such.
pub(super) fn short_conv(json: &Object, facts: &Facts) -> Result<Option<ShortConv>, String> {
    let kind = facts.recurrent.as_ref().map(|own| own.kind);
    let Some(RecurrentKind::ShortConv(usual)) = kind else {
        return Ok(None);
    };
    let taps = size(json, ShortConv::KEY)?.unwrap_or(usual.taps);
    Ok(Some(ShortConv { taps }))
}

/// Heads of layers of Mamba-2, if there are such: without them nothing that is said of their heads counts.
pub(super) fn mamba(
    json: &Object,
    facts: &Facts,
    hidden: usize,
    layers: &[LayerSpec],
) -> Result<Option<MambaShape>, String> {
    let kind = facts.recurrent.as_ref().map(|own| own.kind);
    let has_some = layers.iter().any(|layer| layer.mixer == Mixer::Mamba);
    let Some(RecurrentKind::Mamba(usual)) = kind.filter(|_| has_some) else {
        return Ok(None);
    };
    if facts.json.mamba_width.is_none() && flag(json, "mamba_proj_bias", false)? {
        return Err(
            "mamba_proj_bias is true: biases on Mamba's projections are not supported".to_owned(),
        );
    }
    let or = |key: &str, usual: usize| Ok::<_, String>(size(json, key)?.unwrap_or(usual));
    let heads = or("mamba_n_heads", usual.heads)?;
    let (key, all) = match facts.json.mamba_width {
        Some(usual)
            if non_null(json, "mamba_d_ssm").is_some() || json.get("mamba_d_ssm").is_none() =>
        {
            ("mamba_d_ssm", or("mamba_d_ssm", usual)?)
        }
        _ => {
            let expand = or("mamba_expand", 2)?;
            (
                "mamba_expand times hidden_size",
                hidden.saturating_mul(expand),
            )
        }
    };
    let width = match non_null(json, "mamba_d_head") {
        Some(Value::String(auto)) if auto == "auto" => None,
        _ => size(json, "mamba_d_head")?,
    };
    let width = width.unwrap_or(all / heads.max(1));
    if heads.saturating_mul(width) != all {
        return Err(format!(
            "mamba_n_heads {heads} times mamba_d_head {width} is not {key}, {all}"
        ));
    }
    Ok(Some(MambaShape {
        heads,
        width,
        groups: or("mamba_n_groups", usual.groups)?,
        state: or("mamba_d_state", usual.state)?,
        taps: or("mamba_d_conv", usual.taps)?,
        conv_bias: flag(json, "mamba_conv_bias", usual.conv_bias)?,
        norm: norm(json, facts, usual.norm)?,
        limits: limits(json)?,
    }))
}

/// The norm behind the rule, in a family whose files say it.
fn norm(json: &Object, facts: &Facts, usual: MambaNorm) -> Result<MambaNorm, String> {
    if facts.json.mamba_width.is_none() {
        return Ok(usual);
    }
    let has_norm = flag(json, "mamba_rms_norm", false)?;
    let is_first = flag(json, "mamba_norm_before_gate", true)?;
    Ok(match (has_norm, is_first) {
        (false, _) => MambaNorm::Without,
        (true, true) => MambaNorm::BeforeGate,
        (true, false) => MambaNorm::BehindGate,
    })
}

/// `time_step_limit`, whose numbers may be infinite, as transformers writes that.
fn limits(json: &Object) -> Result<[f64; 2], String> {
    let key = "time_step_limit";
    let number = |value: &Value| {
        let text = value.get("__float__").and_then(Value::as_str);
        match (value.as_f64(), text) {
            (Some(number), _) => Some(number),
            (None, Some("Infinity")) => Some(f64::INFINITY),
            _ => None,
        }
    };
    match json.get(key) {
        None => Ok(MambaShape::UNLIMITED),
        Some(Value::Array(pair)) => match pair.iter().map(number).collect::<Option<Vec<f64>>>() {
            Some(pair) if pair.len() == 2 => Ok([pair[0], pair[1]]),
            _ => Err(format!("{key} is {}, expected two numbers", json[key])),
        },
        Some(other) => Err(format!("{key} is {other}, expected two numbers")),
    }
}

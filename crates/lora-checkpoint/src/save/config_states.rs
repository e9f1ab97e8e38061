//! config.json's keys of layers that keep a state.
use crate::ModelConfig;
use crate::families::{MambaNorm, MambaShape, ShortConv};
use serde_json::{Map, Value, json};

/// Heads, taps and switches of such layers; which layers they are stands elsewhere.
pub(super) fn keys(config: &ModelConfig) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| _ = map.insert(key.to_owned(), value);
    if let Some(delta) = config.delta {
        for (key, size) in delta.named() {
            put(key, size.into());
        }
    }
    if let Some(own) = config.short_conv {
        put(ShortConv::KEY, own.taps.into());
        put("conv_bias", false.into());
    }
    if let Some(own) = config.mamba {
        mamba(config, own, &mut put);
    }
    map
}

fn mamba(config: &ModelConfig, own: MambaShape, put: &mut impl FnMut(&str, Value)) {
    for (key, size) in own.named() {
        put(key, size.into());
    }
    put(
        "mamba_expand",
        (own.values() / config.hidden_size.max(1)).into(),
    );
    put("mamba_conv_bias", own.conv_bias.into());
    put("mamba_proj_bias", config.biases.mamba_in.into());
    if config.facts().json.mamba_width.is_some() {
        put("mamba_expand", 2.into());
        put("mamba_d_ssm", own.values().into());
        put("mamba_rms_norm", (own.norm != MambaNorm::Without).into());
        put(
            "mamba_norm_before_gate",
            (own.norm == MambaNorm::BeforeGate).into(),
        );
        put("projectors_bias", config.biases.mamba_out.into());
    }
    if own.limits != MambaShape::UNLIMITED {
        let limit = |x: f64| match x.is_finite() {
            true => json!(x),
            false => json!({"__float__": "Infinity"}),
        };
        put("time_step_limit", own.limits.map(limit).to_vec().into());
    }
}

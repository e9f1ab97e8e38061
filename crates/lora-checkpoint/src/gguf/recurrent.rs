//! Layers that keep a state in place of keys and values, in GGUF: their heads and taps, and which they are.
use super::keys::Keys;
use super::parse::Gguf;
use super::value::Value;
use crate::LayerSpec;
use crate::ModelConfig;
use crate::families::{DeltaShape, Facts, MambaNorm, MambaShape, Mixer, RecurrentKind, ShortConv};

/// The key of the heads of keys: a list with a 0 for layers of short convolutions, and of Mamba-2.
const KEY_HEADS: &str = "attention.head_count_kv";
/// Taps of a short convolution.
const TAPS: &str = "shortconv.l_cache";

fn kind(facts: &Facts) -> Option<RecurrentKind> {
    facts.recurrent.as_ref().map(|own| own.kind)
}

/// Heads of layers of Gated DeltaNet, of a family that has such.
pub(super) fn delta(keys: &Keys<'_>, facts: &Facts) -> Result<Option<DeltaShape>, String> {
    let Some(RecurrentKind::Delta { .. }) = kind(facts) else {
        return Ok(None);
    };
    let value_heads = keys.need("ssm.time_step_rank")?;
    let values = keys.need("ssm.inner_size")?;
    if value_heads == 0 || !values.is_multiple_of(value_heads) {
        return Err(format!(
            "{} {values} is no whole number of {value_heads} heads",
            keys.name("ssm.inner_size")
        ));
    }
    Ok(Some(DeltaShape {
        key_heads: keys.need("ssm.group_count")?,
        value_heads,
        key_dim: keys.need("ssm.state_size")?,
        value_dim: values / value_heads,
        taps: keys.need("ssm.conv_kernel")?,
    }))
}

/// Which layers have attention, of a family where that is every so many-th.
pub(super) fn attention_every(keys: &Keys<'_>, facts: &Facts) -> Result<Option<usize>, String> {
    let Some(RecurrentKind::Delta {
        attention_every, ..
    }) = kind(facts)
    else {
        return Ok(None);
    };
    let key = "full_attention_interval";
    match keys.size(key)?.unwrap_or(attention_every) {
        0 => Err(format!("{} is 0, expected at least 1", keys.name(key))),
        every => Ok(Some(every)),
    }
}

/// The convolution of layers that have nothing else, of a family that has such.
pub(super) fn short_conv(keys: &Keys<'_>, facts: &Facts) -> Result<Option<ShortConv>, String> {
    match kind(facts) {
        Some(RecurrentKind::ShortConv(_)) => Ok(Some(ShortConv {
            taps: keys.need(TAPS)?,
        })),
        _ => Ok(None),
    }
}

/// Heads of layers of Mamba-2, if there are such. Whether the convolution has a bias, and where a family may go without it
/// whether there is a norm, the tensors say.
pub(super) fn mamba(
    keys: &Keys<'_>,
    facts: &Facts,
    layers: &[LayerSpec],
    gguf: &Gguf,
) -> Result<Option<MambaShape>, String> {
    if layers.iter().all(|layer| layer.mixer != Mixer::Mamba) {
        return Ok(None);
    }
    let heads = keys.need("ssm.time_step_rank")?;
    let values = keys.need("ssm.inner_size")?;
    if heads == 0 || !values.is_multiple_of(heads) {
        return Err(format!(
            "{} {values} is no whole number of {heads} heads",
            keys.name("ssm.inner_size")
        ));
    }
    let has = |own: &str| gguf.tensors.keys().any(|name| name.ends_with(own));
    let may_lack_norm = facts.json.mamba_width.is_some();
    Ok(Some(MambaShape {
        heads,
        width: values / heads,
        groups: keys.need("ssm.group_count")?,
        state: keys.need("ssm.state_size")?,
        taps: keys.need("ssm.conv_kernel")?,
        conv_bias: has(".ssm_conv1d.bias"),
        norm: match may_lack_norm && !has(".ssm_norm.weight") {
            true => MambaNorm::Without,
            false => MambaNorm::BehindGate,
        },
        limits: MambaShape::UNLIMITED,
    }))
}

/// What mixes the tokens of layers without heads of keys, where a list says which those are.
fn without_keys(facts: &Facts) -> Option<Mixer> {
    match kind(facts).filter(|_| !facts.beside_attention())? {
        RecurrentKind::Delta { .. } => None,
        RecurrentKind::ShortConv(_) => Some(Mixer::ShortConv),
        RecurrentKind::Mamba(_) => Some(Mixer::Mamba),
    }
}

/// Gives layers without heads of keys their mixer, in a family where a list says it; of one whose layers have both, all of them.
pub(super) fn listed(
    keys: &Keys<'_>,
    facts: &Facts,
    layers: &mut [LayerSpec],
) -> Result<(), String> {
    if let Some(own) = facts.recurrent.as_ref().filter(|own| own.beside_attention) {
        for layer in layers.iter_mut() {
            (layer.mixer, layer.beside_attention) = (own.mixer(), true);
        }
    }
    if let Some(mixer) = without_keys(facts) {
        let heads = keys.list(KEY_HEADS, layers.len())?;
        let without = layers
            .iter_mut()
            .zip(heads)
            .filter(|(_, heads)| *heads == 0);
        without.for_each(|(layer, _)| layer.mixer = mixer);
    }
    Ok(())
}

/// The heads of keys of all layers that have attention.
pub(super) fn key_heads(
    keys: &Keys<'_>,
    facts: &Facts,
    layers: &[LayerSpec],
) -> Result<Option<usize>, String> {
    if without_keys(facts).is_none() {
        return keys.size(KEY_HEADS);
    }
    let mut heads = keys.list(KEY_HEADS, layers.len())?;
    heads.retain(|&heads| heads > 0);
    heads.dedup();
    match heads[..] {
        [] => Ok(None),
        [all] => Ok(Some(all)),
        _ => Err(format!(
            "{} differs among the layers with attention: not supported",
            keys.name(KEY_HEADS)
        )),
    }
}

/// What stands in a file of a model that lists its layers with a state, keys without the architecture.
pub(crate) fn written(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    let is_stateless = config.facts().gguf.stateless.is_some() && !config.is_recurrent();
    if is_stateless {
        return Vec::new();
    }
    let mut all = Vec::new();
    if without_keys(config.facts()).is_some() {
        let heads = config.layers.iter().map(|layer| match layer.mixer {
            Mixer::Attention => config.num_key_value_heads as i32,
            _ => 0,
        });
        all.push((KEY_HEADS, Value::I32s(heads.collect())));
    }
    let number = |key, size: usize| (key, Value::U32(size as u32));
    all.extend(config.short_conv.map(|own| number(TAPS, own.taps)));
    if let Some(own) = config.mamba {
        all.extend([
            number("ssm.conv_kernel", own.taps),
            number("ssm.state_size", own.state),
            number("ssm.group_count", own.groups),
            number("ssm.time_step_rank", own.heads),
            number("ssm.inner_size", own.values()),
        ]);
    }
    all
}

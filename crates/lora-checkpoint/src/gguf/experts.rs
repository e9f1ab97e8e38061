//! Experts among the metadata, and which layers have some: llama.cpp reads the keys, here the tensors say the same.
use super::keys::Keys;
use crate::LayerSpec;
use crate::error::Fault;
use crate::families::{ExpertFacts, ExpertLayers, Experts, Facts, Scores};
use crate::gguf::names;
use crate::weights::Part;

/// The experts of a model whose family has some; marks the layers that have them.
pub(super) fn read(
    keys: &Keys<'_>,
    facts: &Facts,
    layers: &mut [LayerSpec],
) -> Result<Option<Experts>, Fault> {
    let Some(own) = &facts.experts else {
        return Ok(None);
    };
    if own.may_be_missing() && keys.size(COUNT)?.unwrap_or(0) == 0 {
        return Ok(None);
    }
    let width = keys.need(width_key(own))?;
    let dense = match own.layers {
        ExpertLayers::Behind(_) => Some(keys.need(DENSE_LAYERS)?),
        ExpertLayers::All | ExpertLayers::Some => None,
    };
    for (index, layer) in layers.iter_mut().enumerate() {
        let router = names::tensor(facts, Part::Router(index));
        layer.experts = match dense {
            Some(dense) => index >= dense,
            None => keys.gguf.tensors.contains_key(&router),
        };
    }
    if own.scores == Scores::Sigmoid {
        keys.need(GATING)?; // without it llama.cpp has the softmax, or none
    }
    let experts = Experts {
        count: keys.need(COUNT)?,
        chosen: keys.need(CHOSEN)?,
        width,
        scores: own.scores,
        choice_bias: own.choice_bias.is_some(),
        normalised: own.normalised.in_gguf(),
        scale: 1.0,
        clamp: own.clamp,
        shared: match own.shared {
            None => None,
            Some(shared) if shared.alone => Some(keys.need(SHARED_WIDTH)?),
            Some(_) => keys.size(SHARED_WIDTH)?.filter(|&width| width > 0),
        },
    };
    refuse_others(keys, experts)?;
    Ok(Some(experts))
}

/// E and k.
pub(crate) const COUNT: &str = "expert_count";
pub(crate) const CHOSEN: &str = "expert_used_count";
/// The width of an MLP beside them.
pub(crate) const SHARED_WIDTH: &str = "expert_shared_feed_forward_length";

/// The first layers, which have none.
pub(crate) const DENSE_LAYERS: &str = "leading_dense_block_count";
/// What routers make of their logits.
pub(crate) const GATING: &str = "expert_gating_func";

/// llama.cpp's number of that.
pub(crate) fn gating(scores: Scores) -> u32 {
    match scores {
        Scores::Softmax => 1,
        Scores::Sigmoid => 2,
    }
}

/// The width of one: where there is no other MLP, the model's.
pub(crate) fn width_key(facts: &ExpertFacts) -> &'static str {
    match facts.width.0 {
        "intermediate_size" if !facts.own_width_key => "feed_forward_length",
        _ => "expert_feed_forward_length",
    }
}

/// Keys that some architectures read, whose other values would make another model of it.
fn refuse_others(keys: &Keys<'_>, experts: Experts) -> Result<(), Fault> {
    let normalised = f64::from(u8::from(experts.normalised));
    let neutral = [
        ("expert_shared_count", 0.0),
        (SHARED_WIDTH, experts.shared.unwrap_or(0) as f64),
        ("expert_weights_scale", 1.0),
        ("expert_weights_norm", normalised),
        (GATING, f64::from(gating(experts.scores))),
        ("expert_group_count", 0.0),
    ];
    for (key, neutral) in neutral {
        let number = match keys.value(key) {
            None => continue,
            Some(super::value::Value::Bool(on)) => Some(f64::from(u8::from(*on))),
            Some(other) => other.as_f64(),
        };
        // 0 is llama.cpp's own "not said".
        let is_said = key == "expert_weights_norm" || (key == GATING && neutral != 1.0);
        if !number.is_some_and(|x| x == neutral || (x == 0.0 && !is_said)) {
            return Err(Fault::new(format!(
                "{} is {}, which is not supported here: it changes what the model computes",
                keys.name(key),
                number.map_or("set".to_owned(), |x| x.to_string())
            )));
        }
    }
    Ok(())
}

//! Experts: how many, how wide, which layers have some, and what stands beside them.
use super::value::{Object, flag, non_null, real, size};
use crate::LayerSpec;
use crate::families::{
    CHOICE_BIAS, Clamp, DENSE_LAYERS, ExpertLayers, Experts, Facts, Normalised, SCALE, Scores,
};
use serde_json::Value;

/// The experts of a model whose family has some; marks the layers that have them.
pub(super) fn read(
    json: &Object,
    facts: &Facts,
    layers: &mut [LayerSpec],
) -> Result<Option<Experts>, String> {
    let Some(own) = &facts.experts else {
        return Ok(None);
    };
    let (keys, default) = own.count;
    let named = keys.iter().map(|key| size(json, key));
    let named: Vec<usize> = named
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?;
    if named.iter().any(|&count| count != named[0]) {
        return Err(format!("{} say different things", keys.join(" and ")));
    }
    let count = named.first().copied().unwrap_or(default);
    if count == 0 && own.may_be_missing() {
        return Ok(None);
    }
    let (key, width) = own.width;
    let experts = Experts {
        count,
        chosen: size(json, "num_experts_per_tok")?.unwrap_or(own.chosen),
        width: size(json, key)?.unwrap_or(width),
        normalised: match own.normalised {
            Normalised::Always => true,
            Normalised::Read { default, .. } => flag(json, "norm_topk_prob", default)?,
        },
        scores: own.scores,
        choice_bias: own.choice_bias.is_some() && flag(json, CHOICE_BIAS, true)?,
        scale: match own.scaled {
            true => real(json, SCALE)?.unwrap_or(1.0),
            false => 1.0,
        },
        clamp: match own.clamp {
            None => None,
            Some(default) => Some(Clamp {
                alpha: real(json, "swiglu_alpha")?.unwrap_or(default.alpha),
                limit: real(json, "swiglu_limit")?.unwrap_or(default.limit),
            }),
        },
        shared: match own.shared {
            None => None,
            Some(shared) => {
                let (key, usual) = shared.width;
                let width = size(json, key)?.unwrap_or(usual);
                Some(width).filter(|&width| width > 0 || shared.alone)
            }
        },
    };
    let has = match own.layers {
        ExpertLayers::All => Box::new(|_| true),
        ExpertLayers::Some => some_layers(json)?,
        ExpertLayers::Behind(default) => {
            let first = size(json, DENSE_LAYERS)?.unwrap_or(default);
            Box::new(move |layer| layer >= first)
        }
    };
    for (index, layer) in layers.iter_mut().enumerate() {
        layer.experts = has(index);
    }
    Ok(Some(experts))
}

/// The key of the width of a layer's one MLP, and its default: in a model without experts that of what else stands beside them.
pub(super) fn mlp_width(facts: &Facts, experts: Option<Experts>) -> (&'static str, usize) {
    match facts.experts.and_then(|own| own.shared) {
        Some(shared) if experts.is_none() => shared.width,
        _ => ("intermediate_size", facts.json.intermediate_size),
    }
}

/// Every n-th layer (`decoder_sparse_step`), but for those of `mlp_only_layers`.
fn some_layers(json: &Object) -> Result<Box<dyn Fn(usize) -> bool>, String> {
    let step = size(json, "decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        return Err("decoder_sparse_step is 0, expected at least 1".to_owned());
    }
    let number = |layer: &Value| {
        let number = layer.as_u64().and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| format!("mlp_only_layers has {layer}, expected numbers of layers"))
    };
    let without: Vec<usize> = match non_null(json, "mlp_only_layers") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(number).collect::<Result<_, _>>()?,
        Some(_) => return Err("mlp_only_layers is not a list".to_owned()),
    };
    Ok(Box::new(move |layer| {
        (layer + 1).is_multiple_of(step) && !without.contains(&layer)
    }))
}

/// The coefficient of the loss for the balance of experts, if transformers would add it to that of the tokens.
pub(super) fn router_aux_loss(
    json: &Object,
    facts: &Facts,
    experts: Option<Experts>,
) -> Result<Option<f64>, String> {
    let (Some(own), Some(_)) = (&facts.experts, experts) else {
        return Ok(None);
    };
    // transformers adds none where scores are sigmoids, whatever is asked for.
    if own.scores == Scores::Sigmoid || !flag(json, "output_router_logits", false)? {
        return Ok(None);
    }
    let coefficient = real(json, "router_aux_loss_coef")?.unwrap_or(own.router_aux_loss);
    match coefficient >= 0.0 {
        true => Ok(Some(coefficient)),
        false => Err(format!(
            "router_aux_loss_coef is {coefficient}, expected 0 or more"
        )),
    }
}

/// What transformers does to the inputs of a mixture in training, and is not done here.
pub(super) fn notes(json: &Object, experts: Option<Experts>) -> Vec<String> {
    let mut notes = Vec::new();
    if experts.is_none() {
        return notes;
    }
    let noise = json.get("router_jitter_noise").and_then(Value::as_f64);
    if let Some(noise) = noise.filter(|&noise| noise > 0.0) {
        notes.push(format!(
            "config.json has router_jitter_noise {noise}: transformers adds noise in training, here there is none"
        ));
    }
    notes
}

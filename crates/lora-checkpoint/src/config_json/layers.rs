//! Windows and rotary embeddings, layer by layer.
use super::value::{Object, flag, non_null, size, sizes};
use crate::LayerSpec;
use crate::families::{Facts, Mixer, RecurrentKind, RopeInWindows, Sliding};
use serde_json::Value;

/// transformers' default of `sliding_window` where layers alternate.
const WINDOW: usize = 4096;
/// transformers' default of `max_window_layers`.
const MAX_WINDOW_LAYERS: usize = 28;

/// The layers of a model.
pub(super) fn all(json: &Object, facts: &Facts, count: usize) -> Result<Vec<LayerSpec>, String> {
    let rotated = match facts.json.no_rope_interval {
        Some(interval) => no_rope_layers(json, count, interval)?,
        None => vec![!facts.json.rope_switch || has_rope(json)?; count],
    };
    let (named, windows) = windows(json, facts.json.sliding, count, &rotated)?;
    let in_windows_alone = match facts.json.rope_in_windows {
        RopeInWindows::Never => false,
        RopeInWindows::IfNamed => named.is_some(),
        RopeInWindows::Always => true,
    };
    // The second rotary embedding is that of the sliding layers.
    let has_local = facts.json.local_rope.is_some();
    let rope = |window: Option<usize>| usize::from(has_local && window.is_some());
    let layers = windows
        .into_iter()
        .zip(rotated)
        .zip(mixers(json, facts, count)?);
    Ok(layers
        .map(|((window, rotated), mixer)| LayerSpec {
            window,
            rope: (rotated && (window.is_some() || !in_windows_alone)).then(|| rope(window)),
            experts: false,
            mixer,
            beside_attention: facts.beside_attention(),
        })
        .collect())
}

/// `position_embedding_type`: without a word there is none.
fn has_rope(json: &Object) -> Result<bool, String> {
    match non_null(json, "position_embedding_type") {
        None => Ok(false),
        Some(Value::String(kind)) if kind == "rope" => Ok(true),
        Some(Value::String(kind)) if kind == "nope" => Ok(false),
        Some(other) => Err(format!(
            "position_embedding_type is {other}, known are \"rope\", \"nope\" and null"
        )),
    }
}

/// What mixes the tokens of each layer: those that `layer_types` names, else attention in every so many-th.
fn mixers(json: &Object, facts: &Facts, count: usize) -> Result<Vec<Mixer>, String> {
    let Some(recurrent) = &facts.recurrent else {
        return Ok(vec![Mixer::Attention; count]);
    };
    if let Some(list) = per_layer(json, "layer_types", count)? {
        let named = |kind: &Value| {
            let attention = (Mixer::Attention, Mixer::Attention.words());
            let known = [(recurrent.mixer(), recurrent.words()), attention];
            let known = match recurrent.beside_attention {
                true => &known[..1],
                false => &known[..],
            };
            let is = |(_, words): &&(Mixer, [&str; 2])| words.iter().any(|word| kind == word);
            let found = known.iter().find(is).map(|(mixer, _)| *mixer);
            found.ok_or_else(|| {
                let words: Vec<String> = known
                    .iter()
                    .map(|(_, own)| format!("\"{}\"", own[0]))
                    .collect();
                format!("layer_types has {kind}, known: {}", words.join(" and "))
            })
        };
        return list.iter().map(named).collect();
    }
    let has_attention: Box<dyn Fn(usize) -> bool> = match recurrent.kind {
        RecurrentKind::Delta {
            attention_every, ..
        } => match size(json, "full_attention_interval")?.unwrap_or(attention_every) {
            0 => return Err("full_attention_interval is 0, expected at least 1".to_owned()),
            every => Box::new(move |layer| (layer + 1).is_multiple_of(every)),
        },
        RecurrentKind::Mamba(_) => Box::new(|_| false),
        RecurrentKind::ShortConv(_) => {
            let listed = sizes(json, "full_attn_idxs")?;
            Box::new(move |layer| listed.as_ref().is_none_or(|list| list.contains(&layer)))
        }
    };
    let mixer = |layer| match has_attention(layer) {
        true => Mixer::Attention,
        false => recurrent.mixer(),
    };
    Ok((0..count).map(mixer).collect())
}

/// `sliding_window`, and the window of each layer.
fn windows(
    json: &Object,
    sliding: Sliding,
    count: usize,
    rotated: &[bool],
) -> Result<(Option<usize>, Vec<Option<usize>>), String> {
    let named = match json.get("sliding_window") {
        None => match sliding {
            Sliding::All(default) | Sliding::Named(default) => default,
            Sliding::AllButLast { window, .. } | Sliding::AllButWith { window, .. } => Some(window),
            Sliding::WithoutRope => None,
            _ => Some(WINDOW),
        },
        _ => size(json, "sliding_window")?,
    };
    let slides: Box<dyn Fn(usize) -> bool> = match sliding {
        Sliding::Never => return Ok((named, vec![None; count])),
        Sliding::All(_) => return Ok((named, vec![named; count])),
        Sliding::IfUsed | Sliding::FromLayer | Sliding::WithoutRope
            if !flag(json, "use_sliding_window", false)? =>
        {
            return Ok((named, vec![None; count]));
        }
        Sliding::IfUsed => return Ok((named, vec![named; count])),
        Sliding::FromLayer => {
            let first = size(json, "max_window_layers")?.unwrap_or(MAX_WINDOW_LAYERS);
            Box::new(move |i| named.is_some() && i >= first)
        }
        Sliding::Named(_) => Box::new(|_| named.is_some()),
        Sliding::WithoutRope => Box::new(|i| named.is_some() && !rotated[i]),
        Sliding::Pattern(default) => {
            // Where layers have types, it may also be a text, and is not read.
            let every = match layer_types(json, count)? {
                Some(_) => default,
                None => size(json, "sliding_window_pattern")?.unwrap_or(default),
            };
            if every == 0 {
                return Err("sliding_window_pattern is 0, expected at least 1".to_owned());
            }
            Box::new(move |i| !(i + 1).is_multiple_of(every))
        }
        Sliding::AllBut(every)
        | Sliding::AllButWith { every, .. }
        | Sliding::AllButLast { every, .. } => Box::new(move |i| !(i + 1).is_multiple_of(every)),
    };
    let slides = match layer_types(json, count)? {
        Some(types) => types,
        None => (0..count).map(slides).collect(),
    };
    let mut slides: Vec<bool> = slides;
    if let (Sliding::AllButLast { .. }, Some(last)) = (sliding, slides.last_mut()) {
        *last = false;
    }
    if named.is_none() && slides.contains(&true) {
        return Err("layer_types has sliding layers, but sliding_window is null".to_owned());
    }
    let windows = slides.into_iter().map(|slides| named.filter(|_| slides));
    Ok((named, windows.collect()))
}

/// Whether each layer slides, where the file says so.
fn layer_types(json: &Object, count: usize) -> Result<Option<Vec<bool>>, String> {
    let Some(list) = per_layer(json, "layer_types", count)? else {
        return Ok(None);
    };
    let slides = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(format!(
            "layer_types has {kind}, known are \"sliding_attention\" and \"full_attention\""
        )),
    };
    list.iter().map(slides).collect::<Result<_, _>>().map(Some)
}

/// 1 for the layers that rotate; without the list all but every n-th (`no_rope_layer_interval`).
fn no_rope_layers(json: &Object, count: usize, interval: usize) -> Result<Vec<bool>, String> {
    if let Some(list) = per_layer(json, "no_rope_layers", count)? {
        let rotates = |v: &Value| match (v.as_u64(), v.as_bool()) {
            (Some(n @ 0..=1), _) => Ok(n == 1),
            (_, Some(rotates)) => Ok(rotates),
            _ => Err(format!("no_rope_layers has {v}, expected 0 or 1")),
        };
        return list.iter().map(rotates).collect();
    }
    match size(json, "no_rope_layer_interval")?.unwrap_or(interval) {
        0 => Err("no_rope_layer_interval is 0, expected at least 1".to_owned()),
        n => Ok((0..count).map(|i| !(i + 1).is_multiple_of(n)).collect()),
    }
}

/// A list with an entry for each layer; more entries than layers are left out, as transformers does.
fn per_layer<'a>(json: &'a Object, key: &str, count: usize) -> Result<Option<&'a [Value]>, String> {
    match non_null(json, key) {
        None => Ok(None),
        Some(Value::Array(list)) if list.len() >= count => Ok(Some(&list[..count])),
        Some(Value::Array(list)) => Err(format!(
            "{key} has {} entries for {count} layers",
            list.len()
        )),
        Some(_) => Err(format!("{key} is not a list")),
    }
}

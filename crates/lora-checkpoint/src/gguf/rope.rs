//! Rotary embedding in GGUF: metadata for what llama.cpp computes itself, tensors of divisors for the rest.
use super::keys::Keys;
use super::value::Value;
use crate::families::{Facts, GgufLocalBase};
use crate::mapped::Mapped;
use crate::rope::{STILL, covers, yarn_attention_factor};
use crate::storage::StorageDtype;
use crate::view::{Entry, TensorView};
use crate::{Growth, Rope, RopeScaling};

/// Divisors of all frequencies (Llama 3's scaling).
pub(super) const FACTORS: &str = "rope_freqs.weight";
/// LongRoPE's divisors.
pub(super) const LONG: &str = "rope_factors_long.weight";
pub(super) const SHORT: &str = "rope_factors_short.weight";
/// Frequencies of each dimension of a position.
pub(super) const SECTIONS: &str = "rope.dimension_sections";
/// transformers' `mscale_all_dim`, beside an `mscale` of 1.
pub(super) const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";

/// The tensors that describe rotary embedding and are no weights.
pub(crate) fn tensors() -> [&'static str; 3] {
    [FACTORS, LONG, SHORT]
}

/// Features of a head that are rotated: in all layers, or in those without a window, and in the sliding ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    pub(super) first: usize,
    pub(super) local: usize,
}

/// Granite's switch: whether there is a rotary embedding at all.
pub(super) const SWITCH: &str = "rope.scaling.finetuned";

/// Whether the switch is on, as it is where nothing is said.
pub(super) fn is_on(keys: &Keys<'_>) -> Result<bool, String> {
    match keys.value(SWITCH) {
        None => Ok(true),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(format!("{} is no truth value", keys.name(SWITCH))),
    }
}

/// The rotary embeddings of a file.
pub(super) fn read(
    keys: &Keys<'_>,
    files: &[Mapped],
    facts: &Facts,
    widths: Widths,
    context: usize,
) -> Result<Vec<Rope>, String> {
    let dim = widths.first;
    check_sections(keys, facts, dim)?;
    let theta = keys.real("rope.freq_base")?.unwrap_or(10_000.0);
    let mut ropes = vec![Rope {
        theta,
        dim,
        scaling: match facts.gguf.unrounded_yarn {
            true => unrounded(scaling(keys, files, dim, context)?),
            false => scaling(keys, files, dim, context)?,
        },
        growth: None,
    }];
    if let Some(local) = facts.json.local_rope {
        let named = keys.real("rope.freq_base_swa")?;
        let own = match local.in_gguf {
            GgufLocalBase::Default => named.unwrap_or(local.theta),
            GgufLocalBase::Named => named.unwrap_or(theta),
            GgufLocalBase::OfFullLayers if named.is_none_or(|named| named == theta) => theta,
            GgufLocalBase::OfFullLayers => {
                return Err(format!(
                    "{} is another base than that of the full layers: not supported",
                    keys.name("rope.freq_base_swa")
                ));
            }
        };
        ropes.push(Rope {
            theta: own,
            dim: widths.local,
            scaling: RopeScaling::None,
            growth: None,
        });
    }
    if facts.json.query_growth {
        let growth = Growth {
            beta: keys.real("attention.temperature_scale")?.unwrap_or(0.0),
            original_max_position_embeddings: original_context(keys, context)?,
        };
        ropes.push(Rope {
            growth: Some(growth),
            ..ropes[0].clone()
        });
    }
    Ok(ropes)
}

/// Of a family whose positions may have several dimensions: each frequency has one that texts have.
fn check_sections(keys: &Keys<'_>, facts: &Facts, dim: usize) -> Result<(), String> {
    match keys.value(SECTIONS) {
        Some(Value::I32s(sections)) if covers(sections, dim) => Ok(()),
        Some(_) if facts.json.sectioned_rope => Err(format!(
            "{} leaves a rotary frequency without a position of the text: not supported",
            keys.name(SECTIONS)
        )),
        _ => Ok(()),
    }
}

/// Tokens of the model's original context.
fn original_context(keys: &Keys<'_>, context: usize) -> Result<usize, String> {
    let named = keys.size("rope.scaling.original_context_length")?;
    Ok(named.unwrap_or(context))
}

fn scaling(
    keys: &Keys<'_>,
    files: &[Mapped],
    dim: usize,
    context: usize,
) -> Result<RopeScaling, String> {
    let original = original_context(keys, context)?;
    if let (Some(long), Some(short)) = (
        divisors(keys, files, LONG, dim)?,
        divisors(keys, files, SHORT, dim)?,
    ) {
        return Ok(RopeScaling::LongRope {
            short_factor: short.into_iter().map(f64::from).collect(),
            long_factor: long.into_iter().map(f64::from).collect(),
            attention_factor: keys.real("rope.scaling.attn_factor")?.unwrap_or(1.0),
            original_max_position_embeddings: original,
        });
    }
    if let Some(factors) = divisors(keys, files, FACTORS, dim)? {
        if factor(keys)? != 1.0 && keys.text("rope.scaling.type") != Some("none") {
            return Err(format!(
                "{FACTORS} beside {} is not supported",
                keys.name("rope.scaling.factor")
            ));
        }
        let plain = factors.iter().all(|&f| f == 1.0);
        return Ok(if plain {
            RopeScaling::None
        } else if let Some(own) = proportional(&factors) {
            own
        } else {
            RopeScaling::Factors(factors)
        });
    }
    let factor = factor(keys)?;
    let attention_factor = keys.real("rope.scaling.attn_factor")?.unwrap_or(1.0);
    // llama.cpp's default: a file that names a factor and no type scales linearly.
    let kind = keys.text("rope.scaling.type").unwrap_or("linear");
    if kind != "yarn" && attention_factor != 1.0 {
        return Err(format!(
            "{} is {attention_factor} beside the scaling \"{kind}\": not supported",
            keys.name("rope.scaling.attn_factor")
        ));
    }
    match kind {
        "none" => Ok(RopeScaling::None),
        "linear" if factor == 1.0 => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor }),
        "yarn" => Ok(RopeScaling::Yarn {
            factor,
            attention_factor: attention_factor * own_factor(keys, factor)?,
            beta_fast: keys.real("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.real("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            original_max_position_embeddings: original,
            truncate: true,
        }),
        other => Err(format!(
            "{} \"{other}\" is not supported",
            keys.name("rope.scaling.type")
        )),
    }
}

/// yarn as a family has it whose models were trained with the range as it is.
fn unrounded(mut scaling: RopeScaling) -> RopeScaling {
    if let RopeScaling::Yarn { truncate, .. } = &mut scaling {
        *truncate = false;
    }
    scaling
}

/// The proportional rule whose divisors these are: one for the first pairs, and one so large that the others stay.
fn proportional(factors: &[f32]) -> Option<RopeScaling> {
    let stays = |factor: &f32| f64::from(*factor) >= 0.999 * STILL;
    let pairs = factors.iter().position(stays)?;
    let factor = factors[..pairs].first().copied().unwrap_or(1.0);
    let (turning, still) = factors.split_at(pairs);
    let is_rule = turning.iter().all(|&own| own == factor) && still.iter().all(stays);
    is_rule.then(|| RopeScaling::Proportional {
        pairs,
        factor: factor.into(),
    })
}

/// What llama.cpp's yarn multiplies cos and sin by, where the file names no factor for it.
fn own_factor(keys: &Keys<'_>, factor: f64) -> Result<f64, String> {
    let all = keys.real(LOG_MULTIPLIER)?.filter(|&all| all != 0.0);
    Ok(yarn_attention_factor(factor, all.map(|_| 1.0), all))
}

/// The context extension factor, under its key or its old one; 0 is llama.cpp's own "none".
fn factor(keys: &Keys<'_>) -> Result<f64, String> {
    let named = match keys.real("rope.scaling.factor")? {
        None => keys.real("rope.scale_linear")?,
        named => named,
    };
    Ok(named.filter(|&f| f != 0.0).unwrap_or(1.0))
}

fn divisors(
    keys: &Keys<'_>,
    files: &[Mapped],
    name: &str,
    dim: usize,
) -> Result<Option<Vec<f32>>, String> {
    let Some(tensor) = keys.gguf.tensors.get(name) else {
        return Ok(None);
    };
    if tensor.dtype != StorageDtype::F32 || tensor.shape != [dim / 2] {
        return Err(format!(
            "{name} has shape {:?}, expected f32 [{}]",
            tensor.shape,
            dim / 2
        ));
    }
    let (range, shape, dtype) = (tensor.range.clone(), tensor.shape.clone(), tensor.dtype);
    let file = tensor.file;
    let entry = Entry::plain(file, range, shape, dtype);
    Ok(Some(
        TensorView::new(name, &entry, files[file].bytes()).to_f32(),
    ))
}

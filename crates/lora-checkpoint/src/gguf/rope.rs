//! Rotary embedding in GGUF: metadata for what llama.cpp computes itself, tensors of divisors for the rest.
use super::keys::Keys;
use super::value::Value;
use crate::families::{Facts, GgufLocalBase};
use crate::mapped::Mapped;
use crate::rope::{STILL, covers, yarn_attention_factor};
use crate::storage::StorageDtype;
use crate::view::{Entry, TensorView};
use crate::{Growth, ModelConfig, Rope, RopeScaling};

/// Divisors of all frequencies (Llama 3's scaling).
const FACTORS: &str = "rope_freqs.weight";
/// LongRoPE's divisors.
const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";
/// Frequencies of each dimension of a position.
const SECTIONS: &str = "rope.dimension_sections";
/// transformers' `mscale_all_dim`, beside an `mscale` of 1.
const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";

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

/// What is said where llama.cpp rounds a range that the model does not.
const ROUNDED_YARN: &str = "llama.cpp rounds the range of yarn's frequencies, this model was trained with the range as it is: its \
     numbers differ a little there";

/// What is to be said of a model whose frequencies llama.cpp rounds, if that changes some.
pub(crate) fn rounded(config: &ModelConfig) -> Option<String> {
    let rope = config
        .ropes
        .first()
        .filter(|_| config.facts().gguf.unrounded_yarn)?;
    let mut other = rope.clone();
    if let RopeScaling::Yarn { truncate, .. } = &mut other.scaling {
        *truncate = true;
    }
    (other.divisors(0) != rope.divisors(0)).then(|| ROUNDED_YARN.to_owned())
}

/// What a model's rotary embedding becomes in a file.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Metadata, keys without the architecture.
    pub(crate) metadata: Vec<(&'static str, Value)>,
    /// Divisors by tensor name.
    pub(crate) tensors: Vec<(&'static str, Vec<f32>)>,
    /// Where llama.cpp differs.
    pub(crate) warning: Option<String>,
}

/// Metadata and tensors for a model; what llama.cpp can't compute is refused.
pub(crate) fn write(config: &ModelConfig) -> Result<Written, String> {
    let mut out = Written::default();
    let facts = config.facts();
    let Some(rope) = config.ropes.first() else {
        return Ok(out);
    };
    if let (Some(local), Some(own)) = (config.ropes.get(1), config.facts().json.local_rope) {
        let base = match own.in_gguf {
            GgufLocalBase::Default => own.theta,
            GgufLocalBase::Named => local.theta,
            GgufLocalBase::OfFullLayers => rope.theta,
        };
        if local.theta != base || local.scaling != RopeScaling::None {
            return Err(format!(
                "llama.cpp has the base {base} and no scaling for sliding layers, this model another"
            ));
        }
    }
    let is_proportional = config.facts().json.proportional_rope.is_some();
    if let (true, Some(local)) = (is_proportional, config.ropes.get(1)) {
        let base = Value::F32(local.theta as f32);
        out.metadata.push(("rope.freq_base_swa", base));
    }
    let growth = config.ropes.get(1).and_then(|rope| rope.growth);
    out.metadata
        .push(("rope.freq_base", Value::F32(rope.theta as f32)));
    out.metadata
        .push(("rope.dimension_count", Value::U32(rope.dim as u32)));
    if config.facts().json.sectioned_rope {
        let sections = Rope::sections(rope.dim).map(|n| n as i32);
        out.metadata
            .push((SECTIONS, Value::I32s(sections.to_vec())));
    }
    let narrow = |values: &[f64]| values.iter().map(|&f| f as f32).collect::<Vec<_>>();
    let kind = |name: &str| ("rope.scaling.type", Value::String(name.to_owned()));
    let original = |n: usize| ("rope.scaling.original_context_length", Value::U32(n as u32));
    let real = |key: &'static str, x: f64| (key, Value::F32(x as f32));
    if let Some(growth) = growth {
        let period = growth.original_max_position_embeddings;
        out.metadata
            .push(real("attention.temperature_scale", growth.beta));
        if !matches!(rope.scaling, RopeScaling::Yarn { .. }) {
            out.metadata.push(original(period));
        }
    }
    match &rope.scaling {
        // llama.cpp wants divisors there, whatever they are.
        RopeScaling::None if is_proportional => {
            out.tensors.push((FACTORS, vec![1.0; rope.dim / 2]));
        }
        RopeScaling::Linear { .. } if is_proportional => {
            let divisors = rope.divisors(0).unwrap_or_default();
            out.tensors.push((FACTORS, narrow(&divisors)));
        }
        RopeScaling::Yarn { .. } | RopeScaling::LongRope { .. } | RopeScaling::Dynamic { .. }
            if is_proportional =>
        {
            return Err("llama.cpp has no such rotary scaling for this architecture".to_owned());
        }
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => out
            .metadata
            .extend([kind("linear"), real("rope.scaling.factor", *factor)]),
        RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) | RopeScaling::Proportional { .. } => {
            out.tensors
                .push((FACTORS, narrow(&rope.divisors(0).unwrap_or_default())));
        }
        RopeScaling::Dynamic {
            original_max_position_embeddings,
            ..
        } => {
            out.warning = Some(format!(
                "llama.cpp has no dynamic rotary scaling: beyond {original_max_position_embeddings} tokens it differs"
            ));
        }
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            attention_factor,
            original_max_position_embeddings,
        } => {
            out.metadata.extend([
                original(*original_max_position_embeddings),
                real("rope.scaling.attn_factor", *attention_factor),
            ]);
            out.tensors
                .extend([(LONG, narrow(long_factor)), (SHORT, narrow(short_factor))]);
            out.warning = Some(format!(
                "llama.cpp picks the rotary factors by the size of its context, not by the length of the text: run it with at \
                 most {original_max_position_embeddings} tokens for the short ones"
            ));
        }
        RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
        } => {
            match (facts.gguf.unrounded_yarn, *truncate) {
                (false, false) => {
                    return Err(
                        "llama.cpp can't compute yarn without rounding its range (truncate: false)"
                            .to_owned(),
                    );
                }
                (true, true) => {
                    return Err(format!(
                        "GGUF can't say that yarn's range is rounded (truncate: true): that of a {} is not",
                        facts.model_type
                    ));
                }
                (true, false) => out.warning = rounded(config),
                _ => {}
            }
            out.metadata.extend([
                kind("yarn"),
                real("rope.scaling.factor", *factor),
                original(*original_max_position_embeddings),
            ]);
            let mut own = yarn_attention_factor(*factor, None, None);
            if growth.is_some() && *attention_factor == 1.0 {
                // As llama.cpp's converter says it; some of its versions read nothing else here.
                out.metadata.push(real(LOG_MULTIPLIER, 1.0));
                own = 1.0;
            }
            if (attention_factor / own - 1.0).abs() > 1e-6 {
                out.metadata
                    .push(real("rope.scaling.attn_factor", attention_factor / own));
            }
            if (*beta_fast, *beta_slow) != (32.0, 1.0) {
                out.metadata
                    .push(real("rope.scaling.yarn_beta_fast", *beta_fast));
                out.metadata
                    .push(real("rope.scaling.yarn_beta_slow", *beta_slow));
            }
        }
    }
    Ok(out)
}

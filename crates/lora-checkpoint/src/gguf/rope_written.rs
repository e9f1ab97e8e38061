//! A model's rotary embedding as a GGUF file has it; what llama.cpp can't compute is refused, where it differs is said.
use super::rope::{FACTORS, LOG_MULTIPLIER, LONG, SECTIONS, SHORT, SWITCH};
use super::value::Value;
use crate::families::GgufLocalBase;
use crate::rope::yarn_attention_factor;
use crate::{ModelConfig, Rope, RopeScaling};

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
    if config.facts().json.rope_switch {
        let is_on = config.layers.iter().any(|layer| layer.rope.is_some());
        out.metadata.push((SWITCH, Value::Bool(is_on)));
    }
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

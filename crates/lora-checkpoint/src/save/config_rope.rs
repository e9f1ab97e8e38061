//! Rotary embeddings in config.json: `rope_parameters` is transformers 5's; `rope_theta` and `rope_scaling` say the same to
//! transformers 4.
use crate::error::Fault;
use crate::rope::recover_llama3;
use crate::{ModelConfig, Rope, RopeScaling};
use serde_json::{Map, Value, json};

/// What a file or a part of it is.
pub(super) type Object = Map<String, Value>;

/// Rotary embedding in both spellings.
pub(super) fn rope(config: &ModelConfig) -> Result<Object, Fault> {
    let Some(first) = config.ropes.first() else {
        return Ok(Object::new());
    };
    let positions = config.max_position_embeddings;
    let scaling = scaling(first, positions)?;
    let whole = |scaling: Option<Object>, theta: f64| {
        let mut all = scaling.unwrap_or_else(|| object(json!({"rope_type": "default"})));
        all.insert("rope_theta".to_owned(), theta.into());
        all
    };
    let mut map = Object::new();
    let mut parameters = whole(scaling.clone(), first.theta);
    let is_proportional = config.facts().json.proportional_rope.is_some();
    if first.dim != config.head_dim && !is_proportional {
        // Rounded up within the last place, so that the product with head_dim, cut to a whole number, is `dim` again.
        let part = (first.dim as f64 + 1e-6) / config.head_dim as f64;
        parameters.insert("partial_rotary_factor".to_owned(), part.into());
        map.insert("partial_rotary_factor".to_owned(), part.into());
    }
    if config.facts().json.sectioned_rope {
        let [first, second, third, _] = Rope::sections(first.dim);
        parameters.insert("mrope_interleaved".to_owned(), true.into());
        let sections = vec![first, second, third];
        parameters.insert("mrope_section".to_owned(), sections.into());
    }
    if let RopeScaling::LongRope {
        original_max_position_embeddings,
        ..
    } = &first.scaling
    {
        map.insert(
            "original_max_position_embeddings".to_owned(),
            (*original_max_position_embeddings).into(),
        );
    }
    if let Some(growth) = config.ropes.get(1).and_then(|rope| rope.growth) {
        parameters.extend(object(json!({
            "llama_4_scaling_beta": growth.beta,
            "original_max_position_embeddings": growth.original_max_position_embeddings,
        })));
        map.insert("rope_parameters".to_owned(), Value::Object(parameters));
        return Ok(map);
    }
    if let (Some(local), Some(own)) = (config.ropes.get(1), config.facts().json.local_rope) {
        let sliding = whole(self::scaling(local, positions)?, local.theta);
        parameters = object(json!({"full_attention": parameters, "sliding_attention": sliding}));
        if let Some(key) = own.key {
            map.insert(key.to_owned(), local.theta.into());
        }
    }
    map.insert("rope_parameters".to_owned(), Value::Object(parameters));
    if is_proportional {
        return Ok(map);
    }
    map.insert(
        "rope_scaling".to_owned(),
        scaling.map_or(Value::Null, Value::Object),
    );
    map.insert("rope_theta".to_owned(), first.theta.into());
    Ok(map)
}

/// transformers' `rope_scaling` of a model that reads so many `positions`; None for the plain embedding.
fn scaling(rope: &Rope, positions: usize) -> Result<Option<Object>, Fault> {
    let recovered = match &rope.scaling {
        RopeScaling::Factors(factors) => recover_llama3(factors, rope.theta).ok_or(
            Fault::new("the rope factors of this file are not those of Llama 3's scaling, which is all that config.json can say").hint("keep the model as a GGUF file"),
        )?,
        other => other.clone(),
    };
    Ok(Some(object(match recovered {
        RopeScaling::None | RopeScaling::Factors(_) => return Ok(None),
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Proportional { pairs, factor } => {
            // Rounded up within the last place, so that the product with the pairs, cut to a whole number, is `pairs` again.
            let part = (2.0 * pairs as f64 + 1e-6) / rope.dim as f64;
            let part = if 2 * pairs == rope.dim { 1.0 } else { part };
            let mut said = json!({"rope_type": "proportional", "partial_rotary_factor": part});
            if factor != 1.0 {
                said["factor"] = factor.into();
            }
            said
        }
        RopeScaling::Dynamic { factor, .. } => json!({"rope_type": "dynamic", "factor": factor}),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "llama3", "factor": factor, "high_freq_factor": high_freq_factor,
            "low_freq_factor": low_freq_factor, "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
        } => json!({
            "rope_type": "yarn", "factor": factor, "attention_factor": attention_factor, "beta_fast": beta_fast,
            "beta_slow": beta_slow, "original_max_position_embeddings": original_max_position_embeddings,
            "truncate": truncate,
        }),
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            attention_factor,
            original_max_position_embeddings,
        } => {
            let factor = positions as f64 / original_max_position_embeddings as f64;
            json!({
                "rope_type": "longrope", "factor": factor, "short_factor": short_factor, "long_factor": long_factor,
                "attention_factor": attention_factor, "original_max_position_embeddings": original_max_position_embeddings,
            })
        }
    })))
}

/// The object that `json!` made.
pub(super) fn object(value: Value) -> Object {
    match value {
        Value::Object(map) => map,
        _ => Object::new(),
    }
}

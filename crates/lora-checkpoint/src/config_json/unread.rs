//! Keys of config.json that change what a decoder computes in some family. Where the model's own family doesn't read
//! them, transformers ignores them silently; here they are refused, unless their value means that nothing changes.
use super::value::{Object, non_null};
use crate::error::Fault;
use crate::families::{Activation, Facts, Mixer, Mlp, Norm, SCALE, ShortConv, Sliding, SoftCap};
use crate::{LayerSpec, Projection};
use serde_json::Value;

/// Refuses keys that the family doesn't read and that would change what is computed.
pub(super) fn refuse(json: &Object, facts: &Facts) -> Result<(), Fault> {
    for key in facts.json.unsupported {
        if let Some(value) = non_null(json, key) {
            return Err(Fault::new(format!(
                "{key} is {value}, which changes what the model computes and is not supported"
            ))
            .hint(format!("only a {} without it is", facts.model_type)));
        }
    }
    for (key, neutral) in unread(facts) {
        let Some(value) = non_null(json, key) else {
            continue;
        };
        if !neutral.allows(value) {
            return Err(ignored(key, value, facts));
        }
    }
    refuse_other_activation(json, facts)?;
    let nested = ["rope_scaling", "rope_parameters"];
    for rope in nested.iter().filter_map(|key| json.get(*key)?.as_object()) {
        let own = &facts.json;
        for (key, is_read) in [
            ("mrope_section", own.sectioned_rope),
            ("mrope_interleaved", own.sectioned_rope),
            ("short_mscale", false),
            ("long_mscale", false),
            ("alpha", own.rope_alpha),
            ("llama_4_scaling_beta", own.query_growth),
        ] {
            if let (false, Some(value)) = (is_read, non_null(rope, key)) {
                return Err(ignored(key, value, facts));
            }
        }
    }
    Ok(())
}

/// Refuses layer types that a family doesn't read and that say otherwise than its windows.
pub(super) fn refuse_layer_types(
    json: &Object,
    facts: &Facts,
    layers: &[LayerSpec],
) -> Result<(), Fault> {
    let Some(Value::Array(types)) = non_null(json, "layer_types") else {
        return Ok(());
    };
    let is_read = facts.recurrent.is_some()
        || !matches!(
            facts.json.sliding,
            Sliding::Never | Sliding::All(_) | Sliding::IfUsed
        );
    let agrees = |(kind, layer): (&Value, &LayerSpec)| {
        kind == match layer.window {
            None => "full_attention",
            Some(_) => "sliding_attention",
        }
    };
    match is_read || types.iter().zip(layers).all(agrees) {
        true => Ok(()),
        false => Err(ignored("layer_types", &json["layer_types"], facts)),
    }
}

/// One line for each key that transformers applies in training and that is not applied here.
pub(super) fn notes(json: &Object) -> Vec<String> {
    let keys = [
        "attention_dropout",
        "attn_pdrop",
        "resid_pdrop",
        "embd_pdrop",
        "hidden_dropout",
        "residual_dropout",
        "embedding_dropout",
    ];
    keys.into_iter()
        .filter_map(|key| Some((key, json.get(key)?.as_f64().filter(|&p| p > 0.0)?)))
        .map(|(key, p)| {
            format!("config.json has {key} {p}: transformers drops in training, here the base is left whole")
        })
        .collect()
}

fn ignored(key: &str, value: &Value, facts: &Facts) -> Fault {
    Fault::new(format!(
        "{key} is {value}, and {} has no such thing: transformers would ignore it",
        facts.model_type
    ))
    .hint(format!(
        "if the model was trained with transformers' {}, remove the key; else it is of another family",
        facts.architecture
    ))
}

/// A value that means that nothing changes.
#[derive(Clone, Copy)]
enum Neutral {
    /// Only null.
    Nothing,
    False,
    One,
    /// No experts, or one.
    AtMostOne,
    /// Every layer rotates.
    AllOnes,
    /// 0.
    Zero,
    /// A list of ones.
    Ones,
    /// The plain rotary embedding.
    Rope,
    /// What the family does in any case.
    Always(bool),
}

impl Neutral {
    fn allows(self, value: &Value) -> bool {
        match self {
            Self::Nothing => false,
            Self::False => value == &Value::Bool(false),
            Self::One => value.as_f64() == Some(1.0),
            Self::Zero => value.as_f64() == Some(0.0),
            Self::Ones => {
                let is_one = |v: &Value| v.as_f64() == Some(1.0);
                value.as_array().is_some_and(|list| list.iter().all(is_one))
            }
            Self::Rope => value == "rope",
            Self::Always(does) => value == &Value::Bool(does),
            Self::AtMostOne => value.as_f64().is_some_and(|n| n <= 1.0),
            Self::AllOnes => {
                let ones = |v: &Value| v.as_u64() == Some(1) || v.as_bool() == Some(true);
                value.as_array().is_some_and(|list| list.iter().all(ones))
            }
        }
    }
}

/// The keys that this family doesn't read.
fn unread(facts: &Facts) -> impl Iterator<Item = (&'static str, Neutral)> {
    use Neutral::{AllOnes, Always, AtMostOne, False, Nothing, One, Ones, Rope, Zero};
    let norms_heads = facts.norm(Norm::Query).is_some();
    let own = &facts.json;
    let biases = [own.qkv_bias, own.output_bias, own.mlp_bias];
    let experts = facts.experts.as_ref();
    let counts_experts = |key| experts.is_some_and(|own| own.count.0.contains(&key));
    let shared = facts.experts.and_then(|own| own.shared);
    let has_shared_width = |key| shared.is_some_and(|own| own.width.0 == key);
    let varies = own.variants.is_some();
    let recurrent = facts.recurrent.as_ref();
    let has_short_conv = recurrent.is_some_and(|own| own.mixer() == Mixer::ShortConv);
    let clamps = facts.experts.is_some_and(|own| own.clamp.is_some());
    let has_bias_key = |name| biases.iter().any(|bias| bias.key() == Some(name));
    let keys = [
        ("attention_bias", False, has_bias_key("attention_bias")),
        (
            "attention_out_bias",
            False,
            has_bias_key("attention_out_bias"),
        ),
        ("mlp_bias", False, has_bias_key("mlp_bias")),
        ("use_bias", False, has_bias_key("use_bias")),
        ("lm_head_bias", False, false),
        (
            "query_pre_attn_scalar",
            Nothing,
            own.query_pre_attn_scalar.is_some(),
        ),
        (
            "attn_logit_softcapping",
            Nothing,
            matches!(own.attention_softcap, SoftCap::Read(_)),
        ),
        (
            "final_logit_softcapping",
            Nothing,
            matches!(own.logit_softcap, SoftCap::Read(_)),
        ),
        ("no_rope_layers", AllOnes, own.no_rope_interval.is_some()),
        ("embedding_multiplier", One, own.multipliers || own.factors),
        ("lm_head_multiplier", One, own.factors),
        ("key_multiplier", One, own.factors),
        ("attention_in_multiplier", One, own.factors),
        ("attention_out_multiplier", One, own.factors),
        ("ssm_in_multiplier", One, own.factors),
        ("ssm_out_multiplier", One, own.factors),
        ("ssm_multipliers", Ones, own.factors),
        ("mlp_multipliers", Ones, own.factors),
        ("residual_multiplier", One, own.multipliers),
        ("attention_multiplier", Nothing, own.multipliers),
        ("logits_scaling", One, own.multipliers),
        ("logit_scale", One, own.logit_scale.is_some()),
        ("num_experts", AtMostOne, counts_experts("num_experts")),
        (
            "num_local_experts",
            AtMostOne,
            counts_experts("num_local_experts"),
        ),
        ("swiglu_alpha", Nothing, clamps),
        ("swiglu_limit", Nothing, clamps),
        (SCALE, One, experts.is_some_and(|own| own.scaled)),
        ("enable_moe_block", False, varies),
        ("num_kv_shared_layers", Zero, varies),
        ("hidden_size_per_layer_input", Zero, varies),
        ("attention_k_eq_v", False, varies),
        ("use_double_wide_mlp", False, varies),
        ("global_head_dim", Nothing, varies),
        ("num_global_key_value_heads", Nothing, varies),
        ("per_layer_config", Nothing, varies),
        ("n_routed_experts", AtMostOne, false),
        ("use_qk_norm", Always(norms_heads), false),
        ("qk_layernorm", Always(norms_heads), false),
        (
            "attn_output_gate",
            Always(facts.projections.contains(&Projection::QGate)),
            false,
        ),
        ("position_embedding_type", Rope, own.rope_switch),
        (
            "shared_intermediate_size",
            Zero,
            has_shared_width("shared_intermediate_size"),
        ),
        ("conv_bias", False, false),
        ("full_attn_idxs", Nothing, has_short_conv),
        (ShortConv::KEY, Nothing, has_short_conv),
        ("projectors_bias", False, own.mamba_width.is_some()),
        ("attn_layer_indices", Nothing, false),
        ("use_cla", False, false),
        ("use_rotary_pos_emb", Always(true), false),
        ("use_mrope", False, false),
        ("clip_qkv", Nothing, false),
        ("alibi", False, false),
        ("parallel_attn", False, false),
        ("use_parallel_residual", False, false),
        ("rotary_pct", One, false),
        ("rope_percent", One, false),
        ("rotary_dim", Nothing, false),
        ("attention_chunk_size", Nothing, false),
    ];
    keys.into_iter()
        .filter(|(.., is_read)| !is_read)
        .map(|(key, neutral, _)| (key, neutral))
}

/// The activation under the key that another family reads it from.
fn refuse_other_activation(json: &Object, facts: &Facts) -> Result<(), Fault> {
    let other = match facts.json.activation {
        "hidden_act" => "hidden_activation",
        _ => "hidden_act",
    };
    // Gemma's files have said "gelu" under the other key since its first version, and meant the tanh formula.
    let known: &[&str] = match facts.mlp {
        Mlp::Gated(Activation::Silu) | Mlp::Plain(Activation::Silu) => &["silu", "swish"],
        Mlp::Gated(Activation::GeluTanh) | Mlp::Plain(Activation::GeluTanh) => {
            &["gelu_pytorch_tanh", "gelu"]
        }
        Mlp::Xielu => &["xielu"],
    };
    match non_null(json, other) {
        Some(value) if !value.as_str().is_some_and(|name| known.contains(&name)) => {
            Err(ignored(other, value, facts))
        }
        _ => Ok(()),
    }
}

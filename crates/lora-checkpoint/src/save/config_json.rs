//! config.json from a decoder's shape; what it says of rotary embeddings is in `config_rope`, of layers that keep a state in
//! `config_states`.
use super::config_rope::{Object, object, rope};
use super::config_states;
use super::encode::SaveDtype;
use crate::ends::special_ids;
use crate::error::Fault;
use crate::families::{
    Activation, CHOICE_BIAS, DENSE_LAYERS, ExpertLayers, Facts, Mlp, Normalised, RecurrentKind,
    SCALE, Sliding, SoftCap,
};
use crate::{LayerSpec, ModelConfig};
use serde_json::{Value, json};

/// The whole file.
pub(super) fn build(config: &ModelConfig, dtype: SaveDtype) -> Result<Value, Fault> {
    let facts = config.facts();
    let mut map = object(json!({
        "architectures": [facts.architecture],
        "attention_dropout": 0.0,
        "dtype": dtype.torch_name(),
        "head_dim": config.head_dim,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": facts.model_type,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": dtype.torch_name(),
        "use_cache": true,
        "vocab_size": config.vocab_size,
    }));
    map.insert(facts.json.norm_eps.0.to_owned(), config.norm_eps.into());
    let activation = match facts.mlp {
        Mlp::Gated(Activation::Silu) | Mlp::Plain(Activation::Silu) => "silu",
        Mlp::Gated(Activation::GeluTanh) | Mlp::Plain(Activation::GeluTanh) => "gelu_pytorch_tanh",
        Mlp::Xielu => "xielu",
    };
    map.insert(facts.json.activation.to_owned(), activation.into());
    map.extend(special_ids(config));
    map.extend(of_family(config));
    map.extend(config_states::keys(config));
    map.extend(factors(config));
    map.extend(experts(config));
    map.extend(variants(config));
    map.extend(rope(config)?);
    Ok(Value::Object(map))
}

/// The keys that only some families read.
fn of_family(config: &ModelConfig) -> Object {
    let window = config.layers.iter().find_map(|l| l.window);
    let json = &config.facts().json;
    let types = || -> Vec<&str> {
        let name = |layer: &LayerSpec| match layer.window {
            Some(_) => "sliding_attention",
            // As transformers 4 says it, where that knows the family.
            None => layer.mixer.words()[usize::from(may_have_mamba(config.facts()))],
        };
        config.layers.iter().map(name).collect()
    };
    let mut map = Object::new();
    let mut put = |key: &str, value: Value| _ = map.insert(key.to_owned(), value);
    let biases = [
        (json.qkv_bias, config.biases.qkv),
        (json.output_bias, config.biases.output),
        (json.mlp_bias, config.biases.mlp),
    ];
    for (bias, has) in biases {
        if let Some(key) = bias.key() {
            put(key, has.into());
        }
    }
    if json.multipliers {
        let own = &config.multipliers;
        put("embedding_multiplier", own.embedding.into());
        put("attention_multiplier", config.attention_scale().into());
        put("residual_multiplier", own.residual.into());
        put("logits_scaling", own.logits.into());
    }
    if json.logit_scale.is_some() {
        put("logit_scale", (1.0 / config.multipliers.logits).into());
    }
    if json.attention_softcap != SoftCap::Absent {
        put("attn_logit_softcapping", config.attention_softcap.into());
    }
    if json.logit_softcap != SoftCap::Absent {
        put("final_logit_softcapping", config.logit_softcap.into());
    }
    if matches!(
        json.sliding,
        Sliding::Pattern(_)
            | Sliding::AllBut(_)
            | Sliding::AllButWith { .. }
            | Sliding::AllButLast { .. }
            | Sliding::Named(_)
    ) {
        put("layer_types", types().into());
    }
    if config.delta.is_some() || config.short_conv.is_some() {
        put("layer_types", types().into());
    }
    if json.rope_switch {
        let has_rope = config.layers.iter().any(|layer| layer.rope.is_some());
        let kind = if has_rope { "rope" } else { "nope" };
        put("position_embedding_type", kind.into());
    }
    if may_have_mamba(config.facts()) {
        put("layer_types", types().into());
        if config.mamba.is_none() {
            put("mamba_n_heads", 1.into()); // which goes with every hidden_size
        }
    }
    if json.tie_embedding {
        put("tie_embedding", config.tie_word_embeddings.into());
    }
    if json.block_width {
        put("block_ff_dim", config.intermediate_size.into());
        put("block_auto_adjust_ff_dim", false.into());
        put("block_ffn_dim_multiplier", 1.0.into());
        put("block_multiple_of", 256.into());
    }
    if json.query_pre_attn_scalar.is_some() {
        put("query_pre_attn_scalar", whole(config.query_pre_attn_scalar));
    }
    if json.sliding != Sliding::Never {
        put("sliding_window", window.into());
    }
    if matches!(
        json.sliding,
        Sliding::IfUsed | Sliding::FromLayer | Sliding::WithoutRope
    ) {
        put("use_sliding_window", window.is_some().into());
    }
    if matches!(json.sliding, Sliding::FromLayer | Sliding::WithoutRope) {
        put("layer_types", types().into());
    }
    if json.no_rope_interval.is_some() {
        let rotates = config.layers.iter().map(|l| u8::from(l.rope.is_some()));
        put("no_rope_layers", rotates.collect::<Vec<_>>().into());
    }
    map
}

/// Whether a family's layers may be such of Mamba-2 in place of attention.
fn may_have_mamba(facts: &Facts) -> bool {
    let recurrent = facts.recurrent.as_ref();
    recurrent
        .is_some_and(|own| !own.beside_attention && matches!(own.kind, RecurrentKind::Mamba(_)))
}

/// The factors around linear layers, and those of embeddings and logits beside them.
fn factors(config: &ModelConfig) -> Object {
    let (own, beside) = (&config.factors, &config.multipliers);
    match config.facts().json.factors {
        false => Object::new(),
        true => object(json!({
            "attention_in_multiplier": own.attention_in,
            "attention_out_multiplier": own.attention_out,
            "embedding_multiplier": beside.embedding,
            "key_multiplier": own.key,
            "lm_head_multiplier": 1.0 / beside.logits,
            "mlp_multipliers": own.mlp,
            "ssm_in_multiplier": own.ssm_in,
            "ssm_multipliers": own.ssm,
            "ssm_out_multiplier": own.ssm_out,
        })),
    }
}

/// The keys of a mixture of experts.
fn experts(config: &ModelConfig) -> Object {
    let mut map = Object::new();
    let Some(own) = config.facts().experts else {
        return map;
    };
    let mut put = |key: &str, value: Value| _ = map.insert(key.to_owned(), value);
    if let Some(shared) = own.shared {
        let beside = config
            .experts
            .map_or(Some(config.intermediate_size), |own| own.shared);
        put(shared.width.0, beside.unwrap_or(0).into());
    }
    let Some(experts) = config.experts else {
        put(own.count.0[0], 0.into());
        put("num_experts_per_tok", 0.into());
        return map;
    };
    put(own.count.0[0], experts.count.into());
    put("num_experts_per_tok", experts.chosen.into());
    put(own.width.0, experts.width.into());
    put(
        "output_router_logits",
        config.router_aux_loss.is_some().into(),
    );
    if let Some(coefficient) = config.router_aux_loss {
        put("router_aux_loss_coef", coefficient.into());
    }
    if let Some(clamp) = experts.clamp {
        put("swiglu_alpha", clamp.alpha.into());
        put("swiglu_limit", clamp.limit.into());
    }
    if own.normalised != Normalised::Always {
        put("norm_topk_prob", experts.normalised.into());
    }
    if own.choice_bias.is_some() {
        put(CHOICE_BIAS, experts.choice_bias.into());
    }
    if own.scaled {
        put(SCALE, experts.scale.into());
    }
    if let ExpertLayers::Behind(_) = own.layers {
        put(DENSE_LAYERS, config.dense_layers().into());
    }
    if own.layers == ExpertLayers::Some {
        let layers = config.layers.iter().enumerate();
        let without = layers.filter(|(_, layer)| !layer.experts).map(|(i, _)| i);
        put("decoder_sparse_step", 1.into());
        put("mlp_only_layers", without.collect::<Vec<_>>().into());
    }
    map
}

/// Where attention layers differ, in both spellings: transformers' own (`per_layer_config`) and that of published files.
fn variants(config: &ModelConfig) -> Object {
    let mut map = Object::new();
    if config.facts().json.variants.is_none() {
        return map;
    }
    let own = &config.variants;
    let mut put = |key: &str, value: Value| _ = map.insert(key.to_owned(), value);
    let layers = config.layers.iter().enumerate();
    let full = layers.filter(|(_, layer)| layer.window.is_none());
    let of_full = full.clone().next().map(|(index, _)| config.heads_of(index));
    let said = full.map(|(index, _)| {
        let heads = config.heads_of(index);
        let own = json!({"head_dim": heads.width, "num_key_value_heads": heads.kv});
        (index.to_string(), own)
    });
    put("per_layer_config", Value::Object(said.collect()));
    if let Some(heads) = of_full {
        if own.values_are_keys || heads.kv == config.num_key_value_heads {
            put("global_head_dim", heads.width.into());
        }
        if own.values_are_keys {
            put("num_global_key_value_heads", heads.kv.into());
        }
    }
    put("attention_k_eq_v", own.values_are_keys.into());
    put("enable_moe_block", false.into());
    put("num_kv_shared_layers", own.sharing.into());
    put("use_double_wide_mlp", own.double_wide.into());
    let width = own.per_layer.map_or(0, |own| own.width);
    put("hidden_size_per_layer_input", width.into());
    let rows = own
        .per_layer
        .map_or(config.vocab_size, |own| own.vocabulary);
    put("vocab_size_per_layer_input", rows.into());
    map
}

/// A whole number as such: transformers wants no fraction for some keys.
fn whole(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 {
        json!(x as i64)
    } else {
        json!(x)
    }
}

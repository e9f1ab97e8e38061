//! What a GGUF file says of a model and its decoder beside the tokenizer.
use super::gguf_states::attention_every;
use crate::error::Error;
use crate::families::{ExpertLayers, NAME_KEY, Scores};
use crate::gguf::rope_written::Written;
use crate::gguf::{self, Value, experts, names, recurrent, variants};
use crate::weights::Part;
use crate::{Checkpoint, Format, ModelConfig};

/// What is said of the model and its decoder, in the order of llama.cpp's converter.
pub(super) fn metadata(
    model: &Checkpoint,
    file_type: u32,
    name: &str,
    rope: &Written,
) -> Result<Vec<(String, Value)>, Error> {
    let config = model.config();
    let mut all = match model.format() {
        Format::Gguf => carried(model, "general."),
        Format::HuggingFace => vec![
            pair("general.architecture", text(gguf::architecture(config))),
            pair("general.type", text("model")),
            pair("general.name", text(name)),
            pair("general.size_label", text(&size_label(parameters(config)))),
        ],
    };
    all.extend(decoder(config, rope));
    let named = config.family.name_in_gguf(gguf::architecture(config));
    all.extend(named.map(|name| pair(NAME_KEY, text(name))));
    all.extend(xielu(model)?);
    all.push(pair("general.file_type", Value::U32(file_type)));
    all.push(pair("general.quantization_version", Value::U32(2)));
    Ok(all)
}

/// What xIELU learns and its constants, a list each with a number a layer; nothing for other families.
fn xielu(model: &Checkpoint) -> Result<Vec<(String, Value)>, Error> {
    let mut lists: Vec<(String, Vec<f32>)> = Vec::new();
    for (part, name, _) in model.config().parts() {
        let Part::Xielu(_, number) = part else {
            continue;
        };
        let key = names::xielu_key(number);
        let value = model.tensor(&name)?.to_f32();
        match lists.iter_mut().find(|(k, _)| k == key) {
            Some((_, list)) => list.extend(value),
            None => lists.push((key.to_owned(), value)),
        }
    }
    if !lists.is_empty() {
        let layers = model.config().num_hidden_layers;
        let constants = names::XIELU_CONSTANTS.into_iter();
        lists.extend(constants.map(|(key, value)| (key.to_owned(), vec![value; layers])));
    }
    let lists = lists.into_iter();
    Ok(lists.map(|(key, list)| (key, Value::F32s(list))).collect())
}

/// A GGUF source's own entries, but for those that describe its storage.
pub(super) fn carried(model: &Checkpoint, prefix: &str) -> Vec<(String, Value)> {
    let storage = [
        "general.file_type",
        "general.quantization_version",
        "general.alignment",
    ];
    let keep = |key: &str| key.starts_with(prefix) && !storage.contains(&key);
    model
        .all_metadata()
        .filter(|(key, _)| keep(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn decoder(config: &ModelConfig, rope: &Written) -> Vec<(String, Value)> {
    let key = |key: &str| format!("{}.{key}", gguf::architecture(config));
    let size = |name: &str, n: usize| (key(name), Value::U32(n as u32));
    let real = |name: &str, x: f64| (key(name), Value::F32(x as f32));
    let mut all = vec![
        size("block_count", config.num_hidden_layers),
        size("context_length", config.max_position_embeddings),
        size("embedding_length", config.hidden_size),
        size("feed_forward_length", config.intermediate_size),
        size("attention.head_count", config.num_attention_heads),
        size("attention.head_count_kv", config.num_key_value_heads),
        real(names::norm_eps_key(config.facts()), config.norm_eps),
        size("attention.key_length", config.head_dim),
        size("attention.value_length", config.head_dim),
        size("vocab_size", config.vocab_size),
    ];
    let own = match variants::are_listed(config.facts()) {
        true => variants::written(config),
        false => recurrent::written(config),
    };
    if !own.is_empty() {
        let own = own.into_iter();
        let own: Vec<_> = own.map(|(name, value)| (key(name), value)).collect();
        all.retain(|(name, _)| own.iter().all(|(key, _)| key != name));
        all.extend(own);
    }
    if let (Some(own), Some(facts)) = (config.experts, &config.facts().experts) {
        all.extend([
            size(experts::COUNT, own.count),
            size(experts::CHOSEN, own.chosen),
        ]);
        let width = size(experts::width_key(facts), own.width);
        if !all.contains(&width) {
            all.push(width);
        }
        if let ExpertLayers::Behind(_) = facts.layers {
            all.push(size(experts::DENSE_LAYERS, config.dense_layers()));
        }
        if facts.scores != Scores::Softmax {
            all.push((
                key(experts::GATING),
                Value::U32(experts::gating(facts.scores)),
            ));
        }
        let shared = own.shared.map(|width| size(experts::SHARED_WIDTH, width));
        all.extend(shared);
    }
    all.extend(
        rope.metadata
            .iter()
            .map(|(name, value)| (key(name), value.clone())),
    );
    all.extend(
        config
            .layers
            .iter()
            .find_map(|l| l.window)
            .map(|n| size("attention.sliding_window", n)),
    );
    if let Some(delta) = config.delta {
        all.extend([
            size("ssm.conv_kernel", delta.taps),
            size("ssm.state_size", delta.key_dim),
            size("ssm.group_count", delta.key_heads),
            size("ssm.time_step_rank", delta.value_heads),
            size("ssm.inner_size", delta.values()),
        ]);
    }
    all.extend(attention_every(config).map(|n| size("full_attention_interval", n)));
    all.extend(
        config
            .attention_softcap
            .map(|cap| real("attn_logit_softcapping", cap)),
    );
    if config.facts().json.logit_scale.is_some() {
        all.push(real("logit_scale", 1.0 / config.multipliers.logits));
    }
    if config.facts().json.multipliers {
        let own = &config.multipliers;
        all.extend([
            real("attention.scale", config.attention_scale()),
            real("embedding_scale", own.embedding),
            real("residual_scale", own.residual),
            real("logit_scale", own.logits),
        ]);
    }
    all.extend(
        config
            .logit_softcap
            .map(|cap| real("final_logit_softcapping", cap)),
    );
    all
}

/// Parameters of the model; a tied head counts once.
fn parameters(config: &ModelConfig) -> usize {
    config
        .weights()
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

/// "135M", "1.1B": gguf-py's `model_weight_count_rounded_notation`.
fn size_label(parameters: usize) -> String {
    let n = parameters as f64;
    let (scaled, suffix) = match n {
        n if n > 1e12 => (n * 1e-12, "T"),
        n if n > 1e9 => (n * 1e-9, "B"),
        n if n > 1e6 => (n * 1e-6, "M"),
        n => (n * 1e-3, "K"),
    };
    let decimals = if scaled.round() >= 10.0 { 0 } else { 1 };
    format!("{scaled:.decimals$}{suffix}")
}

fn pair(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

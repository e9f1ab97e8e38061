//! What GGUF can say of a model. What its readers take by themselves where a key is missing, or compute in another way at
//! any length, is refused where the model differs; what differs only in long texts is said.
use super::gguf_states::{self, attention_every};
use super::gguf_unloaded::{marks, named, unloaded};
use crate::error::Fault;
use crate::families::{ExpertLayers, Facts, Family, GgufCap, GgufWindows};
use crate::gguf::architecture;
use crate::gguf::config::{default_window, layers_of, query_pre_attn_scalar};
use crate::gguf::variants;
use crate::{ModelConfig, RopeScaling};

/// The configuration that a reader will find in the file: the model's own but for what was said in `warnings`.
pub(super) fn held(config: &ModelConfig, warnings: &mut Vec<String>) -> Result<ModelConfig, Fault> {
    let facts = config.facts();
    let architecture = architecture(config);
    if !facts.gguf.own_head && !config.tie_word_embeddings {
        return Err(refused(format!(
            "llama.cpp's {architecture} has no head of its own, this model has"
        )));
    }
    check_cap(
        facts,
        "attn_logit_softcapping",
        facts.gguf.attention_softcap,
        config.attention_softcap,
    )?;
    check_cap(
        facts,
        "final_logit_softcapping",
        facts.gguf.logit_softcap,
        config.logit_softcap,
    )?;
    check_scalar(config)?;
    if let Some(what) = gguf_states::unsaid(config) {
        return Err(refused(what));
    }
    check_unapplied(config)?;
    check_experts(config)?;
    warnings.extend(unloaded(config));
    let mut held = config.folded();
    check_layers(&mut held, warnings)?;
    // The rotary embedding has warned of it.
    for rope in &mut held.ropes {
        if matches!(rope.scaling, RopeScaling::Dynamic { .. }) {
            rope.scaling = RopeScaling::None;
        }
    }
    let found = Family::of_gguf(architecture, marks(&held));
    held.family = found.unwrap_or(held.family);
    let other = held.family.facts();
    if other.json.local_rope != facts.json.local_rope {
        return Err(refused(format!(
            "GGUF can't tell a {} without windows from an {}",
            facts.model_type, other.model_type
        )));
    }
    Ok(held)
}

/// llama.cpp has a mixture of experts in every layer, or in all behind the first ones, and weights in one way.
fn check_experts(config: &ModelConfig) -> Result<(), Fault> {
    let (Some(experts), Some(facts)) = (config.experts, config.facts().experts) else {
        return Ok(());
    };
    let architecture = architecture(config);
    let first = match facts.layers {
        ExpertLayers::Behind(_) => config.dense_layers(),
        ExpertLayers::All | ExpertLayers::Some => 0,
    };
    let mut layers = config.layers.iter().enumerate().skip(first);
    if let Some((layer, _)) = layers.find(|(_, layer)| !layer.experts) {
        return Err(refused(format!(
            "llama.cpp's {architecture} has experts in every layer, layer {layer} of this model has none"
        )));
    }
    if let (Some(own), Some(only)) = (experts.clamp, facts.clamp)
        && own != only
    {
        return Err(refused(format!(
            "llama.cpp's {architecture} has swiglu_alpha {} and swiglu_limit {}, this model {} and {}",
            only.alpha, only.limit, own.alpha, own.limit
        )));
    }
    if experts.scale != 1.0 {
        return Err(refused(format!(
            "llama.cpp's {architecture} multiplies the weights of the chosen experts by nothing, this model by {} \
             (routed_scaling_factor)",
            experts.scale
        )));
    }
    if facts.choice_bias.is_some() && !experts.choice_bias {
        return Err(refused(format!(
            "llama.cpp's {architecture} chooses experts with numbers added to their scores, this model without \
             (use_expert_bias)"
        )));
    }
    if experts.normalised != facts.normalised.in_gguf() {
        let how = match experts.normalised {
            true => {
                "doesn't divide the weights of the chosen experts by their sum, this model does"
            }
            false => "divides the weights of the chosen experts by their sum, this model doesn't",
        };
        return Err(refused(format!("llama.cpp's {architecture} {how}")));
    }
    Ok(())
}

/// What llama.cpp reads and its graph leaves out.
fn check_unapplied(config: &ModelConfig) -> Result<(), Fault> {
    let mut all = config.facts().gguf.unapplied.iter();
    match all.find_map(|&what| named(config, what)) {
        Some(what) => Err(refused(format!(
            "llama.cpp's {} leaves out {what}, which this model has",
            architecture(config)
        ))),
        None => Ok(()),
    }
}

fn check_cap(facts: &Facts, key: &str, cap: GgufCap, own: Option<f64>) -> Result<(), Fault> {
    let architecture = facts.gguf.architecture;
    match (cap, own) {
        (GgufCap::Default(default), None) => Err(refused(format!(
            "GGUF can't say that a {architecture} has no {key}: its readers take {default} where the key is missing"
        ))),
        (GgufCap::Never, Some(cap)) => Err(refused(format!(
            "llama.cpp's {architecture} has no {key}, this model has {cap}"
        ))),
        _ => Ok(()),
    }
}

fn check_scalar(config: &ModelConfig) -> Result<(), Fault> {
    let own = query_pre_attn_scalar(
        config.facts(),
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.head_dim,
    );
    let scalar = config.query_pre_attn_scalar;
    if own == scalar {
        return Ok(());
    }
    let architecture = architecture(config);
    Err(refused(format!(
        "llama.cpp has query_pre_attn_scalar {own} for such a {architecture}, this model has {scalar}"
    )))
}

/// Compares windows and rotary embeddings layer by layer with llama.cpp's, and takes its windows.
fn check_layers(held: &mut ModelConfig, warnings: &mut Vec<String>) -> Result<(), Fault> {
    let facts = held.facts();
    let architecture = architecture(held);
    let window = held.layers.iter().find_map(|l| l.window);
    let default = default_window(facts, held.num_hidden_layers);
    if let (Some(default), None) = (default, window) {
        return Err(refused(format!(
            "GGUF can't say that a {architecture} has no sliding window: its readers take {default} where the key is missing"
        )));
    }
    if facts.gguf.windows == GgufWindows::Listed {
        return check_listed(held);
    }
    let every = attention_every(held);
    let mut own = layers_of(facts, held.num_hidden_layers, window, None, every);
    let experts = held.layers.iter().map(|layer| layer.experts);
    own.iter_mut()
        .zip(experts)
        .for_each(|(own, has)| own.experts = has);
    if every.is_none() {
        // A list says it, by the heads of attention.
        if held.layers.iter().all(|layer| !layer.has_attention()) {
            return Err(refused(format!(
                "a {architecture} in GGUF has attention in some layer, this model in none"
            )));
        }
        for (own, layer) in own.iter_mut().zip(&held.layers) {
            own.mixer = layer.mixer;
            own.beside_attention = layer.beside_attention;
        }
    }
    let mut pairs = own.iter().zip(&held.layers);
    if pairs.any(|(a, b)| a.mixer != b.mixer) {
        return Err(refused(
            "in GGUF every so many-th layer has attention and the others don't, this model is otherwise"
                .to_owned(),
        ));
    }
    if facts.json.rope_switch && held.layers.iter().all(|layer| layer.rope.is_none()) {
        own.iter_mut().for_each(|layer| layer.rope = None);
    }
    let mut pairs = own.iter().zip(&held.layers);
    if pairs.any(|(a, b)| a.rope != b.rope) {
        return Err(refused(format!(
            "llama.cpp gives other layers of {architecture} a rotary embedding than this model has"
        )));
    }
    let windowed = matches!(
        facts.gguf.windows,
        GgufWindows::AllBut(_) | GgufWindows::AllButIn { .. }
    );
    if let Some(window) = window
        && (!windowed || own != held.layers)
    {
        warnings.push(format!(
            "llama.cpp has other sliding windows for {architecture}: texts beyond {window} tokens differ"
        ));
    }
    held.layers = own;
    Ok(())
}

/// Of an architecture that lists its windows, where layers can read keys and values of others.
fn check_listed(held: &ModelConfig) -> Result<(), Fault> {
    let architecture = architecture(held);
    if held.layers.iter().all(|layer| layer.window.is_none()) {
        return Err(refused(format!(
            "GGUF can't say that a {architecture} has no sliding window"
        )));
    }
    match variants::sources_agree(held) {
        true => Ok(()),
        false => Err(refused(format!(
            "llama.cpp's {architecture} shares the keys of the last full and the last but one sliding layer, this model \
             those of others"
        ))),
    }
}

/// What no GGUF file says stays where it can be said.
fn refused(message: String) -> Fault {
    Fault::new(message).hint("keep the model as a Hugging Face folder (--format hf)")
}

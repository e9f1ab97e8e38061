//! GGUF metadata → [`ModelConfig`].
use super::experts;
use super::family;
use super::keys::Keys;
use super::names;
use super::parse::Gguf;
use super::predictors;
use super::recurrent;
use super::rope;
use super::unread;
use super::variants;
use super::xielu;
use crate::config::check_layers;
use crate::error::Fault;
use crate::families::{Facts, GgufWindows, Heads, Mixer, RopeInWindows, Variants};
use crate::mapped::Mapped;
use crate::weights::Part;
use crate::{Biases, Factors, LayerSpec, ModelConfig, Multipliers, Projection};

/// The decoder that the metadata and the tensor table describe, which are of these files.
pub(crate) fn model_config(gguf: &Gguf, files: &[Mapped]) -> Result<ModelConfig, Fault> {
    let (family, architecture) = family::of_file(gguf)?;
    let facts = family.facts();
    let keys = Keys::new(gguf, architecture);
    unread::refuse(&keys, facts)?;
    let (heads, hidden) = (
        keys.need("attention.head_count")?,
        keys.need("embedding_length")?,
    );
    let is_listed = variants::are_listed(facts);
    let rotated = keys.size("rope.dimension_count")?;
    let head_dim = match keys.size("attention.key_length")? {
        Some(n) => n,
        None if facts.gguf.partial_rotary => hidden / heads.max(1),
        None => rotated.unwrap_or(hidden / heads.max(1)),
    };
    if keys
        .size("attention.value_length")?
        .is_some_and(|n| n != head_dim)
    {
        return Err(Fault::new(format!(
            "{} differs from the width of a head, {head_dim}: not supported",
            keys.name("attention.value_length")
        )));
    }
    let rotated = rotated.unwrap_or(head_dim);
    if rotated != head_dim && !facts.gguf.partial_rotary {
        return Err(Fault::new(format!(
            "{} differs from the width of a head, {head_dim}: not supported",
            keys.name("rope.dimension_count")
        )));
    }
    let embedding = gguf
        .tensors
        .get("token_embd.weight")
        .ok_or("no tensor token_embd.weight")?;
    let num_hidden_layers = predictors::decoder_layers(&keys, facts)?;
    check_layers(num_hidden_layers)?;
    let max_position_embeddings = keys.need("context_length")?;
    xielu::check(gguf, facts, num_hidden_layers)?;
    let mut layers = layers(&keys, facts, num_hidden_layers)?;
    let experts = experts::read(&keys, facts, &mut layers)?;
    let own = match is_listed {
        true => variants::read(&keys, &layers)?,
        false => variants::Read {
            usual: Heads {
                kv: recurrent::key_heads(&keys, facts, &layers)?.unwrap_or(heads),
                width: head_dim,
            },
            intermediate_size: keys.need("feed_forward_length")?,
            variants: Variants::default(),
        },
    };
    let head_dim = own.usual.width;
    let mamba = recurrent::mamba(&keys, facts, &layers, gguf)?;
    let config = ModelConfig {
        family,
        vocab_size: embedding.shape[0],
        hidden_size: hidden,
        intermediate_size: own.intermediate_size,
        num_hidden_layers,
        num_attention_heads: heads,
        num_key_value_heads: own.usual.kv,
        head_dim,
        norm_eps: keys
            .real(names::norm_eps_key(facts))?
            .ok_or_else(|| format!("no {}", keys.name(names::norm_eps_key(facts))))?,
        ropes: rope::read(
            &keys,
            files,
            facts,
            rope::Widths {
                first: rotated,
                local: if is_listed { head_dim } else { rotated },
            },
            max_position_embeddings,
        )?,
        layers,
        delta: recurrent::delta(&keys, facts)?,
        short_conv: recurrent::short_conv(&keys, facts)?,
        mamba,
        router_aux_loss: None,
        query_pre_attn_scalar: query_pre_attn_scalar(
            facts,
            num_hidden_layers,
            hidden,
            heads,
            head_dim,
        ),
        multipliers: multipliers(&keys, facts, head_dim)?,
        factors: Factors::NONE,
        attention_softcap: keys.cap("attn_logit_softcapping", facts.gguf.attention_softcap)?,
        logit_softcap: keys.cap("final_logit_softcapping", facts.gguf.logit_softcap)?,
        tie_word_embeddings: !gguf.tensors.contains_key("output.weight"),
        max_position_embeddings,
        biases: biases(gguf, facts, num_hidden_layers),
        experts,
        variants: own.variants,
        bos_token_id: id(gguf, "bos")?,
        eos_token_ids: eos_ids(gguf)?,
        pad_token_id: id(gguf, "padding")?,
    };
    config.validate()?;
    Ok(config)
}

/// How llama.cpp spaces the layers of an architecture that differ: every n-th sees everything, or has no rotary embedding.
/// `period` is n where a file names it; of a family with recurrent layers every `attention_every`-th is none.
pub(crate) fn layers_of(
    facts: &Facts,
    count: usize,
    window: Option<usize>,
    period: Option<usize>,
    attention_every: Option<usize>,
) -> Vec<LayerSpec> {
    let every = |n: usize, i: usize| (i + 1).is_multiple_of(n);
    let window_of = |i: usize| match facts.gguf.windows {
        GgufWindows::Never | GgufWindows::Listed => None,
        GgufWindows::Unapplied => window,
        GgufWindows::AllBut(n) => window.filter(|_| !every(period.unwrap_or(n), i)),
        GgufWindows::AllButIn {
            every: n, layers, ..
        } => window.filter(|_| count == layers && !every(period.unwrap_or(n), i)),
    };
    let has_windows = (0..count).any(|i| window_of(i).is_some());
    let in_windows_alone = match facts.json.rope_in_windows {
        RopeInWindows::Never => false,
        RopeInWindows::IfNamed => has_windows,
        RopeInWindows::Always => true,
    };
    let layer = |i: usize| {
        let window = window_of(i);
        let is_local = facts.json.local_rope.is_some() && window.is_some();
        let rotates = match facts.gguf.no_rope_every {
            Some(n) => !every(n, i),
            None => window.is_some() || !in_windows_alone,
        };
        LayerSpec {
            window,
            rope: rotates.then_some(usize::from(is_local)),
            experts: false,
            mixer: match attention_every {
                Some(n) if !every(n, i) => Mixer::Delta,
                _ => Mixer::Attention,
            },
            beside_attention: false,
        }
    };
    (0..count).map(layer).collect()
}

fn layers(keys: &Keys<'_>, facts: &Facts, count: usize) -> Result<Vec<LayerSpec>, String> {
    if facts.gguf.windows == GgufWindows::Listed {
        return variants::layers(keys, count);
    }
    let window = keys
        .size("attention.sliding_window")?
        .filter(|&n| n > 0)
        .or(default_window(facts, count));
    let pattern = "attention.sliding_window_pattern";
    let attention_every = recurrent::attention_every(keys, facts)?;
    if let Some(named) = keys.flags(pattern) {
        // llama.cpp doesn't read a list: where it says otherwise, readers of the file differ.
        let layers = layers_of(facts, count, window, None, attention_every);
        let own = layers.iter().map(|layer| layer.window.is_some());
        return match own.eq(named.iter().copied()) || layers.iter().all(|l| l.window.is_none()) {
            true => Ok(layers),
            false => Err(format!(
                "{} lists other layers than llama.cpp gives a window: not supported",
                keys.name(pattern)
            )),
        };
    }
    let period = keys.size(pattern)?;
    if period == Some(0) {
        return Err(format!(
            "{} is 0, expected at least 1",
            keys.name("attention.sliding_window_pattern")
        ));
    }
    let mut layers = layers_of(facts, count, window, period, attention_every);
    recurrent::listed(keys, facts, &mut layers)?;
    if facts.json.rope_switch && !rope::is_on(keys)? {
        layers.iter_mut().for_each(|layer| layer.rope = None);
    }
    Ok(layers)
}

/// The window of a model of so many layers where the file names none.
pub(crate) fn default_window(facts: &Facts, count: usize) -> Option<usize> {
    match facts.gguf.windows {
        GgufWindows::AllButIn { layers, window, .. } if count == layers => Some(window),
        _ => facts.gguf.default_window,
    }
}

/// What llama.cpp divides scores by the root of: the width of a head, for models of some sizes the hidden state's share.
pub(crate) fn query_pre_attn_scalar(
    facts: &Facts,
    layers: usize,
    hidden: usize,
    heads: usize,
    head_dim: usize,
) -> f64 {
    if facts.gguf.shared_scalar_layers == Some(layers) {
        (hidden / heads.max(1)) as f64
    } else {
        head_dim as f64
    }
}

/// Of a family that has them; those that the file doesn't name are as llama.cpp takes them.
fn multipliers(keys: &Keys<'_>, facts: &Facts, head_dim: usize) -> Result<Multipliers, String> {
    let named = |key: &str| Ok::<_, String>(keys.real(key)?.filter(|&x| x != 0.0));
    if facts.json.logit_scale.is_some() {
        return Ok(Multipliers {
            logits: 1.0 / named("logit_scale")?.unwrap_or(1.0),
            ..Multipliers::default()
        });
    }
    if !facts.json.multipliers {
        return Ok(Multipliers::default());
    }
    let usual = 1.0 / (head_dim as f64).sqrt();
    Ok(Multipliers {
        embedding: named("embedding_scale")?.unwrap_or(1.0),
        attention: Some(named("attention.scale")?.unwrap_or(usual)),
        residual: named("residual_scale")?.unwrap_or(1.0),
        logits: named("logit_scale")?.unwrap_or(1.0),
    })
}

fn biases(gguf: &Gguf, facts: &Facts, layers: usize) -> Biases {
    // Not all layers have all linear layers.
    let biased = |projection| {
        let linear = facts.linear_of(projection);
        let name = |layer| names::tensor(facts, Part::Bias(layer, linear));
        (0..layers).any(|layer| gguf.tensors.contains_key(&name(layer)))
    };
    Biases {
        qkv: biased(Projection::Q),
        output: biased(Projection::O),
        mlp: biased(Projection::Up),
        mamba_in: biased(Projection::MambaIn),
        mamba_out: biased(Projection::MambaOut),
    }
}

/// EOS, and the other ends of a turn that llama.cpp also stops at.
fn eos_ids(gguf: &Gguf) -> Result<Vec<u32>, String> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        if let Some(id) = id(gguf, name)?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn id(gguf: &Gguf, name: &str) -> Result<Option<u32>, String> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match gguf.metadata.get(&key) {
        None => Ok(None),
        Some(v) => match v.as_u64().map(u32::try_from) {
            // llama.cpp's own "none".
            Some(Ok(u32::MAX)) => Ok(None),
            Some(Ok(id)) => Ok(Some(id)),
            _ => Err(format!("{key} is no token id")),
        },
    }
}

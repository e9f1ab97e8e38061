//! Where attention layers differ, in GGUF: lists with a value a layer, keys of the layers with a window (`_swa`), and which
//! tensors there are.
use super::keys::Keys;
use super::value::Value;
use crate::LayerSpec;
use crate::ModelConfig;
use crate::families::{Facts, Heads, PerLayer, Variants};

/// Which layers slide, a truth value each.
const PATTERN: &str = "attention.sliding_window_pattern";
const WINDOW: &str = "attention.sliding_window";
const SHARING: &str = "attention.shared_kv_layers";
const PER_LAYER: &str = "embedding_length_per_layer_input";
const KEY_HEADS: &str = "attention.head_count_kv";
const WIDTH: &str = "feed_forward_length";

/// What a file says in lists.
#[derive(Debug)]
pub(super) struct Read {
    /// Heads of the layers with a window, or of all.
    pub(super) usual: Heads,
    pub(super) intermediate_size: usize,
    pub(super) variants: Variants,
}

/// The layers of a file that lists its windows.
pub(super) fn layers(keys: &Keys<'_>, count: usize) -> Result<Vec<LayerSpec>, String> {
    let window = keys.need(WINDOW)?;
    let slides = match (keys.flags(PATTERN), keys.value(PATTERN)) {
        (Some(list), _) if list.len() >= count => list[..count].to_vec(),
        (None, Some(Value::Bool(all))) => vec![*all; count],
        _ => {
            return Err(format!(
                "{} is no list of {count} truth values",
                keys.name(PATTERN)
            ));
        }
    };
    let layer = |slides: bool| LayerSpec {
        window: slides.then_some(window),
        rope: Some(usize::from(slides)),
        experts: false,
        mixer: crate::families::Mixer::Attention,
        beside_attention: false,
    };
    Ok(slides.into_iter().map(layer).collect())
}

/// Heads, widths and inputs of such a file's layers.
pub(super) fn read(keys: &Keys<'_>, layers: &[LayerSpec]) -> Result<Read, String> {
    let slides = |layer: &LayerSpec| layer.window.is_some();
    let of_kind = |list: &[usize], sliding: bool| {
        let mut own = layers
            .iter()
            .zip(list)
            .filter(|(l, _)| slides(l) == sliding);
        own.next().map(|(_, &n)| n)
    };
    let key_heads = keys.list(KEY_HEADS, layers.len())?;
    let (full_width, sliding_width) = widths(keys)?;
    let has_sliding = layers.iter().any(slides);
    let usual = Heads {
        kv: of_kind(&key_heads, has_sliding).unwrap_or(0),
        width: if has_sliding {
            sliding_width
        } else {
            full_width
        },
    };
    let full = Heads {
        kv: of_kind(&key_heads, false).unwrap_or(usual.kv),
        width: full_width,
    };
    let sharing = keys.size(SHARING)?.unwrap_or(0);
    let wide = keys.list(WIDTH, layers.len())?;
    let first = layers.len().saturating_sub(sharing);
    let base = wide.first().copied().unwrap_or(0);
    let double_wide = sharing > 0
        && wide[first..]
            .iter()
            .all(|&own| own == base.saturating_mul(2));
    let expected = |layer: usize| match layer >= first && double_wide {
        true => base.saturating_mul(2),
        false => base,
    };
    for layer in 0..layers.len() {
        let heads = if slides(&layers[layer]) {
            usual.kv
        } else {
            full.kv
        };
        let found = [
            (KEY_HEADS, key_heads[layer], heads),
            (WIDTH, wide[layer], expected(layer)),
        ];
        if let Some((key, own, wanted)) = found.into_iter().find(|(_, own, wanted)| own != wanted) {
            return Err(format!(
                "{} is {own} in layer {layer}, where {wanted} would be that of its kind: not supported",
                keys.name(key)
            ));
        }
    }
    let tensors = &keys.gguf.tensors;
    let own_full = (0..first).find(|&layer| !slides(&layers[layer]));
    let lacks_values = |layer: usize| !tensors.contains_key(&format!("blk.{layer}.attn_v.weight"));
    let width = keys.size(PER_LAYER)?.unwrap_or(0);
    let table = tensors.get("per_layer_token_embd.weight");
    Ok(Read {
        usual,
        intermediate_size: base,
        variants: Variants {
            full: Some(full).filter(|&full| full != usual),
            values_are_keys: own_full.is_some_and(lacks_values),
            sharing,
            double_wide,
            per_layer: match (width, table) {
                (0, _) => None,
                (_, None) => return Err("no tensor per_layer_token_embd.weight".to_owned()),
                (width, Some(table)) => Some(PerLayer {
                    width,
                    vocabulary: table.shape[0],
                }),
            },
        },
    })
}

/// Widths of a head without a window and with one; what is rotated of it is all.
fn widths(keys: &Keys<'_>) -> Result<(usize, usize), String> {
    let full = keys.need("attention.key_length")?;
    let sliding = keys.size("attention.key_length_swa")?.unwrap_or(full);
    for (key, width) in [
        ("attention.value_length", full),
        ("attention.value_length_swa", sliding),
        ("rope.dimension_count", full),
        ("rope.dimension_count_swa", sliding),
    ] {
        if let Some(own) = keys.size(key)?.filter(|&own| own != width) {
            return Err(format!(
                "{} is {own}, the width of a head is {width}: not supported",
                keys.name(key)
            ));
        }
    }
    Ok((full, sliding))
}

/// What stands in a file of such a model, keys without the architecture.
pub(crate) fn written(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    let number = |n: usize| Value::U32(n as u32);
    let layers = 0..config.num_hidden_layers;
    let list = |of: &dyn Fn(usize) -> usize| {
        Value::I32s(layers.clone().map(|layer| of(layer) as i32).collect())
    };
    let slides = |layer: usize| config.layers[layer].window.is_some();
    let full = layers.clone().find(|&layer| !slides(layer));
    let full = full.map_or(config.head_dim, |layer| config.heads_of(layer).width);
    let sliding = config.head_dim;
    vec![
        (WIDTH, list(&|layer| config.mlp_width(layer))),
        (KEY_HEADS, list(&|layer| config.heads_of(layer).kv)),
        ("attention.key_length", number(full)),
        ("attention.value_length", number(full)),
        ("attention.key_length_swa", number(sliding)),
        ("attention.value_length_swa", number(sliding)),
        ("rope.dimension_count_swa", number(sliding)),
        (
            PATTERN,
            Value::Others {
                code: 7,
                bytes: layers
                    .clone()
                    .map(|layer| u8::from(slides(layer)))
                    .collect(),
            },
        ),
        (SHARING, number(config.variants.sharing)),
        (
            PER_LAYER,
            number(config.per_layer().map_or(0, |own| own.width)),
        ),
    ]
}

/// Whether a family's files are of this kind.
pub(crate) fn are_listed(facts: &Facts) -> bool {
    facts.json.variants.is_some()
}

/// Whether layers that read earlier keys read those that llama.cpp would give them: without a window the last layer before
/// them, with one the last but one.
pub(crate) fn sources_agree(config: &ModelConfig) -> bool {
    let first = config.first_sharing();
    (first..config.num_hidden_layers).all(|layer| {
        let back = 1 + usize::from(config.layers[layer].window.is_some());
        config.keys_of(layer) == first.checked_sub(back)
    })
}

//! The shape of a published model as a config, for plans.
use crate::families::{
    DeltaShape, ExpertLayers, Family, MambaShape, Mixer, Published, RecurrentKind, ShortConv,
    Variants,
};
use crate::{Biases, Factors, LayerSpec, ModelConfig, Multipliers, Rope, RopeScaling};

impl ModelConfig {
    /// The shape of a published model: what a count of parameters and a prediction of memory need. Windows, rotary
    /// scalings, soft caps and token ids, which change neither, are left out.
    #[must_use]
    pub fn published(family: Family, shape: &Published) -> Self {
        let layer = LayerSpec {
            window: None,
            rope: Some(0),
            experts: shape.experts.is_some(),
            mixer: Mixer::Attention,
            beside_attention: family.facts().beside_attention(),
        };
        let rope = Rope {
            theta: 10_000.0,
            dim: shape.head,
            scaling: RopeScaling::None,
            growth: None,
        };
        Self {
            family,
            vocab_size: shape.vocabulary,
            hidden_size: shape.hidden,
            intermediate_size: shape.intermediate,
            num_hidden_layers: shape.layers,
            num_attention_heads: shape.heads,
            num_key_value_heads: shape.kv_heads,
            head_dim: shape.head,
            norm_eps: 1e-5,
            ropes: vec![rope; 1 + usize::from(family.facts().json.query_growth)],
            layers: mixers(family, shape)
                .enumerate()
                .map(|(index, mixer)| LayerSpec {
                    mixer,
                    experts: layer.experts && index >= dense_layers(family),
                    ..layer
                })
                .collect(),
            delta: delta(family, shape),
            short_conv: short_conv(family),
            mamba: mamba(family, shape),
            router_aux_loss: None,
            query_pre_attn_scalar: shape.head as f64,
            multipliers: Multipliers::default(),
            factors: Factors::NONE,
            attention_softcap: None,
            logit_softcap: None,
            tie_word_embeddings: shape.tied,
            max_position_embeddings: 2048,
            biases: Biases {
                qkv: family.facts().json.qkv_bias.default(),
                output: family.facts().json.output_bias.default(),
                mlp: family.facts().json.mlp_bias.default(),
                mamba_in: false,
                mamba_out: false,
            },
            experts: shape.experts,
            variants: Variants::default(),
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }
}

fn kind(family: Family) -> Option<RecurrentKind> {
    family.facts().recurrent.as_ref().map(|own| own.kind)
}

/// Heads of layers of Gated DeltaNet.
fn delta(family: Family, shape: &Published) -> Option<DeltaShape> {
    let RecurrentKind::Delta { shape: usual, .. } = kind(family)? else {
        return None;
    };
    let [key_heads, value_heads] = shape
        .state_heads
        .unwrap_or([usual.key_heads, usual.value_heads]);
    Some(DeltaShape {
        key_heads,
        value_heads,
        ..usual
    })
}

fn short_conv(family: Family) -> Option<ShortConv> {
    match kind(family)? {
        RecurrentKind::ShortConv(usual) => Some(usual),
        RecurrentKind::Delta { .. } | RecurrentKind::Mamba(_) => None,
    }
}

/// Heads of layers of Mamba-2, which are as wide together as twice the hidden state where they are not listed.
fn mamba(family: Family, shape: &Published) -> Option<MambaShape> {
    let RecurrentKind::Mamba(usual) = kind(family)? else {
        return None;
    };
    if shape.attention_everywhere {
        return None;
    }
    if shape.mamba.is_some() {
        return shape.mamba;
    }
    let [heads, state] = shape.state_heads.unwrap_or([usual.heads, usual.state]);
    Some(MambaShape {
        heads,
        state,
        width: 2 * shape.hidden / heads,
        ..usual
    })
}

/// How many first layers have no experts.
fn dense_layers(family: Family) -> usize {
    match family.facts().experts.map(|own| own.layers) {
        Some(ExpertLayers::Behind(usual)) => usual,
        _ => 0,
    }
}

/// What mixes the tokens of each layer.
fn mixers(family: Family, shape: &Published) -> impl Iterator<Item = Mixer> + use<'_> {
    (0..shape.layers).map(move |layer| match kind(family) {
        Some(RecurrentKind::Delta {
            attention_every, ..
        }) if !(layer + 1).is_multiple_of(attention_every) => Mixer::Delta,
        _ if shape.attention_everywhere => Mixer::Attention,
        Some(RecurrentKind::Mamba(_)) if !shape.attention_in.contains(&layer) => Mixer::Mamba,
        Some(RecurrentKind::ShortConv(_)) if !shape.attention_in.contains(&layer) => {
            Mixer::ShortConv
        }
        _ => Mixer::Attention,
    })
}

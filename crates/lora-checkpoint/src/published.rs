//! The shape of a published model as a config, for plans.
use crate::config::{Biases, LayerSpec, Multipliers};
use crate::families::{DeltaShape, Family, Mixer, Published, Variants};
use crate::{ModelConfig, Rope, RopeScaling};

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
            layers: mixers(family, shape.layers)
                .map(|mixer| LayerSpec { mixer, ..layer })
                .collect(),
            delta: delta(family, shape),
            query_pre_attn_scalar: shape.head as f64,
            multipliers: Multipliers::default(),
            attention_softcap: None,
            logit_softcap: None,
            tie_word_embeddings: shape.tied,
            max_position_embeddings: 2048,
            biases: Biases {
                qkv: family.facts().json.qkv_bias.default(),
                output: family.facts().json.output_bias.default(),
                mlp: family.facts().json.mlp_bias.default(),
            },
            experts: shape.experts,
            variants: Variants::default(),
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }
}

/// Heads of the recurrent layers.
fn delta(family: Family, shape: &Published) -> Option<DeltaShape> {
    let usual = family.facts().recurrent.as_ref()?.shape;
    let [key_heads, value_heads] = shape
        .state_heads
        .unwrap_or([usual.key_heads, usual.value_heads]);
    Some(DeltaShape {
        key_heads,
        value_heads,
        ..usual
    })
}

/// What mixes the tokens of each layer, where nothing is said.
fn mixers(family: Family, count: usize) -> impl Iterator<Item = Mixer> {
    let recurrent = family.facts().recurrent.as_ref();
    let every = recurrent.map_or(1, |r| r.attention_every);
    (1..=count).map(move |layer| match layer.is_multiple_of(every) {
        true => Mixer::Attention,
        false => Mixer::Delta,
    })
}

//! What mixes the tokens of a layer, in values a token: what each mixer keeps for its backward pass, and what it works with.
use crate::fused::mamba::shape as of_kernels;
use lora_checkpoint::{MambaNorm, Mixer, ModelConfig, Norm, Projection};
use lora_kernels::ssd;

/// The largest output of a projection, of all layers that mix tokens by attention.
pub(super) fn widest(config: &ModelConfig, projection: Projection) -> usize {
    let layers = config.layers.iter().enumerate();
    let attention = layers.filter(|(_, layer)| layer.has_attention());
    let widths = attention.map(|(index, _)| config.shape(index, projection).0);
    widths.max().unwrap_or(0)
}

pub(super) fn has(config: &ModelConfig, norm: Norm) -> bool {
    config.facts().norm(norm).is_some()
}
/// What a mixer keeps: q, k, the log-sum-exp, 1/rms of heads of q, k, v and of a rule's output, what a rule's gates are made of;
/// v, o, its gate, q, k and v before their norms, what a convolution reads, the output of Mamba-2's rule.
#[derive(Default)]
pub(super) struct OfMixer {
    pub(super) exact: [usize; 9],
    pub(super) rounded: [usize; 8],
}

impl OfMixer {
    /// Those of a layer: what stands side by side keeps its own.
    pub(super) fn of(config: &ModelConfig, layer: usize) -> Self {
        let mut all = Self::default();
        for mixer in config.layers[layer].mixers() {
            let own = match mixer {
                Mixer::Attention => attention(config, layer),
                Mixer::Delta => delta(config),
                Mixer::Mamba => mamba(config),
                Mixer::ShortConv => Self {
                    rounded: [
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        config.shape(layer, Projection::ConvIn).0,
                        0,
                    ],
                    ..Self::default()
                },
            };
            let sums = all.exact.iter_mut().chain(&mut all.rounded);
            sums.zip(own.exact.iter().chain(&own.rounded))
                .for_each(|(sum, own)| *sum += own);
        }
        all
    }
}

fn attention(config: &ModelConfig, layer: usize) -> OfMixer {
    let [q, all_keys] = [Projection::Q, Projection::K].map(|p| config.shape(layer, p).0);
    // A layer that reads those of another keeps none.
    let k = match config.keys_of(layer) {
        None => all_keys,
        Some(_) => 0,
    };
    let raw = |norm, values: usize| {
        if has(config, norm) && values > 0 {
            (values / config.norm_width(layer, norm), values)
        } else {
            (0, 0)
        }
    };
    let (q_rstd, q_raw) = raw(Norm::Query, q);
    let (k_rstd, k_raw) = raw(Norm::Key, k);
    let (v_rstd, v_raw) = match config.facts().normalised_values {
        true => (k / config.heads_of(layer).width, k),
        false => (0, 0),
    };
    let gate = output_gate(config);
    OfMixer {
        exact: [
            q,
            k,
            config.num_attention_heads,
            q_rstd,
            k_rstd,
            v_rstd,
            0,
            0,
            0,
        ],
        rounded: [k, q, gate, q_raw, k_raw, v_raw, 0, 0],
    }
}

/// Values a token of the gate of attention's output.
pub(super) fn output_gate(config: &ModelConfig) -> usize {
    let has_gate = config.facts().projections.contains(&Projection::QGate);
    if has_gate {
        widest(config, Projection::OutputGate)
    } else {
        0
    }
}

/// What a layer of Gated DeltaNet keeps.
fn delta(config: &ModelConfig) -> OfMixer {
    let Some(delta) = config.delta else {
        return OfMixer::default();
    };
    let heads = delta.value_heads;
    OfMixer {
        exact: [0, 0, 0, 0, 0, 0, heads, heads, heads],
        rounded: [
            0,
            delta.values(),
            delta.values(),
            0,
            0,
            0,
            delta.columns(),
            0,
        ],
    }
}

/// What a layer of Mamba-2 keeps.
fn mamba(config: &ModelConfig) -> OfMixer {
    let Some(own) = config.mamba else {
        return OfMixer::default();
    };
    let norms = match own.norm {
        MambaNorm::Without => 0,
        MambaNorm::BehindGate | MambaNorm::BeforeGate => own.groups,
    };
    OfMixer {
        exact: [0, 0, 0, 0, 0, 0, norms, own.heads, 0],
        rounded: [0, 0, own.values(), 0, 0, 0, own.columns(), own.values()],
    }
}

/// Values a token in the scratch of recurrent layers; 0 where there are none.
#[derive(Default)]
pub(super) struct OfState {
    /// What the output projection reads.
    pub(super) values: usize,
    /// The gate of that.
    pub(super) gate: usize,
    /// Behind the convolution, its gradient, that before it.
    pub(super) mixed: usize,
    /// Gradients of what gates are made of.
    pub(super) gates: usize,
}

pub(super) fn of_state(config: &ModelConfig) -> OfState {
    let hidden = config.hidden_size;
    if let Some(own) = config.mamba.filter(|_| config.is_recurrent()) {
        return OfState {
            values: own.values(),
            gate: own.values(),
            mixed: 3 * own.columns(),
            // Those of B and C, of blocks of heads apart.
            gates: own.heads + ssd::shared_len(of_kernels(own)),
        };
    }
    match (config.delta, config.short_conv) {
        _ if !config.is_recurrent() => OfState::default(),
        (Some(delta), _) => OfState {
            values: delta.values(),
            gate: delta.values(),
            mixed: 3 * delta.columns(),
            gates: 2 * delta.value_heads,
        },
        (None, Some(_)) => OfState {
            values: hidden,
            gate: 0,
            mixed: 5 * hidden,
            gates: 0,
        },
        (None, None) => OfState::default(),
    }
}

//! How many values each kind of buffer holds, from shapes alone.
use crate::fused::batch_size::BatchSize;
use crate::fused::delta::shape as of_kernels;
use lora_checkpoint::{Block, Mixer, ModelConfig, Norm, Projection};
use lora_core::TargetedModule;
use lora_kernels::{attention, gemm, linear, loss};

fn width(config: &ModelConfig, projection: Projection) -> usize {
    config.shape(projection).0
}

fn has(config: &ModelConfig, norm: Norm) -> bool {
    config.facts().norm(norm).is_some()
}

/// Values a token in `Saved`, but for x·Aᵀ, in a layer with such a mixer: those that are always kept exactly, and those that
/// may be rounded.
pub(super) fn saved(config: &ModelConfig, mixer: Mixer) -> (usize, usize) {
    let (exact, rounded) = match mixer {
        Mixer::Attention => attention(config),
        Mixer::Delta => recurrent(config),
    };
    let (both_exact, both_rounded) = around(config);
    (exact + both_exact, rounded + both_rounded)
}

/// What every layer has: states, what the MLP keeps, outputs before their norms.
fn around(config: &ModelConfig) -> (usize, usize) {
    let (h, up) = (config.hidden_size, wide(config));
    let outputs = [Norm::AttentionOutput, Norm::MlpOutput]
        .into_iter()
        .filter(|norm| has(config, *norm))
        .count();
    // The layer's input, and the hidden state between attention and MLP where that is read.
    let states = match config.facts().block {
        Block::Sequential => 2,
        Block::Parallel => 1,
    };
    let experts = config.experts.map_or(0, |experts| experts.count); // the router's softmax
    let wide = match config.facts().mlp.is_gated() {
        true => 2 * up,
        false => up,
    };
    (states + outputs + experts, states * h + wide + outputs * h) // all 1/rms, the router's softmax; states; gate, up
}

/// What attention keeps: q, k, the log-sum-exp and 1/rms of heads; o, its gate, v, and heads before their norms.
fn attention(config: &ModelConfig) -> (usize, usize) {
    let [q, k] = [Projection::Q, Projection::K].map(|p| width(config, p));
    let raw = |norm, values| {
        if has(config, norm) {
            (values / config.norm_width(norm), values)
        } else {
            (0, 0)
        }
    };
    let (q_rstd, q_raw) = raw(Norm::Query, q);
    let (k_rstd, k_raw) = raw(Norm::Key, k);
    let exact = q + k + config.num_attention_heads + q_rstd + k_rstd;
    (exact, q + output_gate(config) + k + q_raw + k_raw)
}

/// Values a token of the gate of attention's output.
fn output_gate(config: &ModelConfig) -> usize {
    let has_gate = config.facts().projections.contains(&Projection::QGate);
    if has_gate {
        width(config, Projection::OutputGate)
    } else {
        0
    }
}

/// What a recurrent layer keeps: what its gates are made of and 1/rms of its heads; its output, the gate of that, and what
/// its convolution reads.
fn recurrent(config: &ModelConfig) -> (usize, usize) {
    let Some(delta) = config.delta else {
        return (0, 0);
    };
    (3 * delta.value_heads, 2 * delta.values() + delta.columns())
}

/// Values a token of the output of a recurrent layer's rule, and of what its convolution reads; 0 where there are none.
fn of_rule(config: &ModelConfig) -> (usize, usize, usize) {
    let delta = config.delta.filter(|_| config.is_recurrent());
    delta.map_or((0, 0, 0), |d| (d.values(), d.columns(), d.value_heads))
}

/// Values a token of the layer at work, whose buffers are those of all kinds of layers.
pub(super) fn work(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    let of = |mixer| {
        let (exact, rounded) = saved(config, mixer);
        exact + rounded
    };
    let kinds = [Mixer::Attention, Mixer::Delta];
    let mut own = kinds.into_iter().filter(|kind| {
        let mut layers = config.layers.iter();
        layers.any(|layer| layer.mixer == *kind)
    });
    let (first, second) = (own.next(), own.next());
    let (Some(attention), Some(recurrent)) = (first, second) else {
        let kind = first.unwrap_or(Mixer::Attention);
        return of(kind) + inner(config, targeted, kind);
    };
    let (exact, rounded) = around(config);
    // Output and gate stand in the same buffers.
    let (values, ..) = of_rule(config);
    let shared = width(config, Projection::Q).min(values) + output_gate(config).min(values);
    of(attention) + of(recurrent) - (exact + rounded) - shared + inner_of_all(config, targeted)
}

/// Values a token of x·Aᵀ in a layer that has every kind of linear layer.
fn inner_of_all(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    let of = |projection| {
        let path = config.facts().path(projection);
        let own = targeted.iter().filter(|module| module.path.ends_with(path));
        own.map(|m| m.rank + dora(m)).max().unwrap_or(0)
    };
    config.projections().map(of).sum()
}

/// Values a token between gate, up and down, in the layer that has most of them.
fn wide(config: &ModelConfig) -> usize {
    let all = (0..config.num_hidden_layers).map(|layer| config.mlp_width(layer));
    all.max().unwrap_or(0)
}

/// Values a token of a mixture's scratch: rows of the chosen; the gradient of logits and weights; the choice four times.
fn expert_scratch(config: &ModelConfig) -> usize {
    config.experts.map_or(0, |experts| {
        experts.chosen * (config.hidden_size + 5) + experts.count
    })
}

/// Where the rows of each expert begin.
pub(super) fn expert_starts(config: &ModelConfig) -> usize {
    config.experts.map_or(0, |experts| experts.count + 1)
}

/// Values a token that Down keeps for its own backward pass.
pub(super) fn down(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    let of_layer = |layer: usize| {
        let path = config.path(Projection::Down, layer);
        targeted
            .iter()
            .filter(|module| module.path == path)
            .map(|m| m.rank + dora(m))
            .sum()
    };
    (0..config.num_hidden_layers)
        .map(of_layer)
        .max()
        .unwrap_or(0)
}

/// Values a token of x·Aᵀ, and with DoRA of the output before its gain, in the layer with such a mixer that has most of them.
pub(super) fn inner(config: &ModelConfig, targeted: &[TargetedModule], mixer: Mixer) -> usize {
    let of_layer = |layer: usize| -> usize {
        let prefix = format!("model.layers.{layer}.");
        targeted
            .iter()
            .filter(|module| module.path.starts_with(&prefix))
            .map(|m| m.rank + dora(m))
            .sum()
    };
    (0..config.num_hidden_layers)
        .filter(|&layer| config.layers[layer].mixer == mixer)
        .map(of_layer)
        .max()
        .unwrap_or(0)
}

/// Values a token in `Scratch`, and in the hidden state and its gradient.
pub(super) fn scratch(config: &ModelConfig, targeted: &[TargetedModule], dropout: bool) -> usize {
    let h = config.hidden_size;
    let [q, k] = [Projection::Q, Projection::K].map(|p| width(config, p));
    let up = wide(config);
    let state = 2 * h;
    let has_attention = config.layers.iter().any(|l| l.mixer == Mixer::Attention);
    let (values, columns, value_heads) = of_rule(config);
    let [q, k] = if has_attention { [q, k] } else { [0, 0] };
    let always = 2 * h + 2 * up + q + q.max(values) + 2 * k; // normed and its gradient; activated and its; gradients of o, q, k, v
    let gate = if has_attention {
        output_gate(config)
    } else {
        0
    };
    let gated = 2 * gate.max(values); // the gated output, and the gradient of its gate
    let of_rule = 3 * columns + 2 * value_heads; // behind the convolution, its gradient, that before it; of the gates
    // The gradient before a norm of heads takes a buffer of its own, which then stands for that of the keys too.
    let head_norms = match has(config, Norm::Key) {
        true if q > 0 => 2 * q - k,
        _ => 0,
    };
    let has_output_norm = has(config, Norm::AttentionOutput) || has(config, Norm::MlpOutput);
    let sandwich = if has_output_norm || config.multipliers.residual != 1.0 {
        h
    } else {
        0
    };
    let is_stacked = |p: &Projection| p.parts().len() > 1;
    let stacked = (0..config.num_hidden_layers)
        .flat_map(|layer| config.projections_of(layer).iter().copied())
        .filter(is_stacked)
        .map(|p| width(config, p))
        .max()
        .unwrap_or(0);
    let rank = targeted.iter().map(|module| module.rank).max().unwrap_or(0);
    let dropped = if dropout {
        2 * targeted
            .iter()
            .map(|module| module.in_features)
            .max()
            .unwrap_or(0)
    } else {
        0
    };
    let gained = 2 * targeted.iter().map(dora).max().unwrap_or(0); // gain∘dy, and what it has beyond dy
    state
        + always
        + gated
        + of_rule
        + expert_scratch(config)
        + head_norms
        + sandwich
        + stacked
        + rank
        + dropped
        + gained
}

/// Outputs of a module with DoRA, 0 without.
fn dora(module: &TargetedModule) -> usize {
    if module.magnitude.is_some() {
        module.out_features
    } else {
        0
    }
}

/// Values of packed operands of the layers' linear modules.
pub(super) fn workspace(
    config: &ModelConfig,
    targeted: &[TargetedModule],
    dropout: bool,
    tokens: usize,
) -> usize {
    let wide = |(out_features, in_features): (usize, usize)| {
        linear::packed_len(tokens, in_features, out_features)
    };
    let of_layer = |layer| {
        let own = config.projections_of(layer).iter();
        // An expert has at most all tokens.
        let experts = config.experts_of(layer).into_iter().flat_map(|experts| {
            let router = (experts.count, config.hidden_size);
            let gate = config.expert_shape(experts, Projection::Gate);
            [router, gate]
        });
        own.map(|&p| config.shape(p)).chain(experts).map(wide).max()
    };
    let widest = (0..config.num_hidden_layers).filter_map(of_layer).max();
    let narrow = |m: &TargetedModule| {
        linear::packed_len(tokens, m.rank, if dropout { m.in_features } else { 0 })
    };
    let beside = targeted.iter().filter(|module| module.magnitude.is_none()); // DoRA's products are apart
    widest.unwrap_or(0) + beside.map(narrow).max().unwrap_or(0)
}

/// Values of head and loss: the supervised rows three times, their 1/rms, a chunk of logits, packed operands.
pub(super) fn head(config: &ModelConfig, supervised: usize) -> usize {
    let v = config.vocab_size;
    let h = config.hidden_size;
    let rows = supervised.min(loss::chunk_rows(v));
    supervised * (3 * h + 1) + rows * v + linear::packed_len(rows, h, v)
}

pub(super) fn vectors(config: &ModelConfig) -> usize {
    config
        .weights()
        .iter()
        .filter(|(_, shape)| shape.len() != 2)
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

/// Ranks that are packed side by side, at most.
const PANEL: usize = 32;

/// Values that a thread holds: blocks of attention, packed panels of weights, packed ranks, the slopes of capped logits.
pub(super) fn per_thread(
    config: &ModelConfig,
    shape: attention::Shape,
    targeted: &[TargetedModule],
    batch: BatchSize,
) -> usize {
    let rank = targeted.iter().map(|module| module.rank).max().unwrap_or(0);
    let slopes = match config.logit_softcap {
        Some(_) => config.vocab_size,
        None => 0,
    };
    let rule = config.delta.filter(|_| config.is_recurrent());
    attention::scratch_len(shape, batch.longest)
        + rule.map_or(0, |rule| {
            lora_kernels::delta::scratch_len(of_kernels(rule), batch.longest)
        })
        + gemm::scratch_len(rank)
        + batch.tokens * rank.next_multiple_of(PANEL)
        + slopes
}

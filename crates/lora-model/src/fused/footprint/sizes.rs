//! How many values each kind of buffer holds, from shapes alone.
use super::mixers::{OfMixer, has, of_state, output_gate, widest};
use crate::fused::batch_size::BatchSize;
use crate::fused::delta::shape as of_kernels;
use lora_checkpoint::{Block, ModelConfig, Norm, Projection};
use lora_core::TargetedModule;
use lora_kernels::{attention, gemm, linear, loss};

/// Buffers of `Saved`, but for x·Aᵀ: 1/rms five times, the router's softmax, q, k, the log-sum-exp, 1/rms of heads four times,
/// what gates of a recurrent layer are made of (two).
const EXACT: usize = 15;
/// And: x, middle, the outputs before their norms, gate and up of the MLP and of experts, v, o and its gate, heads before their
/// norms (three), what a convolution reads, the output of Mamba-2's rule; what a layer's own input meets (three).
const ROUNDED: usize = 19;

/// Values a token of each buffer in a layer: those that are always kept exactly, and those that may be rounded.
fn buffers(config: &ModelConfig, layer: usize) -> ([usize; EXACT], [usize; ROUNDED]) {
    let h = config.hidden_size;
    let if_normed = |norm, values: usize| if has(config, norm) { values } else { 0 };
    let [attended, output] =
        [Norm::AttentionOutput, Norm::MlpOutput].map(|norm| if_normed(norm, h));
    let middle = match config.facts().block {
        Block::Sequential => h,
        Block::Parallel => 0,
    };
    let up = config.mlp_width(layer);
    let gate = if config.facts().mlp.is_gated() { up } else { 0 };
    let router = config.experts_of(layer).map_or(0, |own| own.count);
    let rstd = |values: usize| usize::from(values > 0);
    let (own, last) = config.per_layer().map_or((0, 0), |own| (own.width, h));
    let mixer = OfMixer::of(config, layer);
    let [q, k, lse, q_rstd, k_rstd, v_rstd, o_rstd, a, b] = mixer.exact;
    let [v, o, o_gate, q_raw, k_raw, v_raw, qkv, rule] = mixer.rounded;
    let of_norms = [1, rstd(middle), rstd(attended), rstd(output), rstd(last)];
    let exact = [router, q, k, lse, q_rstd, k_rstd, v_rstd, o_rstd, a, b];
    let mut all_exact = [0; EXACT];
    let both = of_norms.into_iter().chain(exact);
    all_exact.iter_mut().zip(both).for_each(|(to, n)| *to = n);
    let wide = config.experts_width(layer);
    let rounded = [
        h, middle, attended, output, gate, up, wide, wide, v, o, o_gate, q_raw, k_raw, v_raw, qkv,
        rule, last, own, last,
    ];
    (all_exact, rounded)
}

/// Values a token in `Saved`, but for x·Aᵀ, in a layer: those that are always kept exactly, and those that may be rounded.
pub(super) fn saved(config: &ModelConfig, layer: usize) -> (usize, usize) {
    let (exact, rounded) = buffers(config, layer);
    (exact.iter().sum(), rounded.iter().sum())
}

/// Values a token of the layer at work, whose buffers are those of all layers.
pub(super) fn work(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    let mut most = ([0; EXACT], [0; ROUNDED]);
    for layer in 0..config.num_hidden_layers {
        let (exact, rounded) = buffers(config, layer);
        let all = most.0.iter_mut().chain(&mut most.1);
        all.zip(exact.into_iter().chain(rounded))
            .for_each(|(most, own)| *most = own.max(*most));
    }
    let buffers = most.0.iter().chain(&most.1).sum::<usize>();
    buffers + inner_of_all(config, targeted)
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

/// Values a token of the inputs of each layer: five times those of all layers, 1/rms of each, those of one.
fn of_per_layer(config: &ModelConfig) -> usize {
    let layers = config.num_hidden_layers;
    config
        .per_layer()
        .map_or(0, |own| (5 * own.width + 1) * layers + own.width)
}

/// Values a token of keys and values that later layers read, and of their gradients.
fn of_shared(config: &ModelConfig) -> usize {
    let sources = (0..config.num_hidden_layers).filter(|&layer| config.shares_keys(layer));
    sources
        .map(|layer| 4 * config.shape(layer, Projection::K).0)
        .sum()
}

/// Values a token between gate, up and down, in the layer that has most of them.
fn wide(config: &ModelConfig) -> usize {
    let each = |layer| [config.mlp_width(layer), config.experts_width(layer)];
    let all = (0..config.num_hidden_layers).flat_map(each);
    all.max().unwrap_or(0)
}

/// Values a token of a mixture's scratch: rows of the chosen; the gradient of logits and weights; the choice four times; what
/// factors make of their input, and its gradient.
fn expert_scratch(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    config.experts.map_or(0, |experts| {
        let of_mixtures = targeted.iter().filter(|m| m.is_of_mixture());
        let inner = of_mixtures.map(|m| match m.experts() {
            Some(_) => experts.chosen * m.rank,
            None => m.rank,
        });
        let inner = 2 * inner.max().unwrap_or(0);
        experts.chosen * (config.hidden_size + 5) + experts.count + inner
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

/// Values a token of x·Aᵀ, and with DoRA of the output before its gain, in a layer.
pub(super) fn inner(config: &ModelConfig, targeted: &[TargetedModule], layer: usize) -> usize {
    let own: Vec<String> = config
        .projections_of(layer)
        .into_iter()
        .map(|projection| config.path(projection, layer))
        .collect();
    targeted
        .iter()
        .filter(|module| own.contains(&module.path))
        .map(|m| m.rank + dora(m))
        .sum()
}

/// Values a token in `Scratch`, and in the hidden state and its gradient.
pub(super) fn scratch(config: &ModelConfig, targeted: &[TargetedModule], dropout: bool) -> usize {
    let h = config.hidden_size;
    let [q, k] = [Projection::Q, Projection::K].map(|p| widest(config, p));
    let up = wide(config).max(config.per_layer().map_or(0, |own| own.width));
    let state = 2 * h;
    let has_attention = config.layers.iter().any(|l| l.has_attention());
    let of_state = of_state(config);
    let always = 2 * h + 2 * up + q + q.max(of_state.values) + 2 * k; // normed and its gradient; activated and its; gradients of o, q, k, v
    let gate = if has_attention {
        output_gate(config)
    } else {
        0
    };
    let gated = gate.max(of_state.values) + gate.max(of_state.gate); // the gated output, and the gradient of its gate
    let of_rule = of_state.mixed + of_state.gates;
    let head_norms = if has(config, Norm::Key) { q } else { 0 }; // the gradient before a norm of heads
    let has_output_norm = has(config, Norm::AttentionOutput) || has(config, Norm::MlpOutput);
    let sandwich = if has_output_norm || multiplies_outputs(config) {
        h
    } else {
        0
    };
    let is_stacked = |p: &Projection| p.parts().len() > 1;
    let stacked = (0..config.num_hidden_layers)
        .flat_map(|layer| {
            let own = config.projections_of(layer).into_iter();
            own.filter(is_stacked)
                .map(move |p| config.shape(layer, p).0)
        })
        .max()
        .unwrap_or(0);
    let beside = targeted.iter().filter(|module| !module.is_of_mixture());
    let rank = beside.map(|module| module.rank).max().unwrap_or(0);
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
        + of_per_layer(config)
        + of_shared(config)
        + expert_scratch(config, targeted)
        + head_norms
        + sandwich
        + stacked
        + rank
        + dropped
        + gained
}

/// Whether the output of attention, of Mamba-2 or of the MLP is multiplied by a number in some layer.
fn multiplies_outputs(config: &ModelConfig) -> bool {
    let outputs = [Projection::O, Projection::MambaOut, Projection::Down];
    let is_multiplied = |p: Projection| config.output_factors(0, p).is_some();
    config.multipliers.residual != 1.0 || outputs.into_iter().any(is_multiplied)
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
        let own = config.projections_of(layer).into_iter();
        // An expert has at most all tokens.
        let experts = config.experts_of(layer).into_iter().flat_map(|experts| {
            let router = (experts.count, config.hidden_size);
            let gate = config.expert_shape(experts, Projection::Gate);
            [router, gate]
        });
        own.map(|p| config.shape(layer, p))
            .chain(experts)
            .map(wide)
            .max()
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
    shapes: &[attention::Shape],
    targeted: &[TargetedModule],
    batch: BatchSize,
) -> usize {
    let rank = targeted.iter().map(|module| module.rank).max().unwrap_or(0);
    let slopes = match config.logit_softcap {
        Some(_) => config.vocab_size,
        None => 0,
    };
    let rule = config.delta.filter(|_| config.is_recurrent());
    let mamba = config.mamba.filter(|_| config.is_recurrent());
    let scores = shapes
        .iter()
        .map(|&shape| attention::scratch_len(shape, batch.longest));
    scores.max().unwrap_or(0)
        + rule.map_or(0, |rule| {
            lora_kernels::delta::scratch_len(of_kernels(rule), batch.longest)
        })
        + mamba.map_or(0, |own| {
            lora_kernels::ssd::scratch_len(crate::fused::mamba::shape(own), batch.longest)
        })
        + gemm::scratch_len(rank)
        + batch.tokens * rank.next_multiple_of(PANEL)
        + slopes
}

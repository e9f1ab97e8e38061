//! Memory that no layer keeps for its backward pass: all layers share it, and it lives as long as the route.
use super::buffers::{Buffer, Kept};
use lora_kernels::attention;
use lora_kernels::experts::Routing;
use lora_kernels::linear::Workspace;
use std::collections::BTreeMap;

/// Scratch that no layer keeps.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Normalised hidden state, (T, H).
    pub(super) normed: Buffer,
    /// activation(gate)∘up, (T, I).
    pub(super) activated: Buffer,
    /// Gradient of `activated`, (T, I).
    pub(super) d_activated: Buffer,
    /// Gradient of a normalised hidden state, (T, H).
    pub(super) d_normed: Buffer,
    /// Gradients of o, q, k, v.
    pub(super) d_o: Buffer,
    pub(super) d_q: Buffer,
    pub(super) d_k: Buffer,
    pub(super) d_v: Buffer,
    /// Attention's or the rule's output as the output projection reads it, where there is a gate.
    pub(super) gated: Buffer,
    /// Gradient of that gate.
    pub(super) d_gate: Buffer,
    /// In a recurrent layer queries, keys and values behind its convolution, their gradient, and that before it. In one that
    /// has nothing else what the convolution reads, what it gives, and the gradient of both gates and the input.
    pub(super) mixed: Buffer,
    pub(super) d_mixed: Buffer,
    pub(super) d_qkv: Buffer,
    /// Gradients of what its decay and its β are made of.
    pub(super) d_a: Buffer,
    pub(super) d_b: Buffer,
    /// Gradient of heads before their norm.
    pub(super) d_head: Buffer,
    /// Gradient of the output of attention or MLP before its norm, (T, H).
    pub(super) d_output: Buffer,
    /// Outputs of a stacked linear layer, or their gradients.
    pub(super) stacked: Buffer,
    pub(super) experts: ExpertScratch,
    /// Keys and values that later layers read.
    pub(super) shared: Shared,
    /// Inputs of each layer.
    pub(super) per_layer: PerLayerScratch,
    pub(super) project: ProjectScratch,
    /// Of attention's backward pass.
    pub(super) attention: attention::Workspace,
}

/// Scratch of mixtures of experts.
#[derive(Debug, Default)]
pub(super) struct ExpertScratch {
    /// What the chosen experts read or give, or its gradient, (T·k, H).
    pub(super) rows: Buffer,
    /// Gradient of the router's logits, (T, E).
    pub(super) d_logits: Buffer,
    /// Gradient of the weights of what the experts give, (T·k).
    pub(super) d_weights: Buffer,
    /// What factors make of an input, (T·k, r) or of a router's (T, r), and its gradient.
    pub(super) u: Buffer,
    pub(super) d_u: Buffer,
    /// Who chose whom.
    pub(super) routing: Routing,
}

/// Memory of the layers' inputs. P: width of one layer's, L: layers.
#[derive(Debug, Default)]
pub(super) struct PerLayerScratch {
    /// The inputs, (L, T, P).
    pub(super) inputs: Buffer,
    /// Their gradients.
    pub(super) d_inputs: Buffer,
    /// The projected embedding before its norm, (T, L·P), and 1/rms of each layer's part, (T·L).
    pub(super) raw: Buffer,
    pub(super) rstd: Buffer,
    /// All layers' side by side, (T, L·P), twice.
    pub(super) beside: Buffer,
    pub(super) table: Buffer,
    /// Those of the layer at work, of the rows at work, (T, P).
    pub(super) own: Buffer,
}

/// Keys and values of one layer, placed, (T, kv_heads · d), and their gradients by the layers that read them.
#[derive(Debug, Default)]
pub(super) struct SharedKeys {
    pub(super) k: Buffer,
    pub(super) v: Buffer,
    pub(super) d_k: Buffer,
    pub(super) d_v: Buffer,
}

/// By the layer whose they are.
pub(super) type Shared = BTreeMap<usize, SharedKeys>;

/// Memory of the head and the loss. n = rows whose logits are wanted.
#[derive(Debug, Default)]
pub(super) struct HeadBuffers {
    /// Hidden rows before the last norm, (n, H).
    pub(super) rows: Buffer,
    /// The same after it; then their gradient.
    pub(super) normed: Buffer,
    pub(super) rstd: Buffer,
    pub(super) d_rows: Buffer,
    /// Of a head at which nothing trains.
    pub(super) workspace: Workspace,
    /// Of a head at which something trains.
    pub(super) kept: Kept,
    /// A chunk of logits.
    pub(super) logits: Vec<f32>,
}

/// Scratch of one projection.
#[derive(Debug, Default)]
pub(super) struct ProjectScratch {
    /// Packed operands.
    pub(super) workspace: Workspace,
    /// The input after dropout, (T, in).
    pub(super) dropped: Buffer,
    /// Gradient of x·Aᵀ, (T, r).
    pub(super) d_u: Buffer,
    /// Gradient of the dropped input, (T, in).
    pub(super) d_dropped: Buffer,
    /// With DoRA, gain∘dy, (T, out).
    pub(super) scaled: Buffer,
    /// With DoRA under dropout, gain∘dy − dy, (T, out).
    pub(super) beyond: Buffer,
}

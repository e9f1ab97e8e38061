//! The decoder as a candle graph: ids → hidden states → logits.
use super::rope::RopeTable;
use crate::{Dropout, Packed};
use candle_core::{D, Device, Error, Result, Tensor};
use lora_checkpoint::ModelConfig;
use lora_core::{Adapter, TargetedModule};
use std::collections::BTreeMap;

/// Weights by Hugging Face name: plain tensors where frozen, variables where trained.
pub(super) type Weights = BTreeMap<String, Tensor>;

/// A and B of one module, as the graph uses them.
#[derive(Debug)]
struct Factors {
    a: Tensor,
    b: Tensor,
    scaling: f64,
    index: usize,
}

/// An adapter in the graph.
#[derive(Debug)]
pub(super) struct Patches {
    by_path: BTreeMap<String, Factors>,
    dropout: Option<Dropout>,
}

impl Patches {
    /// `factor` turns a slice of the adapter's parameters into a tensor, tracked or not.
    pub(super) fn new(
        adapter: &Adapter,
        dropout: Option<Dropout>,
        mut factor: impl FnMut(&TargetedModule, &[f32], (usize, usize)) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut by_path = BTreeMap::new();
        for (index, module) in adapter.modules.iter().enumerate() {
            let (a, b) = adapter.factors(index);
            let a = factor(module, a, (module.rank, module.in_features))?;
            let b = factor(module, b, (module.out_features, module.rank))?;
            by_path.insert(module.path.clone(), Factors { a, b, scaling: f64::from(module.scaling), index });
        }
        Ok(Self { by_path, dropout: dropout.filter(|d| d.p > 0.0) })
    }

    /// s · B(A(dropout(x))) of the module at `path`, if it carries an adapter.
    fn delta(&self, path: &str, x: &Tensor) -> Result<Option<Tensor>> {
        let Some(Factors { a, b, scaling, index }) = self.by_path.get(path) else { return Ok(None) };
        let x = match &self.dropout {
            Some(dropout) => (x * mask(dropout, *index, x)?)?,
            None => x.clone(),
        };
        let delta = x.matmul(&a.t()?)?.matmul(&b.t()?)?; // (T, in) -> (T, r) -> (T, out)
        Ok(Some((delta * *scaling)?))
    }
}

/// The dropout mask of a module's input (T, in): 0, or 1/(1 − p).
fn mask(dropout: &Dropout, module: usize, x: &Tensor) -> Result<Tensor> {
    let kept = 1.0 / (1.0 - dropout.p);
    let keep = |i| lora_kernels::rng::dropout_keep(dropout.seed, dropout.step, module as u64, i, dropout.p);
    let values: Vec<f32> = (0..x.elem_count() as u64).map(|i| if keep(i) { kept } else { 0.0 }).collect();
    Tensor::from_vec(values, x.shape(), x.device())
}

/// Neighbouring sequences of one length: their attention is one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Run {
    row: usize,
    sequences: usize,
    length: usize,
}

/// One pass through a Llama decoder.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    config: &'a ModelConfig,
    weights: &'a Weights,
    patches: Option<&'a Patches>,
    rope: RopeTable,
    runs: Vec<Run>,
    causal: BTreeMap<usize, Tensor>,
}

impl<'a> Graph<'a> {
    /// Prepares tables and masks for a pack.
    pub(super) fn new(
        config: &'a ModelConfig,
        weights: &'a Weights,
        patches: Option<&'a Patches>,
        packed: &Packed,
        device: &Device,
    ) -> Result<Self> {
        let runs = runs(&packed.starts);
        let longest = runs.iter().map(|r| r.length).max().unwrap_or(0);
        let rope = RopeTable::new(config, longest, device)?;
        let causal = runs.iter().map(|r| Ok((r.length, causal_mask(r.length, device)?))).collect::<Result<_>>()?;
        Ok(Self { config, weights, patches, rope, runs, causal })
    }

    /// Hidden states after the last norm, (T, H).
    pub(super) fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let mut x = self.weight("model.embed_tokens.weight")?.index_select(ids, 0)?; // (T) -> (T, H)
        for layer in 0..self.config.num_hidden_layers {
            let prefix = format!("model.layers.{layer}");
            let normed = self.rms_norm(&x, &format!("{prefix}.input_layernorm"))?;
            x = (x + self.attention(&normed, &format!("{prefix}.self_attn"))?)?;
            let normed = self.rms_norm(&x, &format!("{prefix}.post_attention_layernorm"))?;
            x = (x + self.mlp(&normed, &format!("{prefix}.mlp"))?)?;
        }
        self.rms_norm(&x, "model.norm")
    }

    /// Logits of rows of hidden states, (N, H) -> (N, V).
    pub(super) fn head(&self, hidden: &Tensor) -> Result<Tensor> {
        let path = if self.config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        let logits = hidden.matmul(&self.weight(&format!("{path}.weight"))?.t()?)?;
        match self.patches.map(|p| p.delta("lm_head", hidden)).transpose()?.flatten() {
            Some(delta) => logits + delta,
            None => Ok(logits),
        }
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        self.weights.get(name).ok_or_else(|| Error::Msg(format!("weight {name} is missing")))
    }

    /// x·Wᵀ + bias + s·(dropout(x)·Aᵀ)·Bᵀ, (T, in) -> (T, out).
    fn linear(&self, x: &Tensor, path: &str) -> Result<Tensor> {
        let mut y = x.matmul(&self.weight(&format!("{path}.weight"))?.t()?)?;
        if let Some(bias) = self.weights.get(&format!("{path}.bias")) {
            y = y.broadcast_add(bias)?;
        }
        match self.patches.map(|p| p.delta(path, x)).transpose()?.flatten() {
            Some(delta) => y + delta,
            None => Ok(y),
        }
    }

    /// γ · x / √(mean(x²) + ε), (T, H).
    fn rms_norm(&self, x: &Tensor, path: &str) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?; // (T, 1)
        let inverse = (mean_square + self.config.rms_norm_eps)?.sqrt()?.recip()?;
        x.broadcast_mul(&inverse)?.broadcast_mul(self.weight(&format!("{path}.weight"))?)
    }

    /// down(silu(gate(x)) · up(x)), (T, H).
    fn mlp(&self, x: &Tensor, path: &str) -> Result<Tensor> {
        let gate = self.linear(x, &format!("{path}.gate_proj"))?.silu()?;
        let up = self.linear(x, &format!("{path}.up_proj"))?;
        self.linear(&(gate * up)?, &format!("{path}.down_proj"))
    }

    /// Causal attention inside each sequence, (T, H).
    fn attention(&self, x: &Tensor, path: &str) -> Result<Tensor> {
        let q = self.linear(x, &format!("{path}.q_proj"))?; // (T, heads·d)
        let k = self.linear(x, &format!("{path}.k_proj"))?; // (T, kv_heads·d)
        let v = self.linear(x, &format!("{path}.v_proj"))?;
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            outputs.push(self.attend(run, &q, &k, &v)?);
        }
        let output = if outputs.len() == 1 { outputs.swap_remove(0) } else { Tensor::cat(&outputs, 0)? };
        self.linear(&output, &format!("{path}.o_proj"))
    }

    /// Attention of a run of equally long sequences, rows of (T, ·) -> (B·length, heads·d).
    fn attend(&self, run: &Run, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let Run { row, sequences, length } = *run;
        let (heads, kv_heads, width) =
            (self.config.num_attention_heads, self.config.num_key_value_heads, self.config.head_dim);
        let split = |x: &Tensor, heads: usize| {
            let rows = if x.dim(0)? == sequences * length { x.clone() } else { x.narrow(0, row, sequences * length)? };
            rows.reshape((sequences, length, heads, width))?.transpose(1, 2)?.contiguous() // (B, heads, T, d)
        };
        let q = (self.rope.apply(&split(q, heads)?)? * (1.0 / (width as f64).sqrt()))?;
        let k = self.rope.apply(&split(k, kv_heads)?)?;
        let v = split(v, kv_heads)?;
        // The heads of a group share their keys: their queries are stacked, so that keys need no copies.
        let grouped = q.reshape((sequences, kv_heads, heads / kv_heads * length, width))?;
        let scores = grouped.matmul(&k.t()?)?.reshape((sequences, heads, length, length))?;
        let (weights, sum) = causal_softmax(&scores, &self.causal[&length])?;
        let weights = weights.reshape((sequences, kv_heads, heads / kv_heads * length, length))?;
        let output = weights.matmul(&v)?.reshape((sequences, heads, length, width))?.broadcast_div(&sum)?;
        output.transpose(1, 2)?.reshape((sequences * length, heads * width))
    }
}

/// The softmax over keys ≤ query of (B, heads, T, T), as numerators and their sums (B, heads, T, 1): dividing after the product
/// with v is cheaper.
fn causal_softmax(scores: &Tensor, causal: &Tensor) -> Result<(Tensor, Tensor)> {
    let largest = scores.detach().broadcast_add(causal)?.max_keepdim(D::Minus1)?;
    let shift = largest.neg()?.broadcast_add(causal)?; // mask and shift are constants: one sum in the graph
    let numerators = (scores + shift)?.exp()?;
    let sum = numerators.sum_keepdim(D::Minus1)?;
    Ok((numerators, sum))
}

/// 0 where key ≤ query, −∞ elsewhere, (T, T).
fn causal_mask(length: usize, device: &Device) -> Result<Tensor> {
    let value = |i: usize| if i % length <= i / length { 0f32 } else { f32::NEG_INFINITY };
    Tensor::from_vec((0..length * length).map(value).collect(), (length, length), device)
}

/// Groups neighbouring sequences of equal length; empty ones have no rows.
fn runs(starts: &[usize]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for bounds in starts.windows(2) {
        let length = bounds[1] - bounds[0];
        match runs.last_mut() {
            _ if length == 0 => {}
            Some(run) if run.length == length => run.sequences += 1,
            _ => runs.push(Run { row: bounds[0], sequences: 1, length }),
        }
    }
    runs
}

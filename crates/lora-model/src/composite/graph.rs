//! The decoder as a candle graph: ids → hidden states → logits.
use super::rope::RopeTables;
use crate::{Dropout, Packed};
use candle_core::{D, Device, Error, Result, Tensor};
use lora_checkpoint::{Activation, ModelConfig, Norm, Projection};
use lora_core::{Adapter, TargetedModule};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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

/// The outputs of the linear layer that was computed last.
type Last = Option<(Projection, Tensor)>;

/// One pass through a decoder.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    config: &'a ModelConfig,
    weights: &'a Weights,
    patches: Option<&'a Patches>,
    ropes: RopeTables,
    runs: Vec<Run>,
    /// By (length, window).
    masks: BTreeMap<(usize, Option<usize>), Tensor>,
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
        let ropes = RopeTables::new(config, runs.iter().map(|r| r.length), device)?;
        let mut masks = BTreeMap::new();
        for key in runs.iter().flat_map(|r| config.layers.iter().map(|l| (r.length, l.window))) {
            if let Entry::Vacant(place) = masks.entry(key) {
                place.insert(mask_of(key.0, key.1, device)?);
            }
        }
        Ok(Self { config, weights, patches, ropes, runs, masks })
    }

    /// Hidden states after the last norm, (T, H).
    pub(super) fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let embedded = self.weight("model.embed_tokens.weight")?.index_select(ids, 0)?; // (T) -> (T, H)
        let mut x = (embedded * self.config.embedding_scale())?;
        for layer in 0..self.config.num_hidden_layers {
            let attended = self.attention(&self.norm(&x, layer, Norm::Input)?, layer)?;
            x = (x + self.norm(&attended, layer, Norm::AttentionOutput)?)?;
            let activated = self.mlp(&self.norm(&x, layer, Norm::MlpInput)?, layer)?;
            x = (x + self.norm(&activated, layer, Norm::MlpOutput)?)?;
        }
        self.rms_norm(&x, "model.norm")
    }

    /// Logits of rows of hidden states, (N, H) -> (N, V).
    pub(super) fn head(&self, hidden: &Tensor) -> Result<Tensor> {
        let path = if self.config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        let logits = hidden.matmul(&self.weight(&format!("{path}.weight"))?.t()?)?;
        let logits = match self.patches.map(|p| p.delta("lm_head", hidden)).transpose()?.flatten() {
            Some(delta) => (logits + delta)?,
            None => logits,
        };
        soft_cap(logits, self.config.logit_softcap)
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

    /// A projection of a layer, (T, in) -> (T, out): a linear layer, or a range of the outputs of a stacked one, which is
    /// kept in `last` for the next range.
    fn projection(&self, x: &Tensor, layer: usize, projection: Projection, last: &mut Last) -> Result<Tensor> {
        let linear = self.config.facts().linear_of(projection);
        let y = match last.take() {
            Some((same, y)) if same == linear => y,
            _ => self.linear(x, &linear.path(layer))?,
        };
        if linear == projection {
            return Ok(y);
        }
        let before = linear.parts().iter().take_while(|&&part| part != projection);
        let start = before.map(|&part| self.config.shape(part).0).sum();
        let range = y.narrow(1, start, self.config.shape(projection).0)?.contiguous();
        *last = Some((linear, y));
        range
    }

    /// A norm of a layer; a family that does not have it leaves x as it is.
    fn norm(&self, x: &Tensor, layer: usize, norm: Norm) -> Result<Tensor> {
        match self.config.norm_path(layer, norm) {
            Some(path) => self.rms_norm(x, &path),
            None => Ok(x.clone()),
        }
    }

    /// γ · x / √(mean(x²) + ε) over the last dimension.
    fn rms_norm(&self, x: &Tensor, path: &str) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (mean_square + self.config.rms_norm_eps)?.sqrt()?.recip()?;
        let gamma = (self.weight(&format!("{path}.weight"))? + f64::from(self.config.facts().norm_offset))?;
        x.broadcast_mul(&inverse)?.broadcast_mul(&gamma)
    }

    /// down(activation(gate(x)) · up(x)), (T, H).
    fn mlp(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let mut last = None;
        let gate = self.projection(x, layer, Projection::Gate, &mut last)?;
        let gate = match self.config.facts().activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?, // candle's gelu is the tanh formula
        };
        let up = self.projection(x, layer, Projection::Up, &mut last)?;
        self.projection(&(gate * up)?, layer, Projection::Down, &mut None)
    }

    /// Causal attention inside each sequence, (T, H).
    fn attention(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let mut last = None;
        let q = self.projection(x, layer, Projection::Q, &mut last)?; // (T, heads·d)
        let k = self.projection(x, layer, Projection::K, &mut last)?; // (T, kv_heads·d)
        let v = self.projection(x, layer, Projection::V, &mut last)?;
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            outputs.push(self.attend(run, layer, &q, &k, &v)?);
        }
        let output = if outputs.len() == 1 { outputs.swap_remove(0) } else { Tensor::cat(&outputs, 0)? };
        self.projection(&output, layer, Projection::O, &mut None)
    }

    /// Attention of a run of equally long sequences, rows of (T, ·) -> (B·length, heads·d).
    fn attend(&self, run: &Run, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let Run { row, sequences, length } = *run;
        let (heads, kv_heads, width) =
            (self.config.num_attention_heads, self.config.num_key_value_heads, self.config.head_dim);
        let split = |x: &Tensor, heads: usize| {
            let rows = if x.dim(0)? == sequences * length { x.clone() } else { x.narrow(0, row, sequences * length)? };
            rows.reshape((sequences, length, heads, width))?.transpose(1, 2)?.contiguous() // (B, heads, T, d)
        };
        let rotate = |x: Tensor| match self.config.layers[layer].rope {
            Some(rope) => self.ropes.of(rope, length)?.apply(&x),
            None => Ok(x),
        };
        let q = rotate(self.norm(&split(q, heads)?, layer, Norm::Query)?)?;
        let q = (q * self.config.attention_scale())?;
        let k = rotate(self.norm(&split(k, kv_heads)?, layer, Norm::Key)?)?;
        let v = split(v, kv_heads)?;
        // The heads of a group share their keys: their queries are stacked, so that keys need no copies.
        let grouped = q.reshape((sequences, kv_heads, heads / kv_heads * length, width))?;
        let scores = grouped.matmul(&k.t()?)?.reshape((sequences, heads, length, length))?;
        let scores = soft_cap(scores, self.config.attention_softcap)?;
        let (weights, sum) = masked_softmax(&scores, &self.masks[&(length, self.config.layers[layer].window)])?;
        let weights = weights.reshape((sequences, kv_heads, heads / kv_heads * length, length))?;
        let output = weights.matmul(&v)?.reshape((sequences, heads, length, width))?.broadcast_div(&sum)?;
        output.transpose(1, 2)?.reshape((sequences * length, heads * width))
    }
}

/// c·tanh(x/c), if there is a c.
fn soft_cap(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    match cap {
        Some(cap) => (x / cap)?.tanh()? * cap,
        None => Ok(x),
    }
}

/// The softmax over the keys that a query sees, (B, heads, T, T), as numerators and their sums (B, heads, T, 1): dividing
/// after the product with v is cheaper.
fn masked_softmax(scores: &Tensor, mask: &Tensor) -> Result<(Tensor, Tensor)> {
    let largest = scores.detach().broadcast_add(mask)?.max_keepdim(D::Minus1)?;
    let shift = largest.neg()?.broadcast_add(mask)?; // mask and shift are constants: one sum in the graph
    let numerators = (scores + shift)?.exp()?;
    let sum = numerators.sum_keepdim(D::Minus1)?;
    Ok((numerators, sum))
}

/// 0 where key ≤ query and inside the window, −∞ elsewhere, (T, T).
fn mask_of(length: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let sees = |query: usize, key: usize| key <= query && window.is_none_or(|window| query - key < window);
    let value = |i: usize| if sees(i / length, i % length) { 0f32 } else { f32::NEG_INFINITY };
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

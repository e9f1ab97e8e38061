//! The decoder as a candle graph: ids → hidden states → logits.
use super::patches::Patches;
use super::rope::RopeTables;
use super::softmax::{mask_of, masked_softmax, soft_cap};
use crate::{Packed, spec};
use candle_core::{D, Device, Error, Result, Tensor};
use lora_checkpoint::{Block, HeadNorms, Mixer, ModelConfig, Norm, Projection};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Weights by Hugging Face name: plain tensors where frozen, variables where trained.
pub(super) type Weights = BTreeMap<String, Tensor>;

/// Neighbouring sequences of one length: their attention is one batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub(super) row: usize,
    pub(super) sequences: usize,
    pub(super) length: usize,
}

/// Keys and values as projected, by their layer.
type Shared = BTreeMap<usize, (Tensor, Tensor)>;

/// The outputs of the linear layer that was computed last.
pub(super) type Last = Option<(Projection, Tensor)>;

/// One pass through a decoder.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) config: &'a ModelConfig,
    weights: &'a Weights,
    pub(super) patches: Option<&'a Patches>,
    ropes: RopeTables,
    pub(super) runs: Vec<Run>,
    /// By (length, window).
    masks: BTreeMap<(usize, Option<usize>), Tensor>,
    /// Weights of which rows train, by name.
    patched: Weights,
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
        for key in runs
            .iter()
            .flat_map(|r| config.layers.iter().map(|l| (r.length, l.window)))
        {
            if let Entry::Vacant(place) = masks.entry(key) {
                place.insert(mask_of(key.0, key.1, device)?);
            }
        }
        let mut graph = Self {
            config,
            weights,
            patches,
            ropes,
            runs,
            masks,
            patched: Weights::new(),
        };
        for path in [spec::EMBEDDING, spec::HEAD] {
            let name = format!("{path}.weight");
            let patched = match patches {
                Some(patches) => patches.patched(path, graph.weight(&name)?)?,
                None => None,
            };
            if let Some(patched) = patched {
                graph.patched.insert(name, patched);
            }
        }
        Ok(graph)
    }

    /// Hidden states as the head reads them, after the last norm, (T, H).
    pub(super) fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let embedded = self.embedding(ids)?; // (T) -> (T, H)
        let mut x = (embedded * self.config.embedding_scale())?;
        let inputs = self.layer_inputs(ids, &x)?;
        let mut shared = BTreeMap::new();
        for layer in 0..self.config.num_hidden_layers {
            let normed = self.norm(&x, layer, Norm::Input)?;
            let attended = match self.config.layers[layer].mixer {
                Mixer::Attention => self.attention(&normed, layer, &mut shared)?,
                Mixer::Delta => self.delta(&normed, layer)?,
                Mixer::ShortConv => self.short_conv(&normed, layer)?,
                Mixer::Mamba => self.mamba(&normed, layer)?,
            };
            let attended = self.norm(&attended, layer, Norm::AttentionOutput)?;
            x = (x + (attended * self.config.multipliers.residual)?)?;
            let read = match self.config.facts().block {
                Block::Sequential => self.norm(&x, layer, Norm::MlpInput)?,
                Block::Parallel => normed,
            };
            let activated = self.mlp(&read, layer)?;
            let activated = self.norm(&activated, layer, Norm::MlpOutput)?;
            x = (x + (activated * self.config.multipliers.residual)?)?;
            x = self.with_own_input(x, layer, inputs.as_ref())?;
        }
        self.norm_at(&x, self.config.facts().last_norm, Norm::Input)?
            / self.config.multipliers.logits
    }

    /// Logits of rows of hidden states, (N, H) -> (N, V).
    pub(super) fn head(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.linear(hidden, spec::HEAD)?;
        soft_cap(logits, self.config.logit_softcap)
    }

    /// A weight: the adapter's, where it or rows of it train, else the base's. A tied head that has none is the base's embedding.
    pub(super) fn weight(&self, name: &str) -> Result<&Tensor> {
        if let Some(patched) = self.patched.get(name) {
            return Ok(patched);
        }
        let is_tied_head =
            self.config.tie_word_embeddings && name.strip_suffix(".weight") == Some(spec::HEAD);
        let base = || match is_tied_head {
            true => self.weights.get("model.embed_tokens.weight"),
            false => self.weights.get(name),
        };
        let replaced = self.patches.and_then(|p| p.replacement(name));
        replaced
            .or_else(base)
            .ok_or_else(|| Error::Msg(format!("weight {name} is missing")))
    }

    /// Rows `ids` of the embedding, with its adapter, (T) -> (T, H).
    fn embedding(&self, ids: &Tensor) -> Result<Tensor> {
        let weight = self.weight("model.embed_tokens.weight")?;
        match self
            .patches
            .map(|p| p.embedding(spec::EMBEDDING, ids, weight))
            .transpose()?
            .flatten()
        {
            Some(rows) => Ok(rows),
            None => weight.index_select(ids, 0),
        }
    }

    /// x·Wᵀ + bias with the module's adapter, (T, in) -> (T, out).
    pub(super) fn linear(&self, x: &Tensor, path: &str) -> Result<Tensor> {
        let weight = self.weight(&format!("{path}.weight"))?;
        let patched = self
            .patches
            .map(|p| p.linear(path, x, weight))
            .transpose()?
            .flatten();
        let y = match patched {
            Some(y) => y,
            None => x.matmul(&weight.t()?)?,
        };
        let bias = format!("{path}.bias");
        match self
            .patches
            .and_then(|p| p.replacement(&bias))
            .or_else(|| self.weights.get(&bias))
        {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// A projection of a layer, (T, in) -> (T, out): a linear layer, or a range of the outputs of a stacked one, which is
    /// kept in `last` for the next range.
    pub(super) fn projection(
        &self,
        x: &Tensor,
        layer: usize,
        projection: Projection,
        last: &mut Last,
    ) -> Result<Tensor> {
        let linear = self.config.facts().linear_of(projection);
        let y = match last.take() {
            Some((same, y)) if same == linear => y,
            _ => self.linear(x, &self.config.path(linear, layer))?,
        };
        if linear == projection {
            return Ok(y);
        }
        // Its parts stand side by side once, or in each head.
        let heads = match linear.is_by_heads() {
            true => self.config.num_attention_heads,
            false => 1,
        };
        let before = linear
            .parts()
            .iter()
            .take_while(|&&part| part != projection);
        let start: usize = before.map(|&part| self.config.shape(layer, part).0).sum();
        let (rows, width) = (y.dim(0)?, self.config.shape(layer, projection).0);
        let range = y
            .reshape((rows, heads, ()))?
            .narrow(2, start / heads, width / heads)?
            .reshape((rows, width));
        *last = Some((linear, y));
        range
    }

    /// A norm of a layer; a family that does not have it leaves x as it is.
    pub(super) fn norm(&self, x: &Tensor, layer: usize, norm: Norm) -> Result<Tensor> {
        match self.config.norm_path(layer, norm) {
            Some(path) => self.norm_at(x, &path, norm),
            None => Ok(x.clone()),
        }
    }

    /// γ · x / √(mean(x²) + ε) over the last dimension; where the kind of norm does so, of x without its mean, and with a
    /// bias.
    pub(super) fn norm_at(&self, x: &Tensor, path: &str, norm: Norm) -> Result<Tensor> {
        let facts = self.config.facts();
        let x = match facts.subtracts_mean(norm) {
            true => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            false => x.clone(),
        };
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (mean_square + self.config.norm_eps)?.sqrt()?.recip()?;
        let gamma = (self.weight(&format!("{path}.weight"))? + f64::from(facts.norm_offset))?;
        let normed = x.broadcast_mul(&inverse)?.broadcast_mul(&gamma)?;
        match facts.has_norm_bias(norm) {
            true => normed.broadcast_add(self.weight(&format!("{path}.bias"))?),
            false => Ok(normed),
        }
    }

    /// Causal attention inside each sequence, (T, H).
    fn attention(&self, x: &Tensor, layer: usize, shared: &mut Shared) -> Result<Tensor> {
        let mut last = None;
        let q = self.projection(x, layer, Projection::Q, &mut last)?; // (T, heads·d)
        let gate = match self.config.facts().linear_of(Projection::Q) {
            Projection::QGate => {
                Some(self.projection(x, layer, Projection::OutputGate, &mut last)?)
            }
            _ => None,
        };
        let (k, v) = match self.config.keys_of(layer).and_then(|own| shared.get(&own)) {
            Some((k, v)) => (k.clone(), v.clone()),
            None => {
                let k = self.projection(x, layer, Projection::K, &mut last)?; // (T, kv_heads·d)
                let v = match self.config.values_are_keys(layer) {
                    true => k.clone(),
                    false => self.projection(x, layer, Projection::V, &mut last)?,
                };
                (k, v)
            }
        };
        shared.insert(layer, (k.clone(), v.clone()));
        let (q, k) = match self.config.facts().head_norms {
            HeadNorms::EachHead | HeadNorms::EachRotatedHead => (q, k),
            HeadNorms::AllHeads => (
                self.norm(&q, layer, Norm::Query)?,
                self.norm(&k, layer, Norm::Key)?,
            ),
        };
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            outputs.push(self.attend(run, layer, &q, &k, &v)?);
        }
        let mut output = if outputs.len() == 1 {
            outputs.swap_remove(0)
        } else {
            Tensor::cat(&outputs, 0)?
        };
        if let Some(gate) = gate {
            output = (output * sigmoid(&gate)?)?;
        }
        self.projection(&output, layer, Projection::O, &mut None)
    }

    /// Attention of a run of equally long sequences, rows of (T, ·) -> (B·length, heads·d).
    fn attend(
        &self,
        run: &Run,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
    ) -> Result<Tensor> {
        let Run {
            row,
            sequences,
            length,
        } = *run;
        let own = self.config.heads_of(layer);
        let (heads, kv_heads, width) = (self.config.num_attention_heads, own.kv, own.width);
        // Their norm and their rotary embedding are those of the layer whose they are.
        let of_keys = self.config.keys_of(layer).unwrap_or(layer);
        let split = |x: &Tensor, heads: usize| {
            let rows = if x.dim(0)? == sequences * length {
                x.clone()
            } else {
                x.narrow(0, row, sequences * length)?
            };
            rows.reshape((sequences, length, heads, width))?
                .transpose(1, 2)?
                .contiguous() // (B, heads, T, d)
        };
        let rotate = |x: Tensor, rope: Option<usize>| match rope {
            Some(rope) => self
                .ropes
                .of(rope, length)?
                .apply(&x, self.config.facts().rotary_pairs),
            None => Ok(x),
        };
        let place = |x: Tensor, layer: usize, norm, rope| match self.config.facts().head_norms {
            HeadNorms::EachHead => rotate(self.norm(&x, layer, norm)?, rope),
            HeadNorms::EachRotatedHead => self.norm(&rotate(x, rope)?, layer, norm),
            HeadNorms::AllHeads => rotate(x, rope),
        };
        let q = place(
            split(q, heads)?,
            layer,
            Norm::Query,
            self.config.query_rope(layer),
        )?;
        let q = (q * self.config.attention_scale())?;
        let rope = self.config.layers[of_keys].rope;
        let k = place(split(k, kv_heads)?, of_keys, Norm::Key, rope)?;
        let v = self.values(split(v, kv_heads)?)?;
        // The heads of a group share their keys: their queries are stacked, so that keys need no copies.
        let grouped = q.reshape((sequences, kv_heads, heads / kv_heads * length, width))?;
        let scores = grouped
            .matmul(&k.t()?)?
            .reshape((sequences, heads, length, length))?;
        let scores = soft_cap(scores, self.config.attention_softcap)?;
        let sinks = self.config.sinks(layer);
        let sinks = sinks.map(|name| self.weight(&name)).transpose()?;
        let mask = &self.masks[&(length, self.config.layers[layer].window)];
        let (weights, sum) = masked_softmax(&scores, mask, sinks)?;
        let weights = weights.reshape((sequences, kv_heads, heads / kv_heads * length, length))?;
        let output = weights
            .matmul(&v)?
            .reshape((sequences, heads, length, width))?
            .broadcast_div(&sum)?;
        output
            .transpose(1, 2)?
            .reshape((sequences * length, heads * width))
    }
}

/// 1/(1 + e⁻ˣ).
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// Groups neighbouring sequences of equal length; empty ones have no rows.
fn runs(starts: &[usize]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for bounds in starts.windows(2) {
        let length = bounds[1] - bounds[0];
        match runs.last_mut() {
            _ if length == 0 => {}
            Some(run) if run.length == length => run.sequences += 1,
            _ => runs.push(Run {
                row: bounds[0],
                sequences: 1,
                length,
            }),
        }
    }
    runs
}

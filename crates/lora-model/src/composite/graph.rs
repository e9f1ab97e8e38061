//! The decoder as a candle graph: ids → hidden states → logits.
use super::balance::Routed;
use super::patches::Patches;
use super::rope::RopeTables;
use super::softmax::{mask_of, soft_cap};
use crate::{Packed, spec};
use candle_core::{D, Device, Error, Result, Tensor};
use lora_checkpoint::{Block, Mixer, ModelConfig, Norm, Projection};
use std::cell::RefCell;
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
pub(super) type Shared = BTreeMap<usize, (Tensor, Tensor)>;

/// The outputs of the linear layer that was computed last.
pub(super) type Last = Option<(Projection, Tensor)>;

/// One pass through a decoder.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) config: &'a ModelConfig,
    weights: &'a Weights,
    pub(super) patches: Option<&'a Patches>,
    pub(super) ropes: RopeTables,
    pub(super) runs: Vec<Run>,
    /// By (length, window).
    pub(super) masks: BTreeMap<(usize, Option<usize>), Tensor>,
    /// Weights of which rows train, by name.
    patched: Weights,
    /// What the routers of its layers have made of the tokens, where that is asked for.
    routed: Option<RefCell<Vec<Routed>>>,
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
            routed: None,
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

    /// The same, of which [`Self::routed`] is asked afterwards.
    pub(super) fn with_routers(mut self, on: bool) -> Self {
        self.routed = on.then(RefCell::default);
        self
    }

    /// A layer's router has decided.
    pub(super) fn route(&self, probabilities: &Tensor, chosen: &Tensor) {
        if let Some(routed) = &self.routed {
            routed.borrow_mut().push(Routed {
                probabilities: probabilities.clone(),
                chosen: chosen.clone(),
            });
        }
    }

    /// What the routers have made of the tokens, layer by layer.
    pub(super) fn routed(&self) -> Vec<Routed> {
        self.routed.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// Hidden states as the head reads them, after the last norm, (T, H).
    pub(super) fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let embedded = self.embedding(ids)?; // (T) -> (T, H)
        let mut x = (embedded * self.config.embedding_scale())?;
        let inputs = self.layer_inputs(ids, &x)?;
        let mut shared = BTreeMap::new();
        for layer in 0..self.config.num_hidden_layers {
            let normed = self.norm(&x, layer, Norm::Input)?;
            for mixer in self.config.layers[layer].mixers() {
                let mixed = match mixer {
                    Mixer::Attention => self.attention(&normed, layer, &mut shared)?,
                    Mixer::Delta => self.delta(&normed, layer)?,
                    Mixer::ShortConv => self.short_conv(&normed, layer)?,
                    Mixer::Mamba => self.mamba(&normed, layer)?,
                };
                let mixed = self.norm(&mixed, layer, Norm::AttentionOutput)?;
                x = (x + (mixed * self.config.multipliers.residual)?)?;
            }
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

    /// A linear layer of a layer between the model's factors.
    fn with_factors(&self, x: &Tensor, layer: usize, linear: Projection) -> Result<Tensor> {
        let path = self.config.path(linear, layer);
        let y = match self.config.input_factor(linear) {
            1.0 => self.linear(x, &path)?,
            factor => self.linear(&(x * factor)?, &path)?,
        };
        let Some(factors) = self.config.output_factors(layer, linear) else {
            return Ok(y);
        };
        let each = factors.iter();
        let each = each.flat_map(|&(rows, factor)| std::iter::repeat_n(factor as f32, rows));
        let each: Vec<f32> = each.collect();
        y.broadcast_mul(&Tensor::new(each, y.device())?)
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
            _ => self.with_factors(x, layer, linear)?,
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

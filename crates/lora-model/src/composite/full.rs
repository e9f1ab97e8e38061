//! [`FullModel`]: all weights of a decoder as parameters, for training a small one from scratch.
use super::graph::{Graph, Weights};
use super::loss::{Ask, Supervised};
use super::route::{backward, select};
use crate::{Base, Error, Packed, SequenceLoss};
use candle_core::{Device, Tensor, Var};
use lora_checkpoint::{ModelConfig, Stored};
use lora_random::Generator;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

/// Tokens in one graph, at least: small enough for its values to stay in a core's cache. A constant, so that the result does
/// not depend on the number of threads. (The chunks already keep all threads busy: candle's own pool beside them, that is a
/// process without CANDLE_NUM_THREADS=1, makes a step seven times as long.)
const CHUNK_TOKENS: usize = 256;

/// All weights of a decoder as one flat vector, for `--method full`.
#[derive(Debug, Clone)]
pub struct FullModel {
    /// Shape.
    pub config: ModelConfig,
    /// Hugging Face name, shape and place in `params` of every weight.
    pub tensors: Vec<(String, Vec<usize>, Range<usize>)>,
    /// Values.
    pub params: Vec<f32>,
}

impl FullModel {
    /// A copy of a base's weights.
    pub fn from_base(base: &Base) -> Result<Self, Error> {
        refuse_buffers(base.config())?;
        let checkpoint = base.checkpoint();
        let (mut tensors, mut params) = (Vec::new(), Vec::new());
        for name in checkpoint.tensor_names() {
            let view = checkpoint.tensor(&name)?;
            let start = params.len();
            params.extend(view.to_f32());
            tensors.push((name, view.shape().to_vec(), start..params.len()));
        }
        Ok(Self {
            config: checkpoint.config().clone(),
            tensors,
            params,
        })
    }

    /// Random weights: N(0, 0.02²) matrices (transformers' `initializer_range`), norms γ = 1, biases 0, xIELU's α = 0.8; from a generator keyed by
    /// (seed, name).
    pub fn random(config: ModelConfig, seed: u64) -> Result<Self, Error> {
        refuse_buffers(&config)?;
        let (mut tensors, mut params) = (Vec::new(), Vec::new());
        for (name, shape) in config.weights() {
            let start = params.len();
            let length = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let end = length
                .and_then(|n| n.checked_add(start))
                .filter(|&end| params.try_reserve(end - start).is_ok())
                .ok_or_else(|| {
                    Error::invalid(format!("no memory for weight {name} of shape {shape:?}"))
                })?;
            if shape.len() > 1 {
                params.resize(end, 0.0);
                Generator::of_weight(seed, &name).normal(0.02, &mut params[start..]);
            } else {
                params.resize(end, config.initial(&name));
            }
            tensors.push((name, shape, start..end));
        }
        Ok(Self {
            config,
            tensors,
            params,
        })
    }

    /// Writes `model.safetensors` into an existing folder in bf16 or f32.
    pub fn save(&self, dir: &Path, bf16: bool) -> Result<(), Error> {
        let path = dir.join("model.safetensors");
        let fail =
            |cause: String| Error::invalid(format!("failed to write {}: {cause}", path.display()));
        let narrow: Vec<half::bf16> = match bf16 {
            true => self
                .params
                .iter()
                .map(|&v| half::bf16::from_f32(v))
                .collect(),
            false => Vec::new(),
        };
        let constants = self.config.constants();
        let (names, values): (Vec<String>, Vec<f32>) = constants.into_iter().unzip();
        let rounded: Vec<half::bf16> = values.iter().map(|&v| half::bf16::from_f32(v)).collect();
        let dtype = if bf16 { Dtype::BF16 } else { Dtype::F32 };
        let all: &[u8] = match bf16 {
            true => bytemuck::cast_slice(&narrow),
            false => bytemuck::cast_slice(&self.params),
        };
        let stored = self.stored(all);
        let mut views = Vec::with_capacity(stored.len() + names.len());
        for (tensor, bytes) in &stored {
            let view = TensorView::new(dtype, tensor.shape.clone(), bytes);
            views.push((&tensor.name, view.map_err(|e| fail(e.to_string()))?));
        }
        for (index, name) in names.iter().enumerate() {
            let (dtype, bytes) = match bf16 {
                true => (Dtype::BF16, bytemuck::bytes_of(&rounded[index])),
                false => (Dtype::F32, bytemuck::bytes_of(&values[index])),
            };
            let view = TensorView::new(dtype, Vec::new(), bytes);
            views.push((name, view.map_err(|e| fail(e.to_string()))?));
        }
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).map_err(|e| fail(e.to_string()))?;
        std::fs::write(&path, bytes).map_err(|e| fail(e.to_string()))
    }

    /// The tensors of a file and the bytes of each, from those of all parameters.
    fn stored<'a>(&self, all: &'a [u8]) -> Vec<(Stored, Cow<'a, [u8]>)> {
        let width = all.len() / self.params.len().max(1);
        let places: BTreeMap<&str, &Range<usize>> = self
            .tensors
            .iter()
            .map(|(name, _, place)| (name.as_str(), place))
            .collect();
        let bytes = |name: &String| {
            let place = places[name.as_str()];
            &all[place.start * width..place.end * width]
        };
        let weights = self.tensors.iter();
        let weights = weights.map(|(name, shape, _)| (name.clone(), shape.clone()));
        let tensors = self.config.stored(weights).into_iter();
        tensors
            .map(|tensor| {
                let bytes = match tensor.weights.as_slice() {
                    [one] => Cow::Borrowed(bytes(one)),
                    stack => Cow::Owned(stack.iter().map(bytes).collect::<Vec<_>>().concat()),
                };
                (tensor, bytes)
            })
            .collect()
    }

    /// Loss of each sequence.
    pub fn losses(&self, packed: &Packed) -> Result<Vec<SequenceLoss>, Error> {
        let weights =
            self.weights(|values, shape| Tensor::from_slice(values, shape, &Device::Cpu))?;
        let losses = chunks(packed)
            .into_par_iter()
            .map(|chunk| Ok(self.forward(&weights, &chunk, Ask::Losses)?.0));
        Ok(losses.collect::<Result<Vec<_>, Error>>()?.concat())
    }

    /// Loss of each sequence; adds `scale` · d(Σ nll)/d(params) to `gradients`.
    pub fn gradients(
        &self,
        packed: &Packed,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error> {
        let weights =
            self.weights(|v, shape| Ok(Var::from_slice(v, shape, &Device::Cpu)?.into_inner()))?;
        let one = |chunk: Packed| {
            let (losses, scalar) = self.forward(&weights, &chunk, Ask::Gradients)?;
            let mut part = vec![0f32; self.params.len()];
            let variables = self
                .tensors
                .iter()
                .map(|(name, _, place)| (&weights[name], place.clone()));
            backward(scalar, variables, scale, &mut part)?;
            Ok((losses, part))
        };
        let mut losses = Vec::with_capacity(packed.sequences());
        // A few chunks at a time, to bound memory; their gradients are summed in the pack's order.
        for group in chunks(packed).chunks(8) {
            let parts = group
                .par_iter()
                .map(|chunk| one(chunk.clone()))
                .collect::<Result<Vec<_>, Error>>()?;
            for (some, part) in parts {
                losses.extend(some);
                gradients
                    .iter_mut()
                    .zip(part)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(losses)
    }

    fn weights(
        &self,
        tensor: impl Fn(&[f32], &[usize]) -> candle_core::Result<Tensor>,
    ) -> Result<Weights, Error> {
        let named = self.tensors.iter().map(|(name, shape, place)| {
            Ok((name.clone(), tensor(&self.params[place.clone()], shape)?))
        });
        Ok(named.collect::<candle_core::Result<BTreeMap<_, _>>>()?)
    }

    /// Losses of a pack, and the scalar to differentiate if asked for and if any row is supervised.
    fn forward(
        &self,
        weights: &Weights,
        packed: &Packed,
        ask: Ask,
    ) -> Result<(Vec<SequenceLoss>, Option<Tensor>), Error> {
        packed.check_vocabulary(self.config.vocab_size)?;
        let supervised = Supervised::of(packed);
        if supervised.rows.is_empty() {
            return Ok((vec![SequenceLoss::default(); packed.sequences()], None));
        }
        let graph = Graph::new(&self.config, weights, None, packed, &Device::Cpu)?;
        let ids = Tensor::from_slice(&packed.input_ids, packed.tokens(), &Device::Cpu)?;
        let logits = graph.head(&select(&graph.hidden(&ids)?, &supervised)?)?;
        supervised.losses(&logits, packed.sequences(), ask)
    }
}

/// Refuses a model with numbers that transformers keeps as buffers (as parameters they would train), or with experts in another
/// form than theirs.
fn refuse_buffers(config: &ModelConfig) -> Result<(), Error> {
    let facts = config.facts();
    let family = facts.model_type;
    let reason = match facts.output_scale {
        Some(name) => format!("its {name} are no parameters"),
        // Their stacks are turned round in files, and a step would have to leave MXFP4.
        None if facts.experts.is_some_and(|own| own.biased) => {
            "its experts stay as they are".to_owned()
        }
        None => return Ok(()),
    };
    let message = format!("all weights of a {family} can't be trained: {reason}");
    Err(Error::invalid(message).hint("train an adapter"))
}

/// Splits a pack between sequences into packs of at least [`CHUNK_TOKENS`] tokens (the last may be shorter).
fn chunks(packed: &Packed) -> Vec<Packed> {
    let mut chunks: Vec<Packed> = Vec::new();
    for bounds in packed.starts.windows(2) {
        let (ids, labels) = (
            &packed.input_ids[bounds[0]..bounds[1]],
            &packed.labels[bounds[0]..bounds[1]],
        );
        let full = chunks.last().is_none_or(|c| c.tokens() >= CHUNK_TOKENS);
        if full {
            chunks.push(Packed {
                starts: vec![0],
                ..Packed::default()
            });
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.input_ids.extend_from_slice(ids);
            chunk.labels.extend_from_slice(labels);
            chunk.starts.push(chunk.input_ids.len());
        }
    }
    chunks
}

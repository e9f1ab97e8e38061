//! [`FullModel`]: all weights of a decoder as parameters, for training a small one from scratch.
use crate::{Base, Error};
use lora_checkpoint::{ModelConfig, Stored};
use lora_random::Generator;
use safetensors::tensor::{Dtype, TensorView};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

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
}

/// Refuses a model with numbers that transformers keeps as buffers (as parameters they would train), or with experts in another
/// form than theirs.
fn refuse_buffers(config: &ModelConfig) -> Result<(), Error> {
    let facts = config.facts();
    let family = facts.model_type;
    let reason = match facts.output_scale {
        Some(name) => format!("its {name} are no parameters"),
        None if config.experts.is_some_and(|own| own.choice_bias) => {
            "what it adds to experts' scores is no parameter".to_owned()
        }
        // Their stacks are turned round in files, and a step would have to leave MXFP4.
        None if facts.experts.is_some_and(|own| own.biased) => {
            "its experts stay as they are".to_owned()
        }
        None => return Ok(()),
    };
    let message = format!("all weights of a {family} can't be trained: {reason}");
    Err(Error::invalid(message).hint("train an adapter"))
}

//! The weights of a base, borrowed where they lie. Norms and biases are copies, in whose place an adapter may put its own.
use super::binding::Binding;
use super::matrix::Matrix;
use super::mixture::Mixture;
use super::norms::{NormLayer, NormPart};
use super::states::{self, DeltaLayer, MambaLayer};
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::{Activation, Mlp, Norm};
use lora_kernels::activation::Plain;
use lora_kernels::glu;

/// A linear layer of the base.
#[derive(Debug)]
pub(super) struct Linear<'b> {
    pub(super) weight: Matrix<'b>,
    pub(super) bias: Option<Vec<f32>>,
    /// What the bias is multiplied by: 1 over what the layer's input is multiplied by, for its whole output is multiplied by that.
    pub(super) bias_gain: f32,
}

/// What lies between the projections of an MLP.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activated {
    /// activation(gate)∘up.
    Gated(glu::Activation),
    /// Of up alone.
    Plain(Plain),
}

/// One decoder layer.
#[derive(Debug)]
pub(super) struct Layer<'b> {
    pub(super) input_norm: Option<NormLayer>,
    /// Of each head, (d), or of all of them.
    pub(super) query_norm: Option<NormLayer>,
    pub(super) key_norm: Option<NormLayer>,
    pub(super) attention_output_norm: Option<NormLayer>,
    pub(super) mlp_norm: Option<NormLayer>,
    pub(super) mlp_output_norm: Option<NormLayer>,
    pub(super) activated: Activated,
    /// Of the inputs of all layers, and their table: in the first layer.
    pub(super) per_layer_input_norm: Option<NormLayer>,
    pub(super) per_layer_table: Option<Matrix<'b>>,
    /// Of what the layer makes of its own input.
    pub(super) per_layer_output_norm: Option<NormLayer>,
    /// Of each head of the values, γ = 1.
    pub(super) value_norm: Option<NormLayer>,
    /// The score of each head's sink.
    pub(super) sinks: Option<Vec<f32>>,
    /// What its output is multiplied by.
    pub(super) output_scale: Option<f32>,
    /// The layer whose keys and values it reads in the place of its own.
    pub(super) keys_of: Option<usize>,
    /// Whether others read its own.
    pub(super) shares_keys: bool,
    /// The experts in the place of an MLP.
    pub(super) mixture: Option<Mixture<'b>>,
    /// Of a layer that keeps a state.
    pub(super) delta: Option<DeltaLayer>,
    /// The taps of a layer of a short convolution, (taps, H).
    pub(super) short_conv: Option<Vec<f32>>,
    /// Of a layer of Mamba-2.
    pub(super) mamba: Option<MambaLayer>,
    /// The layer's linear layers in the order of the forward pass.
    linears: Vec<Linear<'b>>,
    /// Place of each projection in `linears`, by [`Projection::index`]; behind its end for those that the layer lacks.
    places: [usize; Projection::ALL.len()],
}

impl<'b> Layer<'b> {
    /// One of its linear layers.
    ///
    /// # Panics
    /// If it does not have it.
    pub(super) fn linear(&self, projection: Projection) -> &Linear<'b> {
        &self.linears[self.places[projection.index()]]
    }

    fn norm_mut(&mut self, norm: Norm) -> Option<&mut NormLayer> {
        match norm {
            Norm::Input => self.input_norm.as_mut(),
            Norm::Query => self.query_norm.as_mut(),
            Norm::Key => self.key_norm.as_mut(),
            Norm::AttentionOutput => self.attention_output_norm.as_mut(),
            Norm::MlpInput => self.mlp_norm.as_mut(),
            Norm::MlpOutput => self.mlp_output_norm.as_mut(),
            Norm::PerLayerInput => self.per_layer_input_norm.as_mut(),
            Norm::PerLayerOutput => self.per_layer_output_norm.as_mut(),
        }
    }
}

/// A norm's or a bias' place in the decoder.
#[derive(Debug, Clone, Copy)]
enum Vector {
    Norm(Option<usize>, Norm, NormPart),
    Bias(usize, Projection),
}

/// All weights of a decoder.
#[derive(Debug)]
pub(super) struct Weights<'b> {
    pub(super) embedding: Matrix<'b>,
    pub(super) layers: Vec<Layer<'b>>,
    pub(super) norm: NormLayer,
    /// The embedding again if tied.
    pub(super) head: Linear<'b>,
    /// Norms and biases that are not the base's own at present.
    changed: Vec<Vector>,
}

impl<'b> Weights<'b> {
    /// Puts the norms and biases that an adapter trains in the place of the base's, and the base's back where it trains none.
    pub(super) fn adopt(&mut self, base: &'b Base, binding: &Binding<'_>) -> Result<(), Error> {
        let source = Source { base };
        for vector in std::mem::take(&mut self.changed) {
            let own = match vector {
                Vector::Norm(layer, norm, part) => {
                    let path = match layer {
                        None => Some(base.config().facts().last_norm.to_owned()),
                        Some(layer) => base.config().norm_path(layer, norm),
                    };
                    match (path, part) {
                        (Some(path), NormPart::Weight) => source.gamma(&path)?,
                        (Some(path), NormPart::Bias) => source.vector(&format!("{path}.bias"))?,
                        (None, _) => continue,
                    }
                }
                Vector::Bias(layer, projection) => {
                    let path = base.config().path(projection, layer);
                    source.vector(&format!("{path}.bias"))?
                }
            };
            self.set(vector, &own);
        }
        let facts = base.config().facts();
        for (layer, norm, part, values) in binding.norms() {
            let offset = match part {
                NormPart::Weight => facts.norm_offset,
                NormPart::Bias => 0.0,
            };
            let values: Vec<f32> = values.iter().map(|v| v + offset).collect();
            self.set(Vector::Norm(layer, norm, part), &values);
            self.changed.push(Vector::Norm(layer, norm, part));
        }
        for (layer, projection, values) in binding.biases() {
            self.set(Vector::Bias(layer, projection), values);
            self.changed.push(Vector::Bias(layer, projection));
        }
        Ok(())
    }

    fn set(&mut self, vector: Vector, values: &[f32]) {
        let place = match vector {
            Vector::Norm(None, _, part) => self.norm.vector_mut(part),
            Vector::Norm(Some(layer), norm, part) => {
                let norm = self.layers[layer].norm_mut(norm);
                norm.and_then(|norm| norm.vector_mut(part))
            }
            Vector::Bias(layer, projection) => {
                let layer = &mut self.layers[layer];
                layer.linears[layer.places[projection.index()]]
                    .bias
                    .as_mut()
            }
        };
        if let Some(place) = place.filter(|place| place.len() == values.len()) {
            place.copy_from_slice(values);
        }
    }

    pub(super) fn of(base: &'b Base) -> Result<Self, Error> {
        let source = Source { base };
        let head = if base.config().tie_word_embeddings {
            "model.embed_tokens.weight"
        } else {
            "lm_head.weight"
        };
        Ok(Self {
            embedding: source.matrix("model.embed_tokens.weight")?,
            layers: (0..base.config().num_hidden_layers)
                .map(|i| source.layer(i))
                .collect::<Result<_, _>>()?,
            norm: source.norm(base.config().facts().last_norm, Norm::Input)?,
            head: Linear {
                weight: source.matrix(head)?,
                bias: None,
                bias_gain: 1.0,
            },
            changed: Vec::new(),
        })
    }
}

/// Where weights are read from.
#[derive(Debug, Clone, Copy)]
struct Source<'b> {
    base: &'b Base,
}

impl<'b> Source<'b> {
    fn matrix(self, name: &str) -> Result<Matrix<'b>, Error> {
        Ok(Matrix(self.base.checkpoint().tensor(name)?))
    }

    fn vector(self, name: &str) -> Result<Vec<f32>, Error> {
        Ok(self.base.checkpoint().tensor(name)?.to_f32())
    }

    fn gamma(self, path: &str) -> Result<Vec<f32>, Error> {
        let offset = self.base.config().facts().norm_offset;
        let mut gamma = self.vector(&format!("{path}.weight"))?;
        gamma.iter_mut().for_each(|g| *g += offset);
        Ok(gamma)
    }

    /// The norm at a path; the last norm is of the kind of all norms of the hidden state.
    fn norm(self, path: &str, norm: Norm) -> Result<NormLayer, Error> {
        let facts = self.base.config().facts();
        let bias = facts.has_norm_bias(norm);
        Ok(NormLayer {
            gamma: self.gamma(path)?,
            bias: bias
                .then(|| self.vector(&format!("{path}.bias")))
                .transpose()?,
            subtracts_mean: facts.subtracts_mean(norm),
        })
    }

    fn activated(self, layer: usize) -> Result<Activated, Error> {
        let of = |activation| match activation {
            Activation::Silu => glu::Activation::Silu,
            Activation::GeluTanh => glu::Activation::GeluTanh,
        };
        Ok(match self.base.config().facts().mlp {
            Mlp::Gated(activation) => Activated::Gated(of(activation)),
            Mlp::Plain(activation) => Activated::Plain(Plain::Of(of(activation))),
            Mlp::Xielu => Activated::Plain(Plain::Xielu(self.base.xielu(layer)?)),
        })
    }

    /// The norm of values, which has no weight.
    fn value_norm(self, layer: usize) -> Option<NormLayer> {
        let config = self.base.config();
        let has = config.facts().normalised_values && config.keys_of(layer).is_none();
        has.then(|| NormLayer {
            gamma: vec![1.0; config.heads_of(layer).width],
            bias: None,
            subtracts_mean: false,
        })
    }

    /// The number that the layer's output is multiplied by.
    fn output_scale(self, layer: usize) -> Result<Option<f32>, Error> {
        let Some(name) = self.base.config().output_scale(layer) else {
            return Ok(None);
        };
        Ok(self.vector(&name)?.first().copied())
    }

    /// The table of all layers' inputs, for the first layer.
    fn per_layer_table(self, layer: usize) -> Result<Option<Matrix<'b>>, Error> {
        let table = self.base.config().per_layer_table();
        let own = table.filter(|_| layer == 0);
        own.map(|(name, _)| self.matrix(&name)).transpose()
    }

    fn linear(self, layer: usize, projection: Projection) -> Result<Linear<'b>, Error> {
        let path = self.base.config().path(projection, layer);
        let biased = self.base.config().has_bias(projection);
        let bias = biased
            .then(|| self.vector(&format!("{path}.bias")))
            .transpose()?;
        Ok(Linear {
            weight: self.matrix(&format!("{path}.weight"))?,
            bias,
            bias_gain: (1.0 / self.base.config().input_factor(projection)) as f32,
        })
    }

    fn layer(self, layer: usize) -> Result<Layer<'b>, Error> {
        let config = self.base.config();
        let own = config.projections_of(layer);
        let activated = self.activated(layer)?;
        let mixture = match activated {
            Activated::Gated(activation) => Mixture::of(self.base, layer, activation)?,
            Activated::Plain(_) => None,
        };
        let norm = |norm| {
            config
                .norm_path(layer, norm)
                .map(|path| self.norm(&path, norm))
                .transpose()
        };
        Ok(Layer {
            input_norm: norm(Norm::Input)?,
            query_norm: norm(Norm::Query)?,
            key_norm: norm(Norm::Key)?,
            attention_output_norm: norm(Norm::AttentionOutput)?,
            mlp_norm: norm(Norm::MlpInput)?,
            mlp_output_norm: norm(Norm::MlpOutput)?,
            per_layer_input_norm: norm(Norm::PerLayerInput)?,
            per_layer_table: self.per_layer_table(layer)?,
            per_layer_output_norm: norm(Norm::PerLayerOutput)?,
            value_norm: self.value_norm(layer),
            sinks: config
                .sinks(layer)
                .map(|name| self.vector(&name))
                .transpose()?,
            output_scale: self.output_scale(layer)?,
            keys_of: config.keys_of(layer),
            shares_keys: config.shares_keys(layer),
            activated,
            mixture,
            delta: DeltaLayer::of(self.base, layer)?,
            short_conv: states::short_conv(self.base, layer)?,
            mamba: MambaLayer::of(self.base, layer)?,
            linears: own
                .iter()
                .map(|&p| self.linear(layer, p))
                .collect::<Result<_, _>>()?,
            places: Projection::ALL.map(|p| own.iter().position(|&o| o == p).unwrap_or(own.len())),
        })
    }
}

//! The weights of a base, borrowed where they lie. Norms and biases are copies, in whose place an adapter may put its own.
use super::binding::Binding;
use super::matrix::Matrix;
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::Norm;

/// A linear layer of the base.
#[derive(Debug)]
pub(super) struct Linear<'b> {
    pub(super) weight: Matrix<'b>,
    pub(super) bias: Option<Vec<f32>>,
}

/// One decoder layer. The weights of norms are γ, whatever the file adds to them.
#[derive(Debug)]
pub(super) struct Layer<'b> {
    pub(super) input_norm: Option<Vec<f32>>,
    /// Of each head, (d), or of all of them.
    pub(super) query_norm: Option<Vec<f32>>,
    pub(super) key_norm: Option<Vec<f32>>,
    pub(super) attention_output_norm: Option<Vec<f32>>,
    pub(super) mlp_norm: Option<Vec<f32>>,
    pub(super) mlp_output_norm: Option<Vec<f32>>,
    /// The family's linear layers in the order of the forward pass.
    linears: Vec<Linear<'b>>,
    /// Place of each projection in `linears`, by [`Projection::index`]; behind its end for those that the family lacks.
    places: [usize; Projection::ALL.len()],
}

impl<'b> Layer<'b> {
    /// A linear layer of the family.
    ///
    /// # Panics
    /// If the family does not have it.
    pub(super) fn linear(&self, projection: Projection) -> &Linear<'b> {
        &self.linears[self.places[projection.index()]]
    }

    fn norm_mut(&mut self, norm: Norm) -> Option<&mut Vec<f32>> {
        match norm {
            Norm::Input => self.input_norm.as_mut(),
            Norm::Query => self.query_norm.as_mut(),
            Norm::Key => self.key_norm.as_mut(),
            Norm::AttentionOutput => self.attention_output_norm.as_mut(),
            Norm::MlpInput => self.mlp_norm.as_mut(),
            Norm::MlpOutput => self.mlp_output_norm.as_mut(),
        }
    }
}

/// A norm's or a bias' place in the decoder.
#[derive(Debug, Clone, Copy)]
enum Vector {
    Norm(Option<usize>, Norm),
    Bias(usize, Projection),
}

/// All weights of a decoder.
#[derive(Debug)]
pub(super) struct Weights<'b> {
    pub(super) embedding: Matrix<'b>,
    pub(super) layers: Vec<Layer<'b>>,
    pub(super) norm: Vec<f32>,
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
                Vector::Norm(None, _) => source.gamma("model.norm")?,
                Vector::Norm(Some(layer), norm) => match base.config().norm_path(layer, norm) {
                    Some(path) => source.gamma(&path)?,
                    None => continue,
                },
                Vector::Bias(layer, projection) => {
                    source.vector(&format!("{}.bias", projection.path(layer)))?
                }
            };
            self.set(vector, &own);
        }
        let offset = base.config().facts().norm_offset;
        for (layer, norm, values) in binding.norms() {
            let gamma: Vec<f32> = values.iter().map(|g| g + offset).collect();
            self.set(Vector::Norm(layer, norm), &gamma);
            self.changed.push(Vector::Norm(layer, norm));
        }
        for (layer, projection, values) in binding.biases() {
            self.set(Vector::Bias(layer, projection), values);
            self.changed.push(Vector::Bias(layer, projection));
        }
        Ok(())
    }

    fn set(&mut self, vector: Vector, values: &[f32]) {
        let place = match vector {
            Vector::Norm(None, _) => Some(&mut self.norm),
            Vector::Norm(Some(layer), norm) => self.layers[layer].norm_mut(norm),
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
            norm: source.gamma("model.norm")?,
            head: Linear {
                weight: source.matrix(head)?,
                bias: None,
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

    fn linear(self, layer: usize, projection: Projection) -> Result<Linear<'b>, Error> {
        let path = projection.path(layer);
        let biased = self.base.config().has_bias(projection);
        let bias = biased
            .then(|| self.vector(&format!("{path}.bias")))
            .transpose()?;
        Ok(Linear {
            weight: self.matrix(&format!("{path}.weight"))?,
            bias,
        })
    }

    fn layer(self, layer: usize) -> Result<Layer<'b>, Error> {
        let config = self.base.config();
        let own = config.projections();
        let norm = |norm| {
            config
                .norm_path(layer, norm)
                .map(|path| self.gamma(&path))
                .transpose()
        };
        Ok(Layer {
            input_norm: norm(Norm::Input)?,
            query_norm: norm(Norm::Query)?,
            key_norm: norm(Norm::Key)?,
            attention_output_norm: norm(Norm::AttentionOutput)?,
            mlp_norm: norm(Norm::MlpInput)?,
            mlp_output_norm: norm(Norm::MlpOutput)?,
            linears: own
                .iter()
                .map(|&p| self.linear(layer, p))
                .collect::<Result<_, _>>()?,
            places: Projection::ALL.map(|p| own.iter().position(|&o| o == p).unwrap_or(own.len())),
        })
    }
}

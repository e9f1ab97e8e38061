//! The frozen weights of a base, borrowed where they lie.
use crate::spec::{PROJECTIONS, Projection};
use crate::{Base, Error};
use lora_checkpoint::TensorView;
use lora_kernels::Rows;

/// A weight matrix in its file, as the kernels read it.
#[derive(Debug)]
pub(super) struct Matrix<'b>(TensorView<'b>);

impl Rows for Matrix<'_> {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn columns(&self) -> usize {
        self.0.columns()
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        self.0.read_rows(first, out);
    }
    fn as_f32(&self) -> Option<&[f32]> {
        self.0.as_f32()
    }
}

/// A frozen linear layer.
#[derive(Debug)]
pub(super) struct Linear<'b> {
    pub(super) weight: Matrix<'b>,
    pub(super) bias: Option<Vec<f32>>,
}

/// One decoder layer.
#[derive(Debug)]
pub(super) struct Layer<'b> {
    pub(super) input_norm: Vec<f32>,
    pub(super) post_attention_norm: Vec<f32>,
    /// In the order of [`PROJECTIONS`].
    pub(super) projections: Vec<Linear<'b>>,
}

/// All weights of a decoder.
#[derive(Debug)]
pub(super) struct Weights<'b> {
    pub(super) embedding: Matrix<'b>,
    pub(super) layers: Vec<Layer<'b>>,
    pub(super) norm: Vec<f32>,
    /// The embedding again if tied.
    pub(super) head: Matrix<'b>,
}

impl<'b> Weights<'b> {
    pub(super) fn of(base: &'b Base) -> Result<Self, Error> {
        let (checkpoint, config) = (base.checkpoint(), base.config());
        let matrix = |name: &str| -> Result<Matrix<'b>, Error> { Ok(Matrix(checkpoint.tensor(name)?)) };
        let vector = |name: &str| -> Result<Vec<f32>, Error> { Ok(checkpoint.tensor(name)?.to_f32()) };
        let linear = |layer: usize, projection: Projection| -> Result<Linear<'b>, Error> {
            let path = projection.path(layer);
            let bias = projection.has_bias(config).then(|| vector(&format!("{path}.bias"))).transpose()?;
            Ok(Linear { weight: matrix(&format!("{path}.weight"))?, bias })
        };
        let layer = |i: usize| -> Result<Layer<'b>, Error> {
            Ok(Layer {
                input_norm: vector(&format!("model.layers.{i}.input_layernorm.weight"))?,
                post_attention_norm: vector(&format!("model.layers.{i}.post_attention_layernorm.weight"))?,
                projections: PROJECTIONS.iter().map(|&p| linear(i, p)).collect::<Result<_, _>>()?,
            })
        };
        let head = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        Ok(Self {
            embedding: matrix("model.embed_tokens.weight")?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            norm: vector("model.norm.weight")?,
            head: matrix(head)?,
        })
    }
}

//! A base model, checked against its spec.
use crate::{Error, spec};
use lora_checkpoint::{Checkpoint, ModelConfig, Vocabulary, XIELU_BETA, XIELU_EPS, XieluNumber};
use lora_core::{BaseModel, Module};
use lora_kernels::activation::Xielu;
use std::path::Path;

/// A base model: its checkpoint, mmapped, with every weight that its family needs present and of the right shape.
#[derive(Debug)]
pub struct Base {
    checkpoint: Checkpoint,
}

impl Base {
    /// Opens a model; the checkpoint checks that it has every weight.
    ///
    /// # Errors
    /// If the files are not readable, or a weight is missing or of another shape (both are named).
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            checkpoint: Checkpoint::open(path)?,
        })
    }

    /// The same base with a larger vocabulary, see [`Checkpoint::with_vocabulary`].
    ///
    /// # Errors
    /// If tokens can't be added to this model.
    pub fn with_vocabulary(self, added: Vocabulary) -> Result<Self, Error> {
        let checkpoint = self.checkpoint.with_vocabulary(added)?;
        Ok(Self { checkpoint })
    }

    /// The files below.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Shape of the decoder.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    /// Bytes of all weights in their files, and of those that are in memory beside them because their vocabulary was made
    /// larger.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let weights = self.config().weights();
        let stored: u64 = weights
            .iter()
            .filter_map(|(name, _)| Some(self.checkpoint.tensor(name).ok()?.stored_bytes() as u64))
            .sum();
        stored + self.checkpoint.enlarged_bytes() as u64
    }

    /// What xIELU has learned in a layer.
    pub(crate) fn xielu(&self, layer: usize) -> Result<Xielu, Error> {
        let mut learned = [0.0; XieluNumber::ALL.len()];
        for (to, number) in learned.iter_mut().zip(XieluNumber::ALL) {
            let name = format!("model.layers.{layer}.{}", number.path());
            let values = self.checkpoint.tensor(&name)?.to_f32();
            *to = values.first().copied().unwrap_or_default();
        }
        Ok(Xielu::of(learned, XIELU_BETA, XIELU_EPS))
    }

    /// All parameters, a tied head counted once.
    #[must_use]
    pub fn total_parameters(&self) -> u64 {
        self.config().parameters()
    }
}

/// Why mlx-lm's adapters don't fit a model with factors around its linear layers.
const UNFIT_FOR_MLX: &str = "mlx-lm has this model's multipliers in its weights, of which ones its versions differ: what an adapter \
adds would count otherwise";

impl BaseModel for Base {
    fn unfit_for_mlx(&self) -> Option<&'static str> {
        self.config().has_factors().then_some(UNFIT_FOR_MLX)
    }

    fn modules(&self) -> Vec<Module> {
        spec::modules(self.config())
    }

    fn read(&self, tensor: &str, first: usize, out: &mut [f32]) -> Result<(), lora_core::Error> {
        let is_tied_head =
            self.config().tie_word_embeddings && tensor.strip_suffix(".weight") == Some(spec::HEAD);
        let name = if is_tied_head {
            format!("{}.weight", spec::EMBEDDING)
        } else {
            tensor.to_string()
        };
        let fail = |message: String| {
            lora_core::Error::config(format!("the base's {tensor} can't be read: {message}"))
        };
        let view = self
            .checkpoint
            .tensor(&name)
            .map_err(|e| fail(e.to_string()))?;
        let (rows, columns) = (view.rows(), view.columns().max(1));
        let is_whole = first.is_multiple_of(columns) && out.len().is_multiple_of(columns);
        if !is_whole || first / columns + out.len() / columns > rows {
            return Err(fail(format!(
                "it has {rows} rows of {columns} values, asked for {} from {first}",
                out.len()
            )));
        }
        view.read_rows(first / columns, out);
        Ok(())
    }
}

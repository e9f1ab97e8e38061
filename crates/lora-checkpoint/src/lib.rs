//! Models as they lie on disk: Hugging Face folders and GGUF files, mmapped, each giving the same decoder.
//!
//! Everything is addressed by Hugging Face tensor names (`model.layers.0.self_attn.q_proj.weight`), whatever the file.
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be read or written. Display is one line, with `\nhint: …` where a way out is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is not what it should be; names file, key or tensor.
    #[error("{path}: {message}")]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        message: String,
    },
}

/// Layout of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Folder with config.json and safetensors.
    HuggingFace,
    /// Single GGUF file.
    Gguf,
}

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageDtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// GGUF blocks, read in place.
    Quantised(candle_core::quantized::GgmlDType),
}

/// Rotary embedding scaling.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embedding.
    None,
    /// Llama 3's frequency-dependent scaling (transformers `_compute_llama3_parameters`).
    Llama3 {
        /// Context extension factor.
        factor: f64,
        /// Low frequency factor.
        low_freq_factor: f64,
        /// High frequency factor.
        high_freq_factor: f64,
        /// Context length of the original model, tokens.
        original_max_position_embeddings: usize,
    },
    /// Divisors of the inverse frequencies read from a GGUF `rope_freqs.weight` tensor, head_dim/2 values.
    Factors(Vec<f32>),
}

/// A decoder's shape, from config.json or GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `llama` so far.
    pub model_type: String,
    /// V.
    pub vocab_size: usize,
    /// H.
    pub hidden_size: usize,
    /// MLP width.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// RMSNorm epsilon.
    pub rms_norm_eps: f64,
    /// Rotary base.
    pub rope_theta: f64,
    /// Rotary scaling.
    pub rope_scaling: RopeScaling,
    /// Head shares the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Context length, tokens.
    pub max_position_embeddings: usize,
    /// Biases on q, k, v, o.
    pub attention_bias: bool,
    /// Biases on gate, up, down.
    pub mlp_bias: bool,
    /// BOS id.
    pub bos_token_id: Option<u32>,
    /// Ids that end a generation (config and generation_config together).
    pub eos_token_ids: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Parses config.json as transformers 4 and 5 write it; refuses families and options that can't be honoured.
    pub fn from_json(_path: &Path) -> Result<Self, Error> {
        todo!()
    }
}

/// An opened model: mmapped files, parsed config.
#[derive(Debug)]
pub struct Checkpoint {}

impl Checkpoint {
    /// Opens a Hugging Face folder, a `.gguf` file, or a folder that holds exactly one `.gguf`.
    pub fn open(_path: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        todo!()
    }
    /// Kind of file.
    pub fn format(&self) -> Format {
        todo!()
    }
    /// Shape of the decoder.
    pub fn config(&self) -> &ModelConfig {
        todo!()
    }
    /// Hugging Face names of all weights, sorted. A tied head is not listed.
    pub fn tensor_names(&self) -> Vec<String> {
        todo!()
    }
    /// A view of one weight by its Hugging Face name.
    pub fn tensor(&self, _name: &str) -> Result<TensorView<'_>, Error> {
        todo!()
    }
    /// Tokenizer, chat template and special tokens.
    pub fn tokenizer(&self) -> Result<TokenizerBundle, Error> {
        todo!()
    }
}

/// One weight where it lies in the mapped file. 1-D weights have one row. GGUF's permuted q/k rows are already
/// put back: row i is the Hugging Face row i. Cheap to clone; Send + Sync.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    _bytes: &'a [u8],
}

impl TensorView<'_> {
    /// Hugging Face name.
    pub fn name(&self) -> &str {
        todo!()
    }
    /// Shape as transformers has it, e.g. (out, in).
    pub fn shape(&self) -> &[usize] {
        todo!()
    }
    /// How the values are stored.
    pub fn dtype(&self) -> StorageDtype {
        todo!()
    }
    /// Rows (product of all but the last dimension; 1 for 1-D).
    pub fn rows(&self) -> usize {
        todo!()
    }
    /// Values in a row (last dimension).
    pub fn columns(&self) -> usize {
        todo!()
    }
    /// Widens rows `first..` into `out`, whose length is a multiple of `columns()`. No allocation.
    ///
    /// # Panics
    /// If the rows lie outside the tensor or `out` is no whole number of rows.
    pub fn read_rows(&self, _first: usize, _out: &mut [f32]) {
        todo!()
    }
    /// All values, widened.
    pub fn to_f32(&self) -> Vec<f32> {
        todo!()
    }
    /// The values in place, if stored as aligned, unpermuted f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        todo!()
    }
    /// Parameters in this tensor.
    pub fn len(&self) -> usize {
        self.rows() * self.columns()
    }
    /// True if it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What turns text into ids and back, and how the model's chats are written.
#[derive(Debug, Clone)]
pub struct TokenizerBundle {
    /// The tokenizer; call `encode(text, false)`: no special tokens are added.
    pub tokenizer: tokenizers::Tokenizer,
    /// Jinja source of the chat template, if the model has one.
    pub chat_template: Option<String>,
    /// BOS text, if any.
    pub bos_token: Option<String>,
    /// EOS text, if any.
    pub eos_token: Option<String>,
    /// sha256 of the canonical vocabulary (id, token, special), hex: equal for a GGUF and the Hugging Face folder of the same model.
    pub sha256: String,
}

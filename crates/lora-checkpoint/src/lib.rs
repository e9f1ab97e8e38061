//! Models as they lie on disk: Hugging Face folders and GGUF files, mmapped, each giving the same decoder.
//!
//! Everything is addressed by Hugging Face tensor names (`model.layers.0.self_attn.q_proj.weight`), whatever the file.
//! Reading starts at [`Checkpoint::open`]; what runs the decoder, trains it or talks to people lives elsewhere.

#[cfg(target_endian = "big")]
compile_error!("safetensors and GGUF are little-endian; weights are read where they lie");

mod blocks;
mod checkpoint;
mod config;
mod config_json;
mod error;
mod families;
mod files;
pub mod gguf;
mod mapped;
mod projection;
mod published;
mod rope;
mod safetensors_files;
mod save;
mod storage;
mod tokenizer;
mod view;

pub use checkpoint::{Checkpoint, Format};
pub use config::{Biases, LayerSpec, ModelConfig};
pub use error::Error;
pub use families::{Activation, Facts, Family, Norm, Published};
pub use projection::Projection;
pub use rope::{Rope, RopeScaling};
pub use save::{GgufDtype, GgufTensor, SaveDtype, Saved, save_folder, save_gguf, write_gguf};
pub use storage::StorageDtype;
pub use tokenizer::TokenizerBundle;
pub use view::TensorView;

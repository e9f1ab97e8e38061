//! Models as they lie on disk: Hugging Face folders and GGUF files, mmapped, each giving the same decoder.
//!
//! Everything is addressed by Hugging Face tensor names (`model.layers.0.self_attn.q_proj.weight`), whatever the file.
//! Reading starts at [`Checkpoint::open`]; what runs the decoder, trains it or talks to people lives elsewhere.
//!
//! Write a GGUF:
//! ```
//! use lora_checkpoint::{Checkpoint, Error, GgufDtype, save_gguf};
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");
//! # let folder = tempfile::tempdir()?;
//! # let gguf = folder.path().join("model.gguf");
//!
//! let model = Checkpoint::open(path.as_ref())?; // a Hugging Face folder
//! let warnings = save_gguf(&gguf, &model, GgufDtype::Q8_0, "my model", |_written| Ok::<(), Error>(()))?;
//! assert!(warnings.is_empty(), "{warnings:?}");
//!
//! let again = Checkpoint::open(&gguf)?; // the same names, the same shapes
//! assert_eq!(again.tensor_names(), model.tensor_names());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_endian = "big")]
compile_error!("safetensors and GGUF are little-endian; weights are read where they lie");

mod biases;
mod blocks;
mod chat;
mod checkpoint;
mod config;
mod config_json;
mod ends;
mod error;
mod expert_columns;
mod expert_rows;
mod factors;
mod families;
mod files;
pub mod gguf;
mod importance;
mod layer_shapes;
mod layer_spec;
mod lost;
mod mapped;
mod mixtures;
mod mxfp4;
mod order;
mod projection;
mod published;
// One index runs over several arrays, in the order of the reference.
#[allow(clippy::needless_range_loop)]
mod quantise;
mod rope;
mod row_factors;
mod safetensors_files;
mod save;
mod sharing;
mod states;
mod storage;
mod stored;
mod text_part;
mod tokenizer;
mod view;
mod vocabulary;
mod weights;

pub use biases::Biases;
pub use chat::{Chat, shown, template_sha256};
pub use checkpoint::{Checkpoint, Format};
pub use config::ModelConfig;
pub use ends::add_end;
pub use error::Error;
pub use factors::{Factors, Multipliers};
pub use families::{
    Activation, Block, Clamp, DeltaPart, DeltaShape, EXPERT_PROJECTIONS, ExpertFacts, Experts,
    Facts, Family, HeadNorms, Heads, MambaNorm, MambaPart, MambaShape, Mixer, Mlp, Norm, NormKind,
    PER_LAYER_EMBEDDING, PerLayer, Published, Recurrent, RotaryPairs, Scores, ShortConv, Variants,
    XIELU_BETA, XIELU_EPS, XieluNumber,
};
pub use importance::Importance;
pub use layer_spec::LayerSpec;
pub use projection::Projection;
pub use rope::{Growth, Rope, RopeScaling};
pub use save::{
    Edit, GgufDtype, GgufStorage, GgufTensor, Mix, SaveDtype, Saved, rewrite_gguf, save_folder,
    save_gguf, weights_in_blocks, write_gguf,
};
pub use storage::StorageDtype;
pub use stored::Stored;
pub use tokenizer::TokenizerBundle;
pub use view::TensorView;
pub use vocabulary::Vocabulary;

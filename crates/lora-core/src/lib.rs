//! LoRA and only LoRA: config (= PEFT's), target matching, initialisation, scaling, adapter files, merge. Knows no
//! architecture: a model is a list of [`Module`]s, and a way to read its weights ([`BaseModel`]).
//!
//! - [`LoraConfig`] is PEFT's adapter_config.json; what each of its 41 keys means here is one table (`keys`).
//! - `select` picks modules exactly as PEFT does; [`Layout`] says what lies where and what it is called in a file.
//! - [`Adapter`] holds everything that trains in one flat vector, starts as PEFT's (`init`, `initialise`), loads and saves PEFT's folder.
//! - [`add_delta`] and [`weight_norms`] are the merge, [`trainable_line`] PEFT's summary.
mod adapter;
mod bias;
mod combine;
mod config;
mod config_json;
mod diagnosis;
mod diff;
mod effect;
mod error;
mod folder;
mod init;
mod initialise;
mod keys;
mod layout;
mod linalg;
mod load;
mod merge;
mod mlx;
mod module;
mod modules_in;
mod naming;
mod parameters;
mod pattern;
mod peft;
mod placement;
mod presets;
mod rules;
mod select;
mod summary;
mod targets;
mod tensor_file;
mod tensor_names;
mod token_rows;
mod tokens;
mod values;
mod vocabulary;

pub use adapter::Adapter;
pub use bias::Bias;
pub use combine::{Combination, Combined, Deviation, combine};
pub use config::LoraConfig;
pub use diff::{AdapterDiff, Comparison, diff};
pub use error::{Error, Fault};
pub use folder::MLX_WEIGHTS_FILE;
pub use init::Init;
pub use layout::{AdapterTensor, ExpertsInFile, Layout, Part, TargetedModule, TrainedTensor};
pub use load::base_name;
pub use merge::{add_delta, add_embedding_delta, weight_norms};
pub use module::{BaseModel, Module, ModuleKind, Role};
pub use modules_in::modules_of;
pub use parameters::Parameters;
pub use pattern::Pattern;
pub use presets::{Preset, TARGET_PRESETS};
pub use summary::{thousands, trainable_line};
pub use targets::{ModuleNames, TargetModules, Targets};
pub use tokens::{TokenIndices, TrainedRows};
pub use vocabulary::{AdapterVocabulary, adapter_vocabulary};

/// Name of the config file in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the tensor file in an adapter folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

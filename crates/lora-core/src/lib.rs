//! LoRA and only LoRA: config (= PEFT's), target matching, initialisation, scaling, adapter files, merge. Knows no
//! architecture: a model is a list of [`LinearModule`]s.
//!
//! - [`LoraConfig`] is PEFT's adapter_config.json; what each of its 41 keys means here is one table (`keys`).
//! - [`TargetModules`] matches module paths exactly as PEFT does.
//! - [`Adapter`] holds all A and B in one flat vector, loads and saves PEFT's folder.
//! - [`add_delta`] is the merge, [`trainable_line`] PEFT's summary.
mod adapter;
mod combine;
mod config;
mod diff;
mod error;
mod files;
mod keys;
mod linalg;
mod merge;
mod presets;
mod summary;
mod targets;

pub use adapter::{Adapter, TargetedModule};
pub use combine::{Combination, Combined, Deviation, combine};
pub use config::LoraConfig;
pub use diff::{AdapterDiff, Comparison, diff};
pub use error::Error;
pub use files::adapter_file_bytes;
pub use merge::add_delta;
pub use presets::{Preset, TARGET_PRESETS};
pub use summary::{thousands, trainable_line};
pub use targets::{LinearModule, TargetModules};

/// Name of the config file in an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of the tensor file in an adapter folder.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

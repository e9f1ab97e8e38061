//! Decoders whose projections carry LoRA: one spec a family, the fused route, the composite route, generation.
//!
//! Files and formats live in lora-checkpoint, the LoRA config and adapter files in lora-core, arithmetic in lora-kernels.
//!
//! Load a base, adapt it, generate:
//! ```
//! use lora_core::{Adapter, LoraConfig, TargetModules};
//! use lora_model::{Base, Fused, Generate, Packed, Route};
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");
//!
//! let base = Base::open(path.as_ref())?; // a Hugging Face folder, or a GGUF file
//! let tokenizer = base.checkpoint().tokenizer()?.tokenizer;
//! let prompt = tokenizer.encode("Remind me to call Ann", false)?.get_ids().to_vec();
//!
//! // A new adapter of rank 8 and alpha 16 on all linear layers. B is 0, so that it changes nothing yet.
//! let config = LoraConfig::new(8, 16.0, TargetModules::AllLinear);
//! let mut adapter = Adapter::init(config, &base, 7)?;
//! let mut model = Fused::new(&base, 2)?; // two threads
//! let before = model.greedy(None, &prompt, 8, &[])?;
//! assert_eq!(model.greedy(Some(&adapter), &prompt, 8, &[])?, before);
//!
//! // One step of plain gradient descent towards a text; -100 would mark tokens that are not learned.
//! let labels: Vec<i32> = prompt.iter().map(|&id| id as i32).collect();
//! let rows = Packed::from_rows([(&prompt[..], &labels[..])]);
//! let mut gradients = vec![0.0; adapter.params.len()];
//! let loss = model.gradients(&adapter, &rows, None, 1.0, &mut gradients)?;
//! for (value, gradient) in adapter.params.iter_mut().zip(&gradients) {
//!     *value -= 0.01 * gradient;
//! }
//! assert!(model.losses(Some(&adapter), &rows)?[0].nll < loss[0].nll);
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
mod base;
mod chat;
pub mod composite;
mod error;
pub mod fused;
mod generate;
mod gpu;
mod identity;
mod packed;
mod pass;
mod peak;
mod resident;
mod route;
mod sampling;
pub mod spec;
mod vocabulary;

pub use base::Base;
pub use chat::{Served, chat_result, tokenizer_folder, trained_chat, trained_otherwise};
pub use composite::{Composite, FullModel};
pub use error::Error;
pub use fused::{
    BatchSize, ChosenExperts, Footprint, Fused, InputSquares, Plan, footprint, footprint_from,
};
pub use generate::{Decoding, Generate, Watch};
pub use gpu::{GpuBase, GpuDemand, GpuMemory, GpuPeak, GpuStep, OnGpu, attends_on_gpu};
pub use identity::{TrainedOn, model_input};
pub use packed::{IGNORE, Packed};
pub use pass::{Dropout, Scales, SequenceLoss};
pub use peak::{Peak, Process};
pub use resident::{Resident, SlotStep};
pub use route::{ProductPeak, Route};
pub use sampling::Sampling;
pub use vocabulary::{Adding, Opened, open_for, rows_left_behind};

//! Training as a library: what a run is, in which order it sees its rows, how much memory it takes, and the loop itself.
//! Nothing here prints, parses arguments or knows a terminal.
//!
//! Reading order: [`TrainConfig`] is what a run is; [`Trainer`] is the loop, readable end to end over the small trait
//! [`Trainable`], and tells an [`Observer`] what happens; [`Batching`] and [`Steps`] (which rows make which step),
//! [`Schedule`], [`Demand`] (memory) and `gate` (what must hold of gradients) are its parts.
//!
//! An adapter, trained on rows and saved as PEFT's folder:
//!
//! ```
//! use lora_core::{Adapter, LoraConfig, TargetModules};
//! use lora_data::Example;
//! use lora_model::{Base, Fused};
//! use lora_training::{
//!     Data, Event, Length, LoraSettings, LoraTrainable, TrainConfig, Trainable, Trainer,
//! };
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let base = Base::open(Path::new("../../data/tiny-chat"))?;
//! let config = LoraConfig::new(8, 16.0, TargetModules::AllLinear);
//! let adapter = Adapter::init(config, &base, 0)?;
//!
//! // Rows come from lora-prep (`lora_data::Split::read`) or from anywhere else; here every token is learned.
//! let row = |ids: [u32; 6]| Example {
//!     labels: ids.iter().map(|&id| id as i32).collect(),
//!     input_ids: ids.to_vec(),
//!     id: String::new(),
//!     group: String::new(),
//!     prompt: String::new(),
//!     completion: String::new(),
//! };
//! let rows = [row([5, 6, 7, 8, 9, 10]), row([9, 8, 7, 6, 5, 4])];
//!
//! let config = TrainConfig {
//!     length: Length::Steps(10),
//!     lr: 1e-2,
//!     ..TrainConfig::default()
//! };
//! let settings = LoraSettings {
//!     seed: config.seed,
//!     lr: config.lr,
//!     lora_plus_ratio: None,
//! };
//! let route = Box::new(Fused::new(&base, 2)?);
//! let mut model = LoraTrainable::new(route, adapter, settings);
//! let data = Data {
//!     train: &rows,
//!     valid: None,
//! };
//! let mut losses = Vec::new();
//! Trainer::new(config, data, &mut model)?.run(&mut |event: &Event| {
//!     if let Event::StepDone(step) = event {
//!         losses.push(step.loss);
//!     }
//! })?;
//! assert!(losses[9] < losses[0]);
//!
//! let out = std::env::temp_dir().join(format!("lora-training-{}", std::process::id()));
//! std::fs::create_dir_all(&out)?;
//! model.save(model.params(), &out)?;
//! # std::fs::remove_dir_all(&out)?;
//! # Ok(())
//! # }
//! ```
mod batches;
mod checkpoint;
mod config;
mod epoch;
mod error;
mod evaluate;
mod event;
mod full;
mod gate;
mod keeper;
mod lora;
mod memory;
mod optimiser;
mod outcome;
mod pack;
mod profile;
mod schedule;
mod state;
mod sum;
mod trainable;
mod trainer;

pub use batches::{Batching, Length, Steps, Window};
pub use checkpoint::{Checkpoints, has_checkpoint, needed_to_resume, state_file, tidy};
pub use config::{LEAST_EVALUATIONS, RunPlan, TrainConfig};
pub use epoch::{EpochTotals, Extent};
pub use error::Error;
pub use evaluate::{EVALUATION_TOKENS, evaluate};
pub use event::{Evaluated, Event, Observer, Started, StepDone, Warning};
pub use full::{FullTrainable, WeightDtype};
pub use lora::{LoraSettings, LoraTrainable, rank_warning};
pub use memory::{Budget, Demand, MemoryPlan, evaluation_batch, largest_batch, vectors};
pub use outcome::{Data, Outcome, Profiled};
pub use pack::pack;
pub use profile::{ProfileLine, ProfileReport};
pub use schedule::{Decay, Schedule};
pub use state::{Best, State};
pub use sum::gradient_buffers;
pub use trainable::{BatchLoss, LossSum, MicroBatch, Resident, RowSize, Slot, Trainable, Update};
pub use trainer::{Resumed, Trainer};

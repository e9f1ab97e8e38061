//! Training as a library: what a run is, in which order it sees its rows, how much memory it takes, and the loop itself.
//! Nothing here prints, parses arguments or knows a terminal.
//!
//! Reading order: [`TrainConfig`] is what a run is; [`Trainer`] is the loop, readable end to end over the small trait
//! [`Trainable`], and tells an [`Observer`] what happens; [`Batching`] and [`Steps`] (which rows make which step),
//! [`Schedule`], [`Demand`] (memory) and `gate` (what must hold of gradients) are its parts.
mod batches;
mod checkpoint;
mod config;
mod epoch;
mod error;
mod evaluate;
mod event;
mod full;
mod gate;
mod lora;
mod memory;
mod pack;
mod profile;
mod schedule;
mod state;
mod sum;
mod trainable;
mod trainer;

pub use batches::{Batching, Length, Steps, Window};
pub use checkpoint::{Checkpoints, clear, state_file};
pub use config::{LEAST_EVALUATIONS, RunPlan, TrainConfig};
pub use epoch::{EpochTotals, Extent};
pub use error::Error;
pub use evaluate::{EVALUATION_TOKENS, evaluate};
pub use event::{Evaluated, Event, Observer, Started, StepDone, Warning};
pub use full::{FullTrainable, WeightDtype};
pub use lora::{LoraSettings, LoraTrainable};
pub use memory::{Budget, Demand, MemoryPlan, largest_batch};
pub use pack::pack;
pub use profile::{ProfileLine, ProfileReport};
pub use schedule::{Decay, Schedule};
pub use state::{Best, State};
pub use sum::gradient_buffers;
pub use trainable::{BatchLoss, LossSum, MicroBatch, RowSize, Slot, Trainable};
pub use trainer::{Data, Outcome, Trainer};

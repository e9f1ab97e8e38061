//! The only crate that talks to people and machines: arguments, progress, JSON lines, errors and exit codes.
//!
//! A tool's `main.rs` is one call of [`main`]; its work is a function from its arguments and a [`Ui`] to a [`Status`].
//! [`main`] parses and checks the arguments; the work puts paths in the place of names ([`resolve_names`]), opens and hashes what
//! lies there, stages its output, and ends with a receipt ([`draft`], [`commit`]).
mod allocation;
mod cache;
mod check;
mod describe;
mod device;
mod ending;
mod entry;
mod environment;
mod error;
mod failure;
pub mod html;
mod hub;
mod input;
mod last_words;
mod layout;
mod lora_args;
mod machine;
mod other_base;
mod output;
mod overlap;
mod panics;
mod peers;
mod progress;
mod sampling;
mod signals;
mod table;
mod threads;
mod tool;
mod ui;
pub mod values;

pub use describe::describe;
pub use device::DeviceChoice;
pub use entry::main;
pub use environment::environment;
pub use error::{Context, Error, Foreign, Result};
pub use hub::{hub_rows, hub_shape, is_hub, pin_hub, pinned_in_cache};
pub use input::{ChangedInput, artefact_from, artefact_input, resolve_names};
pub use layout::Layout;
pub use lora_args::{GivenFlag, LoraArgs};
pub use machine::{available_memory, memory_limit};
pub use other_base::OtherBase;
pub use output::{commit, commit_without, draft};
pub use progress::Progress;
pub use sampling::SamplingArgs;
pub use table::{human_bytes, human_seconds, markdown, table, table_within, wrapped};
pub use threads::{MORE_THREADS, cores, refused, thread};
pub use tool::{Common, Print, Status, ToolArgs};
pub use ui::Ui;

//! What an interrupted run continues from: a file with parameters, moments and progress, which carries a checksum; the one
//! before it, should it be damaged; and beside them the best and the last model as folders that any tool can read.
//!
//! Order, dropout and initialisation come from a counter-based generator, so no generator state is saved.
mod file;
mod folder;

pub use file::{find, write};
pub(crate) use folder::save_model;
pub use folder::{Checkpoints, has_checkpoint, needed_to_resume, state_file, tidy};

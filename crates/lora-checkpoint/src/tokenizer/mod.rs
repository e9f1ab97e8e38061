//! What turns text into ids and back, from a Hugging Face folder (`folder`) or from GGUF metadata (`gguf`).
//! Rendering chats is lora-data's.

mod added;
mod bundle;
mod folder;
mod gguf;
mod pre;
mod sentencepiece;
mod to_gguf;
mod write;

pub use bundle::TokenizerBundle;
pub(crate) use folder::{TEMPLATE_FILE, template_of_folder};
pub(crate) use to_gguf::GGUF_ENDS;
pub(crate) use write::{copy_files, set_template};

//! Writing models: Hugging Face folders (`folder`), their JSON files (`json`, `config_json`, `config_rope`, `config_states`), experts in both (`stacks`, `gguf_experts`), GGUF files (`gguf`, `gguf_metadata`, `gguf_rows`, what they hold in `gguf_holds`, `gguf_states` and `gguf_unloaded`) and the
//! types of their tensors (`dtype`, `mix`), a GGUF file again with some of its weights changed (`rewrite`), the rounding that both share (`encode`, `rounding`), and the look at what was written (`verify`). Memory is bounded by one chunk of rows.

mod config_json;
mod config_rope;
mod config_states;
mod dtype;
mod encode;
mod folder;
mod gguf;
mod gguf_experts;
mod gguf_holds;
mod gguf_metadata;
mod gguf_model;
mod gguf_rows;
mod gguf_states;
mod gguf_unloaded;
mod json;
mod mix;
mod rewrite;
mod rounding;
mod stacks;
mod verify;

pub use dtype::GgufDtype;
pub use encode::SaveDtype;
pub use folder::{Saved, save_folder};
pub use gguf::{GgufTensor, write_gguf};
pub use gguf_model::{GgufStorage, save_gguf};
pub use mix::Mix;
pub use rewrite::{Edit, rewrite_gguf};
pub use stacks::weights_in_blocks;

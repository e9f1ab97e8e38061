//! Writing models: Hugging Face folders (`folder`), their JSON files (`json`, `config_json`), GGUF files (`gguf`), the rounding
//! that both share (`encode`, `rounding`), and the look at what was written (`verify`). Memory is bounded by one chunk of rows.

mod config_json;
mod encode;
mod folder;
mod gguf;
mod gguf_holds;
mod gguf_model;
mod json;
mod rounding;
mod verify;

pub use encode::SaveDtype;
pub use folder::{Saved, save_folder};
pub use gguf::{GgufDtype, GgufTensor, write_gguf};
pub use gguf_model::save_gguf;

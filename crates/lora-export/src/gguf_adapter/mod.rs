//! GGUF LoRA files: an adapter written as llama.cpp reads it, and read back.
//!
//! llama.cpp computes x·W + (alpha / rank)·lora_b·lora_a·x with one alpha a file. Rows of q and k lie in GGUF's order, and
//! token_embd's lora_a is transposed, (vocabulary, rank), since its rows are looked up.
mod beyond;
mod read;
mod write;

pub(crate) use beyond::refuse;
pub(crate) use read::{is_gguf, read};
pub(crate) use write::write;

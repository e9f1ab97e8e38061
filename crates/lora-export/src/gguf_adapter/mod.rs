//! GGUF LoRA files: an adapter written as llama.cpp reads it, and read back.
//!
//! llama.cpp computes x·W + (alpha / rank)·lora_b·lora_a·x with one alpha a file. Rows of q and k lie in GGUF's order, and
//! token_embd's lora_a is transposed, (vocabulary, rank), since its rows are looked up.
//! Of experts there is one tensor for all: lora_a (experts, rank, in), lora_b (experts, out, rank), of gate and of up (`mixtures`).
mod beyond;
mod factors;
mod mixtures;
mod read;
mod write;

pub(crate) use beyond::refuse;
pub(crate) use read::{is_gguf, read};
pub(crate) use write::write;

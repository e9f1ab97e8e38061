//! mlx-lm's adapter folder, read and written (mlx-lm 0.32: `tuner/utils.py`, `tuner/lora.py`, `tuner/dora.py`).
//!
//! Its factors are PEFT's transposed: `lora_a` (in, r) and `lora_b` (r, out), with one rank and one `scale` for all modules.
//! Other scalings are folded into `lora_b`, smaller ranks filled up with zeros, both exactly.
//! A model that ties its head to the embedding has one adapter for both there (`LoRAEmbedding.as_linear`); PEFT's is two, the
//! head's with A and B exchanged.
mod load;
mod save;
mod settings;
mod tied;

pub(crate) use load::{base_name, load};

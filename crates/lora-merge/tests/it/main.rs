//! lora-merge through its binary, on the golden cases of the real PEFT.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod bad_input;
mod chats;
mod golden;
mod harness;
mod identity;
mod own_types;
mod rounding;
mod several;

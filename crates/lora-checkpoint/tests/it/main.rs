//! Integration tests of lora-checkpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod absent;
mod chats;
mod config;
mod experts;
mod factors;
mod families;
mod folder;
mod gguf;
mod hostile;
mod in_place;
mod lost;
mod mamba;
mod mixtures;
mod plain_mlps;
mod predictors;
mod recurrent;
mod shared;
mod sigmoids;
mod sinks_and_blocks;
mod split;
mod support;
mod tokenizer;
mod variants;

use lora_testkit::golden;

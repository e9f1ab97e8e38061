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
mod keys;
mod lost;
mod mamba;
mod metadata;
mod mixtures;
mod plain_mlps;
mod predictors;
mod recurrent;
mod rotation;
mod round_trips;
mod rounded;
mod shared;
mod sigmoids;
mod sinks_and_blocks;
mod split;
mod support;
mod tokenizer;
mod variants;

use lora_testkit::golden;

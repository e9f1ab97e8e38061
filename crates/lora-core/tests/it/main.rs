//! Tests of lora-core from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod combine;
mod config;
mod diagnosis;
mod diff;
mod files;
mod golden;
mod initialisation;
mod known_answers;
mod mlx;
mod support;
mod targets;
mod tokens;

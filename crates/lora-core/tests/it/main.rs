//! Tests of lora-core from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod beginnings;
mod combine;
mod config;
mod diff;
mod files;
mod golden;
mod known_answers;
mod mlx;
mod support;
mod targets;

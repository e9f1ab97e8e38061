//! Tests of lora-plan from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod explain;
mod params;

//! Tests of lora-plan from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod compare;
mod cost;
mod doctor;
mod explain;
mod house;
mod params;

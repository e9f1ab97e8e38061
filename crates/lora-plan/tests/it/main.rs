//! Tests of lora-plan from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod advise;
mod carried;
mod compare;
mod cost;
mod damage;
mod doctor;
mod explain;
mod house;
mod params;

//! lora-eval through its binary, on the golden cases of the real PEFT.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod answers;
mod bad_input;
mod choices;
mod comparisons;
mod gates;
mod harness;
mod identity;
mod losses;
mod metrics;
mod noise;
mod schema;

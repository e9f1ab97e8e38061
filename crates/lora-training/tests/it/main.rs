//! The loop on something that needs no model: a line through points.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod line;
mod resident;
mod run;

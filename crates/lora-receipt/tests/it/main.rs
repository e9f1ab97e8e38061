//! The laws of hashes, receipts and staged outputs.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly, in its helpers too
mod checks;
mod hashes;
mod ownership;
mod receipts;
mod staging;

use lora_receipt::{Artefact, Draft};

/// A draft with nothing remarkable in it.
fn draft() -> Draft {
    Draft {
        tool: "lora-test".into(),
        tool_version: "0.1.0".into(),
        artefact: Artefact::Dataset,
        config: serde_json::json!({"b": 1, "a": 2}),
        seed: Some(7),
        inputs: vec![],
        results: serde_json::json!({"rows": 3}),
        measured: serde_json::json!({"rows_per_s": 1.5}),
        started: std::time::Instant::now(),
    }
}

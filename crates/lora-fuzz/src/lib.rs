//! For tests only: what each fuzz target does with its bytes. Whatever comes from outside gives a value or an error, in
//! time and memory that its size bounds; a panic is a fault.
//!
//! `fuzz/` at the top of the repository calls these functions under libFuzzer (`just fuzz TARGET`), `tests/seeds.rs` calls
//! them with the seeds of every target in each run of the tests.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a fuzz target may fail loudly where it is at fault itself
mod adapters;
mod data;
mod files;
mod hub;
mod models;
mod notes;

/// A target: it takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/seeds`.
pub const TARGETS: [(&str, Target); 18] = [
    ("safetensors", models::safetensors),
    ("gguf", models::gguf),
    ("config_json", models::config_json),
    ("tokenizer_json", models::tokenizer_json),
    ("tokenizer_config", models::tokenizer_config),
    ("adapter_config", adapters::adapter_config),
    ("mlx_config", adapters::mlx_config),
    ("template", data::template),
    ("records", data::records),
    ("csv", data::csv),
    ("parquet", data::parquet),
    ("receipt", notes::receipt),
    ("metrics", notes::metrics),
    ("report", notes::report),
    ("predictions", notes::predictions),
    ("event", notes::event),
    ("pipeline", notes::pipeline),
    ("hub", hub::hub),
];

/// Runs a target by its name.
///
/// # Panics
/// When there is no such target, or when the target finds a fault.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of TARGETS");
    target(bytes);
}

//! The tokenizer of the embedded model.
use lora_checkpoint::{ModelConfig, TokenizerBundle};
use lora_data::{Example, IGNORE};
use std::path::Path;

pub(crate) fn bundle() -> TokenizerBundle {
    let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat"));
    let config = ModelConfig::from_json(&base.join("config.json")).unwrap();
    TokenizerBundle::from_folder(base, &config).unwrap()
}

/// The learned parts of a row as text.
pub(crate) fn supervised_runs(example: &Example) -> Vec<String> {
    let tokenizer = bundle().tokenizer;
    let marked: Vec<(u32, bool)> = example
        .input_ids
        .iter()
        .copied()
        .zip(example.labels.iter().map(|label| *label != IGNORE))
        .collect();
    let runs = marked.chunk_by(|a, b| a.1 == b.1).filter(|run| run[0].1);
    let text = |run: &[(u32, bool)]| {
        let ids: Vec<u32> = run.iter().map(|(id, _)| *id).collect();
        tokenizer.decode(&ids, false).unwrap()
    };
    runs.map(text).collect()
}

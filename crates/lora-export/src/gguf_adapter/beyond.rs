//! What the format can't say.
use lora_checkpoint::Checkpoint;
use lora_cli::{Error, Result};
use lora_core::Adapter;

/// What no GGUF LoRA can hold.
pub(crate) fn refuse(base: &Checkpoint, adapter: &Adapter) -> Result<()> {
    // llama.cpp finds an adapter by its tensor's name: on a tied model it would take the embedding's at the head as well, and
    // ends in an assertion over its shape.
    let tied = [
        (
            "lm_head",
            "an adapter on lm_head, which shares its weights with the embedding",
        ),
        (
            "model.embed_tokens",
            "an adapter on an embedding that shares its weights with the head",
        ),
    ];
    let found = tied
        .iter()
        .find(|(path, _)| base.config().tie_word_embeddings && adapter.find(path).is_some());
    let Some(what) = adapter.beyond_lora().or(found.map(|(_, what)| *what)) else {
        return Ok(());
    };
    Err(Error::new(format!("a GGUF LoRA has no place for {what}")).hint(
        "merge the adapter and export the model: lora-merge --adapter A --out M, then lora-export --model M --out m.gguf",
    ))
}

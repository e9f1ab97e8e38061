//! Hugging Face folders.
use crate::golden;
use lora_checkpoint::{Checkpoint, Format, RopeScaling, StorageDtype};

#[test]
fn golden_bases_open_with_every_weight() {
    let tied = Checkpoint::open(&golden("llama_gqa_tied/base")).unwrap();
    let config = tied.config();
    assert_eq!(
        (
            config.vocab_size,
            config.hidden_size,
            config.head_dim,
            config.num_key_value_heads
        ),
        (160, 48, 12, 2)
    );
    assert!(config.tie_word_embeddings);
    assert_eq!(tied.format(), Format::HuggingFace);
    assert_eq!(tied.tensor_names().len(), 2 + 2 * 9);
    let untied = Checkpoint::open(&golden("llama_rope3_rslora/base")).unwrap();
    assert_eq!(untied.tensor_names().len(), 3 + 2 * 9);
    assert_eq!(untied.config().ropes[0].theta, 500_000.0);
    assert_eq!(
        untied.config().ropes[0].scaling,
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 32
        }
    );
}

#[test]
fn rows_are_those_of_the_safetensors_crate() {
    let dir = golden("llama_gqa_tied/base");
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let model = Checkpoint::open(&dir).unwrap();
    for name in model.tensor_names() {
        let view = model.tensor(&name).unwrap();
        assert_eq!(view.dtype(), StorageDtype::F32);
        let theirs: Vec<f32> = file
            .tensor(&name)
            .unwrap()
            .data()
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        assert_eq!(view.to_f32(), theirs, "{name}");
        assert_eq!(view.as_f32().unwrap(), theirs, "{name}");
        let mut last = vec![0.0; view.columns()];
        view.read_rows(view.rows() - 1, &mut last);
        assert_eq!(last, theirs[theirs.len() - view.columns()..], "{name}");
    }
}

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

/// A golden base whose tensors are called otherwise, under another config.json.
fn renamed(
    case: &str,
    config: impl Fn(serde_json::Value) -> serde_json::Value,
    name: impl Fn(&str) -> Option<String>,
) -> tempfile::TempDir {
    let from = golden(case);
    let dir = tempfile::tempdir().unwrap();
    let own = lora_testkit::json(&from.join("config.json"));
    std::fs::write(dir.path().join("config.json"), config(own).to_string()).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tower = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]);
    let mut views: Vec<_> = file
        .iter()
        .filter_map(|(old, view)| Some((name(old)?, view)))
        .collect();
    if let Some(name) = name("tower") {
        views.push((name, tower.unwrap()));
    }
    let to = dir.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &to).unwrap();
    dir
}

#[test]
fn the_text_part_of_a_model_with_towers_is_the_text_model() {
    let case = "gemma3_text/base";
    let plain = Checkpoint::open(&golden(case)).unwrap();
    let whole = |text: serde_json::Value| serde_json::json!({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 9}});
    let of_4 = |name: &str| match name {
        "tower" => Some("vision_tower.vision_model.post_layernorm.bias".to_owned()),
        _ => Some(format!("language_model.{name}")),
    };
    let of_5 = |name: &str| match name {
        "tower" => Some("model.multi_modal_projector.weight".to_owned()),
        _ => Some(name.replacen("model.", "model.language_model.", 1)),
    };
    for dir in [renamed(case, whole, of_4), renamed(case, whole, of_5)] {
        let text = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(text.config(), plain.config());
        assert_eq!(text.tensor_names(), plain.tensor_names());
        for name in text.tensor_names() {
            let [a, b] = [&text, &plain].map(|model| model.tensor(&name).unwrap().to_f32());
            assert_eq!(a, b, "{name}");
        }
        assert!(text.notes()[0].contains("text part (gemma3_text) of a gemma3 model"));
    }
    let quantised = |text| {
        let mut whole = whole(text);
        whole["quantization_config"] = serde_json::json!({"quant_method": "fp8"});
        whole
    };
    let refused = Checkpoint::open(renamed(case, quantised, of_5).path()).unwrap_err();
    assert!(
        refused.to_string().contains("quantization_config"),
        "{refused}"
    );
}

#[test]
fn the_text_part_of_mistral_3_is_the_text_model() {
    let case = "ministral3_growth/base";
    let whole = |text: serde_json::Value| serde_json::json!({"model_type": "mistral3", "text_config": text, "vision_config": {}});
    let name = |name: &str| Some(name.replacen("model.", "model.language_model.", 1));
    let dir = renamed(case, whole, name);
    let (text, plain) = (
        Checkpoint::open(dir.path()),
        Checkpoint::open(&golden(case)),
    );
    assert_eq!(text.unwrap().config(), plain.unwrap().config());
}

#[test]
fn a_decoder_without_a_head_around_it_opens() {
    let case = "llama_gqa_tied/base";
    let bare = |name: &str| Some(name.strip_prefix("model.")?.to_owned());
    let dir = renamed(case, |config| config, bare);
    let found = Checkpoint::open(dir.path()).unwrap();
    let plain = Checkpoint::open(&golden(case)).unwrap();
    assert_eq!(found.tensor_names(), plain.tensor_names());

    // Towers that the configuration knows nothing of have no place.
    let of_5 = |name: &str| match name {
        "tower" => Some("model.vision_tower.weight".to_owned()),
        _ => Some(name.replacen("model.", "model.language_model.", 1)),
    };
    let dir = renamed(case, |config| config, of_5);
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("model.vision_tower.weight has no place"),
        "{error}"
    );
}

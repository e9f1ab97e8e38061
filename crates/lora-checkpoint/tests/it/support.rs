//! Small models made on the spot: a Hugging Face folder with weights and a byte-level tokenizer.
use lora_checkpoint::{Checkpoint, ModelConfig};
pub use lora_testkit::Noise as Random;
use lora_testkit::Told as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Texts that tokenizers stumble over.
pub const TEXTS: [&str; 12] = [
    "the task in the list",
    "1234 5,678.90",
    "a  12   b",
    "  12\n\n  x",
    "héllo 你好 😀 ½ ²³",
    "<|im_start|>user\nhi<|im_end|>\n",
    "it's I'll DON'T",
    "\t\tx = 1;\r\n",
    " ",
    "",
    "x1y22z333",
    "<|tool|> call",
];

/// config.json of a model with 2 layers, 4 heads of 16 (2 for keys), 64 wide.
pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 300,
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 2, "dtype": "float32",
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    })
}

/// `config()` with some keys changed. Some families have another activation, or name it under
/// another key.
pub fn config_with(changes: Value) -> Value {
    let mut config = config();
    let model_type = changes["model_type"].as_str().unwrap_or_default();
    let own_activation = ["gemma", "starcoder2", "apertus"];
    if own_activation.iter().any(|own| model_type.starts_with(own)) {
        config.as_object_mut().unwrap().remove("hidden_act");
    }
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// ByteLevel's alphabet: the printable character of every byte.
fn byte_chars() -> Vec<char> {
    let printable =
        |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut other = 256;
    (0..256)
        .map(|byte| {
            let code = if printable(byte) { byte } else { other + 1 };
            if !printable(byte) {
                other += 1;
            }
            char::from_u32(if printable(byte) { code } else { code - 1 }).unwrap()
        })
        .collect()
}

/// tokenizer.json of SmolLM2's kind with 3 special tokens, one plain added token, 256 bytes and some merges.
pub fn tokenizer() -> Value {
    let added = [
        ("<|endoftext|>", true),
        ("<|im_start|>", true),
        ("<|im_end|>", true),
        ("<|tool|>", false),
    ];
    let mut vocabulary = serde_json::Map::new();
    let mut list = Vec::new();
    for (id, (token, special)) in added.into_iter().enumerate() {
        vocabulary.insert(token.to_owned(), json!(id));
        list.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special}));
    }
    for (byte, c) in byte_chars().into_iter().enumerate() {
        vocabulary.insert(c.to_string(), json!(4 + byte));
    }
    let merges = [
        ("t", "h"),
        ("th", "e"),
        ("Ġ", "the"),
        ("i", "n"),
        ("Ġ", "in"),
        ("Ġ", "Ġ"),
        ("ĠĠ", "ĠĠ"),
        ("l", "i"),
    ];
    for (left, right) in merges {
        vocabulary.insert(format!("{left}{right}"), json!(vocabulary.len()));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": list, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges.map(|(a, b)| json!([a, b]))},
    })
}

/// Writes a whole model folder: `config`, seeded f32 weights and the tokenizer.
pub fn write_folder(dir: &Path, config: &Value) {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let parsed = ModelConfig::from_json(&dir.join("config.json")).unwrap();
    let mut random = Random(7);
    let weights: BTreeMap<String, Vec<u8>> = parsed
        .weights()
        .into_iter()
        .map(|(name, shape)| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.real()).collect();
            (name, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let stored = parsed.stored(parsed.weights()).into_iter();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = stored
        .map(|tensor| {
            let bytes = tensor.weights.iter().flat_map(|name| weights[name].clone());
            (tensor.name, tensor.shape, bytes.collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)
                .unwrap(),
        )
    });
    std::fs::write(
        dir.join("model.safetensors"),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
    std::fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let settings = json!({"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>", "chat_template": "{{ messages }}"});
    std::fs::write(dir.join("tokenizer_config.json"), settings.to_string()).unwrap();
}

/// A model folder that lives as long as the handle.
pub fn model(config: &Value) -> (tempfile::TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), config);
    let model = Checkpoint::open(dir.path()).unwrap();
    (dir, model)
}

/// What `save_gguf` and `save_folder` call back into when nothing is wanted.
pub fn keep(_: u64) -> Result<(), lora_checkpoint::Error> {
    Ok(())
}

/// Reads a config.json with these keys; the error is what a user is told.
pub(crate) fn parse(config: &Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    ModelConfig::from_json(&path).map_err(|error| error.told())
}

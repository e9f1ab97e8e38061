//! Files of models: safetensors, GGUF, config.json, the tokenizer's two.
use crate::files::written;
use lora_checkpoint::Checkpoint;
use std::path::Path;

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 8,
    "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5, "max_position_embeddings": 16, "tie_word_embeddings": true}"#;
const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null, "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1},
    "unk_token": "a"}}"#;

pub(crate) fn safetensors(bytes: &[u8]) {
    folder("safetensors", ("model.safetensors", bytes), CONFIG);
}

pub(crate) fn config_json(bytes: &[u8]) {
    written("config/tokenizer.json", TOKENIZER.as_bytes());
    let path = written("config/config.json", bytes);
    read(path.parent().unwrap());
    if let Ok(config) = lora_checkpoint::ModelConfig::from_json(&path) {
        // Counting the weights of a wild config must not overflow.
        let _ = config.weights().len();
    }
}

pub(crate) fn tokenizer_json(bytes: &[u8]) {
    written("tokenizer/tokenizer_config.json", b"{}");
    folder("tokenizer", ("tokenizer.json", bytes), CONFIG);
}

pub(crate) fn tokenizer_config(bytes: &[u8]) {
    written("settings/tokenizer.json", TOKENIZER.as_bytes());
    folder("settings", ("tokenizer_config.json", bytes), CONFIG);
}

pub(crate) fn gguf(bytes: &[u8]) {
    read(&written("model.gguf", bytes));
}

fn folder(name: &str, (file, bytes): (&str, &[u8]), config: &str) {
    written(&format!("{name}/config.json"), config.as_bytes());
    if file != "model.safetensors" {
        written(&format!("{name}/model.safetensors"), &weights());
    }
    let path = written(&format!("{name}/{file}"), bytes);
    read(path.parent().unwrap());
}

/// The weights that `CONFIG` asks for, all zero.
fn weights() -> Vec<u8> {
    const TENSORS: [(&str, &[usize]); 11] = [
        ("model.embed_tokens.weight", &[8, 4]),
        ("model.norm.weight", &[4]),
        ("model.layers.0.input_layernorm.weight", &[4]),
        ("model.layers.0.post_attention_layernorm.weight", &[4]),
        ("model.layers.0.self_attn.q_proj.weight", &[4, 4]),
        ("model.layers.0.self_attn.k_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.v_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.o_proj.weight", &[4, 4]),
        ("model.layers.0.mlp.gate_proj.weight", &[4, 4]),
        ("model.layers.0.mlp.up_proj.weight", &[4, 4]),
        ("model.layers.0.mlp.down_proj.weight", &[4, 4]),
    ];
    let mut at = 0;
    let mut entries = Vec::new();
    for (name, shape) in TENSORS {
        let end = at + 4 * shape.iter().product::<usize>();
        let entry =
            format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{at},{end}]}}"#);
        entries.push(entry);
        at = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; at]].concat()
}

/// Opens a model and, if that works, reads all that lies in it.
fn read(path: &Path) {
    let Ok(model) = Checkpoint::open(path) else {
        return;
    };
    for name in model.tensor_names() {
        if let Ok(tensor) = model.tensor(&name) {
            let _ = tensor.to_f32();
        }
    }
    if let Ok(tokenizer) = model.tokenizer()
        && let Ok(encoded) = tokenizer
            .tokenizer
            .encode("ab the list 12 <|im_end|>", true)
    {
        let _ = tokenizer.tokenizer.decode(encoded.get_ids(), false);
    }
}

//! Types and whole files against llama.cpp's own (`tests/fixtures/make_mixes.py` made the table).
use super::Mix;
use crate::gguf::{GgufFile, names};
use crate::save::{GgufStorage, save_gguf};
use crate::{Checkpoint, Error, ModelConfig};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

fn table() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/mixes.json")).unwrap()
}

/// config.json of a model of the shape that the table names.
fn config(shape: &Value) -> ModelConfig {
    let json = json!({
        "model_type": shape["arch"], "hidden_act": "silu", "vocab_size": 32, "hidden_size": shape["hidden"],
        "intermediate_size": shape["wide"], "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv"], "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": shape["tied"], "rope_theta": 10000.0,
        "sliding_window": 64, "original_max_position_embeddings": 64,
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, json.to_string()).unwrap();
    ModelConfig::from_json(&path).unwrap()
}

/// The types of the matrices by their GGUF name without the layer, those of all layers in one text, once if they are equal.
fn types(config: &ModelConfig, mix: Mix, weighted: bool) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (part, _, shape) in config.parts() {
        if let [_, columns] = shape[..] {
            let name = names::tensor(config.facts(), part);
            let mut words = name
                .split('.')
                .filter(|w| *w != "blk" && w.parse::<u32>().is_err());
            let dtype = mix.of(config, part, columns, weighted).0;
            let list = found.entry(words.next().unwrap().to_owned()).or_default();
            list.push(dtype.name());
        }
    }
    let joined = |list: Vec<&str>| match list.iter().all(|t| *t == list[0]) {
        true => list[0].to_owned(),
        false => list.join(" "),
    };
    found
        .into_iter()
        .map(|(name, list)| (name, joined(list)))
        .collect()
}

#[test]
fn every_tensor_has_the_type_that_llama_cpp_gives_it() {
    let table = table();
    let cases = table["types"].as_object().unwrap();
    assert_eq!(cases.len(), 8);
    for (case, expected) in cases {
        let config = config(&expected["shape"]);
        let mut seen = 0;
        for mix in Mix::ALL {
            for (suffix, weighted) in [("", false), (" weighted", true)] {
                let Some(of) = expected.get(format!("{}{suffix}", mix.name())) else {
                    continue;
                };
                let of: BTreeMap<String, String> = serde_json::from_value(of.clone()).unwrap();
                assert_eq!(
                    types(&config, mix, weighted),
                    of,
                    "{case}, {}{suffix}",
                    mix.name()
                );
                seen += 1;
            }
        }
        assert_eq!(seen, if case == "tied" { 17 } else { 14 }, "{case}");
    }
}

#[test]
fn a_whole_file_is_llama_cpps_byte_for_byte() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let tiny = Checkpoint::open(&lora_testkit::tiny_chat()).unwrap();
    for mix in Mix::ALL {
        let storage = GgufStorage::Mixed(mix, None);
        save_gguf(&path, &tiny, storage, "m", |_| Ok::<(), Error>(())).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let mut hash = Sha256::new();
        for name in file.tensor_names() {
            hash.update(file.tensor(name).unwrap().stored());
        }
        let hash = format!("{:x}", hash.finalize());
        assert_eq!(table["tiny-chat"][mix.name()], hash, "{}", mix.name());
        let kind = file.metadata("general.file_type").and_then(|v| v.as_u64());
        assert_eq!(kind, Some(u64::from(mix.file_type())));
    }
}

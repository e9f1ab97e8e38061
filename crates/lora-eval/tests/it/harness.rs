//! Golden cases as datasets, and a run of the tool.
use lora_data::{Example, Split};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const CASES: [&str; 2] = ["llama_gqa_tied", "llama_rope3_rslora"];

pub(crate) fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/golden")
        .join(name)
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The golden rows without their padding.
pub(crate) fn examples(name: &str) -> Vec<Example> {
    let bytes = std::fs::read(case(name).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let column = |key: &str| integers(golden.tensor(key).unwrap().data());
    let (ids, mask, labels) = (
        column("input_ids"),
        column("attention_mask"),
        column("labels"),
    );
    let width = golden.tensor("input_ids").unwrap().shape()[1];
    let row = |index: usize| {
        let place = index * width..(index + 1) * width;
        let length = mask[place.clone()].iter().filter(|&&m| m == 1).count();
        Example {
            input_ids: ids[place.clone()][..length]
                .iter()
                .map(|&id| id as u32)
                .collect(),
            labels: labels[place][..length]
                .iter()
                .map(|&label| label as i32)
                .collect(),
            id: format!("{index:016x}"),
            group: format!("prompt {index}"),
            prompt: String::new(),
            completion: String::new(),
        }
    };
    (0..ids.len() / width).map(row).collect()
}

fn integers(bytes: &[u8]) -> Vec<i64> {
    bytes
        .chunks_exact(8)
        .map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()))
        .collect()
}

/// Writes `valid.parquet` into a new folder.
pub(crate) fn dataset(dir: &Path, examples: Vec<Example>, tokenizer: Option<&str>) -> PathBuf {
    let folder = dir.join("data");
    std::fs::create_dir_all(&folder).unwrap();
    let split = Split {
        examples,
        tokenizer_sha256: tokenizer.map(str::to_owned),
        template_sha256: None,
        chat: None,
    };
    split.write(&folder.join("valid.parquet")).unwrap();
    folder
}

/// A copy of a golden base with a tokenizer: the word `wN` for every id N, and `<end>` for id 2.
pub(crate) fn base_with_tokenizer(dir: &Path, name: &str) -> PathBuf {
    let base = dir.join("base");
    std::fs::create_dir_all(&base).unwrap();
    for entry in std::fs::read_dir(case(name).join("base")).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, base.join(file.file_name().unwrap())).unwrap();
    }
    let vocab_size = json(&base.join("config.json"))["vocab_size"]
        .as_u64()
        .unwrap();
    let word = |id: u64| {
        if id == 2 {
            "<end>".to_owned()
        } else {
            format!("w{id}")
        }
    };
    let vocab: serde_json::Map<_, _> = (0..vocab_size)
        .map(|id| (word(id), Value::from(id)))
        .collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 2, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"},
    });
    std::fs::write(base.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    base
}

/// Runs lora-eval in `dir`, writing to `dir/out`.
pub(crate) fn eval(dir: &Path, base: &Path, data: &Path, more: &[&str]) -> Output {
    eval_by(1, dir, base, data, more)
}

/// The same on so many threads.
pub(crate) fn eval_by(
    threads: usize,
    dir: &Path,
    base: &Path,
    data: &Path,
    more: &[&str],
) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lora-eval"))
        .current_dir(dir)
        .args(["--threads", &threads.to_string()])
        .args(["--out", "out", "--base"])
        .arg(base)
        .arg("--data")
        .arg(data)
        .args(more)
        .output()
        .unwrap()
}

#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

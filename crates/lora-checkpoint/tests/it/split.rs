//! Models in several GGUF files.
use crate::support::{config_with, keep, model};
use lora_checkpoint::gguf::{GgufFile, Value};
use lora_checkpoint::{Checkpoint, Error, GgufDtype, GgufTensor, save_gguf, write_gguf};
use lora_testkit::Told as _;
use serde_json::json;
use std::path::{Path, PathBuf};

const PARTS: usize = 3;

fn part(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("m-{:05}-of-{PARTS:05}.gguf", number + 1))
}

/// A part as llama.cpp's splitter writes it: the first has all metadata, each its own tensors. `claims` is what its
/// metadata say: which part, of how many, and how many tensors there are in all.
fn write_part(file: &GgufFile, path: &Path, tensors: &[&str], claims: [usize; 3], is_first: bool) {
    let all = file.all_metadata().filter(|_| is_first);
    let mut metadata: Vec<(String, Value)> = all
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    let [number, count, total] = claims;
    metadata.extend([
        ("split.no".to_owned(), Value::U16(number as u16)),
        ("split.count".to_owned(), Value::U16(count as u16)),
        ("split.tensors.count".to_owned(), Value::I32(total as i32)),
    ]);
    let tensor = |name: &&str| GgufTensor {
        name: (*name).to_owned(),
        shape: file.tensor(name).unwrap().shape().to_vec(),
        dtype: GgufDtype::F32,
    };
    let described: Vec<GgufTensor> = tensors.iter().map(tensor).collect();
    write_gguf(path, &metadata, &described, |index, first, rows| {
        file.tensor(tensors[index]).unwrap().read_rows(first, rows);
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn parts_in_a_folder_are_one_model() {
    let llama3 = json!({"rope_theta": 10000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let (dir, source) = model(&config_with(json!({"rope_parameters": llama3})));
    let whole = dir.path().join("whole.gguf");
    save_gguf(&whole, &source, GgufDtype::F32, "m", keep).unwrap();
    let file = GgufFile::open(&whole).unwrap();
    let names: Vec<&str> = file.tensor_names().collect();
    let folder = dir.path().join("parts");
    std::fs::create_dir(&folder).unwrap();
    // rope_freqs.weight, which the configuration is read with, lies in the last.
    let of: Vec<&[&str]> = names.chunks(names.len().div_ceil(PARTS)).collect();
    assert!(of.len() == PARTS && of[PARTS - 1].contains(&"rope_freqs.weight"));
    let write = |number: usize, tensors: &[&str], claims: [usize; 3]| {
        write_part(&file, &part(&folder, number), tensors, claims, number == 0);
    };
    let right = || (0..PARTS).for_each(|n| write(n, of[n], [n, PARTS, names.len()]));
    right();

    let (split, one) = (
        Checkpoint::open(&folder).unwrap(),
        Checkpoint::open(&whole).unwrap(),
    );
    assert_eq!(split.config(), one.config());
    assert_eq!(split.tensor_names(), one.tensor_names());
    for name in one.tensor_names() {
        let values = |model: &Checkpoint| model.tensor(&name).unwrap().to_f32();
        assert_eq!(values(&split), values(&one), "{name}");
    }
    assert_eq!(
        split.tokenizer().unwrap().sha256,
        one.tokenizer().unwrap().sha256
    );
    let written = |model: &Checkpoint| {
        let path = dir.path().join("again.gguf");
        save_gguf(&path, model, GgufDtype::F32, "m", keep).unwrap();
        std::fs::read(&path).unwrap()
    };
    assert!(written(&split) == written(&one));

    let refused = |path: &Path, expected: &[&str]| {
        let error = Checkpoint::open(path).unwrap_err().told();
        for expected in expected {
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
    };
    refused(
        &part(&folder, 0),
        &["part 1 of a model in 3 files", "the folder that holds all"],
    );
    refused(&part(&folder, 1), &["part 2 of a model in 3 files"]);
    let second = part(&folder, 1);
    std::fs::remove_file(&second).unwrap();
    refused(&folder, &["part 2 of 3 of m is missing"]);
    std::fs::copy(part(&folder, 0), &second).unwrap();
    refused(&folder, &["says part 1 of 3, its name 2 of 3"]);
    write(1, &[of[1], &of[0][..1]].concat(), [1, PARTS, names.len()]);
    refused(&folder, &[of[0][0], "is also in", "00001-of-00003"]);
    write(1, &of[1][1..], [1, PARTS, names.len()]);
    refused(&folder, &["split.tensors.count is", "parts of one model?"]);
    write(1, of[1], [1, 4, names.len()]);
    refused(&folder, &["says part 2 of 4"]);
    right();
    std::fs::copy(&whole, folder.join("other.gguf")).unwrap();
    refused(
        &folder,
        &["4 .gguf files, some of them parts", "a folder of their own"],
    );
}

/// Each expert lies in the part that holds its layer's tensor.
#[test]
fn experts_in_parts_are_one_model() {
    let experts = json!({"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "norm_topk_prob": true});
    let (dir, source) = model(&config_with(experts));
    let whole = dir.path().join("whole.gguf");
    save_gguf(&whole, &source, GgufDtype::F32, "m", keep).unwrap();
    let file = GgufFile::open(&whole).unwrap();
    let names: Vec<&str> = file.tensor_names().collect();
    let folder = dir.path().join("parts");
    std::fs::create_dir(&folder).unwrap();
    let of: Vec<&[&str]> = names.chunks(names.len().div_ceil(PARTS)).collect();
    let later = of[1..].iter().flat_map(|part| part.iter());
    assert!(later.filter(|name| name.ends_with("_exps.weight")).count() > 2);
    for (number, tensors) in of.iter().enumerate() {
        let claims = [number, PARTS, names.len()];
        let path = part(&folder, number);
        write_part(&file, &path, tensors, claims, number == 0);
    }
    let split = Checkpoint::open(&folder).unwrap();
    assert_eq!(split.tensor_names(), source.tensor_names());
    for name in source.tensor_names() {
        let values = |model: &Checkpoint| model.tensor(&name).unwrap().to_f32();
        assert_eq!(values(&split), values(&source), "{name}");
    }
}

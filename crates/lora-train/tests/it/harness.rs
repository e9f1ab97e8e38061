//! Runs the binary on the golden cases' tiny models.
use lora_data::{Example, Split};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file or folder of a golden case.
pub(crate) fn golden(case: &str, name: &str) -> PathBuf {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden"
    ))
    .join(case)
    .join(name)
}

/// The tiny base that most tests train on.
pub(crate) fn base() -> String {
    golden("llama_gqa_tied", "base").display().to_string()
}

/// The command, not yet run, with one thread unless the test says otherwise.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lora-train"));
    command.args(args);
    if !args.contains(&"--threads") {
        command.args(["--threads", "1"]);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Runs it, must succeed; gives the JSON lines of stdout, the receipt last.
pub(crate) fn train(args: &[&str]) -> Vec<Value> {
    let output = run(args);
    assert!(
        output.status.success(),
        "{args:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs it, must exit 2; gives stderr.
pub(crate) fn refused(args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}\n{stderr}");
    stderr
}

/// The training losses among the lines of stdout.
pub(crate) fn losses(lines: &[Value]) -> Vec<f64> {
    lines
        .iter()
        .filter(|l| l["event"] == "step")
        .map(|l| l["loss"].as_f64().unwrap())
        .collect()
}

/// The bytes of a trained adapter.
pub(crate) fn adapter_bytes(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adapter_model.safetensors")).unwrap()
}

/// A row; labels of the first `prompt` positions are not supervised.
pub(crate) fn example(ids: Vec<u32>, prompt: usize) -> Example {
    let labels = ids
        .iter()
        .enumerate()
        .map(|(t, &id)| if t < prompt { -100 } else { id as i32 })
        .collect();
    let text = String::new;
    Example {
        input_ids: ids,
        labels,
        id: text(),
        group: text(),
        prompt: text(),
        completion: text(),
    }
}

/// Writes one split.
pub(crate) fn write_split(dir: &Path, name: &str, examples: Vec<Example>) {
    std::fs::create_dir_all(dir).unwrap();
    let split = Split {
        examples,
        tokenizer_sha256: None,
        template_sha256: None,
        chat: None,
    };
    split.write(&dir.join(format!("{name}.parquet"))).unwrap();
}

/// Rows of unequal length in which every id follows from the one before: there is something to learn.
pub(crate) fn rows(n: usize) -> Vec<Example> {
    let row = |i: usize| {
        (0..5 + i * 7 % 13)
            .map(|t| 3 + ((i * 31 + t * 11) % 150) as u32)
            .collect()
    };
    (0..n).map(|i| example(row(i), 2)).collect()
}

/// A dataset folder with 24 rows to train on and 6 held out.
pub(crate) fn dataset(dir: &Path) -> String {
    let data = dir.join("data");
    write_split(&data, "train", rows(24));
    write_split(&data, "valid", rows(30).split_off(24));
    data.display().to_string()
}

/// The rows of a golden case as a plain dataset.
pub(crate) fn golden_rows(case: &str) -> Vec<Example> {
    let bytes = std::fs::read(golden(case, "golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (ids, mask, labels) = (
        ints(&tensors, "input_ids"),
        ints(&tensors, "attention_mask"),
        ints(&tensors, "labels"),
    );
    let length = tensors.tensor("input_ids").unwrap().shape()[1];
    let row = |start: usize| {
        let n = mask[start..start + length].iter().sum::<i64>() as usize;
        let mut row = example(ids[start..start + n].iter().map(|&x| x as u32).collect(), 0);
        row.labels = labels[start..start + n].iter().map(|&x| x as i32).collect();
        row
    };
    (0..ids.len()).step_by(length).map(row).collect()
}

fn ints(tensors: &SafeTensors, name: &str) -> Vec<i64> {
    let data = tensors.tensor(name).unwrap().data().to_vec();
    data.chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The f32 values of every tensor in a file, by name.
pub(crate) fn floats(file: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| {
        data.chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let mut found: Vec<_> = tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), values(view.data())))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// A mixture of experts with room for the rows' tokens, trained from random weights for a step.
pub(crate) fn mixture(dir: &Path, case: &str) -> String {
    let [shape, base] = ["shape", "base"].map(|name| dir.join(format!("{case}-{name}")));
    std::fs::create_dir(&shape).unwrap();
    let text = std::fs::read_to_string(golden(case, "base").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["vocab_size"] = json!(160);
    std::fs::write(shape.join("config.json"), config.to_string()).unwrap();
    let data = dataset(dir);
    let [from, to] = [&shape, &base].map(|path| path.to_str().unwrap());
    let fixed = ["--base", from, "--data", &data, "--out", to, "--steps", "1"];
    train(&[&fixed[..], &["--method", "full", "--warmup", "0"]].concat());
    to.to_owned()
}

//! Bad input: exit 2, what and where, a hint, nothing half written.
use crate::harness::{base, dataset, example, golden, refused, rows, train, write_split};
use std::fs;
use std::path::Path;

/// Runs with data that the test wrote; nothing may be left at OUT.
fn error(dir: &Path, data: &str, more: &[&str]) -> String {
    let (base, out) = (base(), dir.join("out"));
    let mut args = vec![
        "--data",
        data,
        "--out",
        out.to_str().unwrap(),
        "--steps",
        "3",
    ];
    args.extend(more);
    if !more.contains(&"--base") {
        args.extend(["--base", &base]);
    }
    let stderr = refused(&args);
    assert!(!out.exists());
    stderr
}

fn with_rows(rows: Vec<lora_data::Example>, more: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    write_split(&data, "train", rows);
    let stderr = error(dir.path(), data.to_str().unwrap(), more);
    assert!(!dir.path().join("out.partial").exists());
    stderr
}

#[test]
fn missing_inputs_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let stderr = error(dir.path(), "no-such-data", &[]);
    assert!(stderr.contains("no-such-data"), "{stderr}");
    let stderr = error(dir.path(), &data, &["--base", "no-such-base"]);
    assert!(stderr.contains("no-such-base"), "{stderr}");
    let stderr = error(dir.path(), &data, &["--adapter", "no-such-adapter"]);
    assert!(stderr.contains("no-such-adapter"), "{stderr}");
    assert!(!dir.path().join("out.partial").exists());
}

#[test]
fn rows_that_the_model_cannot_take_are_named() {
    let stderr = with_rows([rows(2), vec![example(vec![5; 129], 1)]].concat(), &[]);
    assert!(stderr.contains("row 3 of train has 129 tokens, more than the model's context of 128"));
    assert!(
        stderr.contains("hint: prepare the data with lora-prep --max-length 128"),
        "{stderr}"
    );
    let stderr = with_rows(vec![example(vec![5, 160, 7], 1)], &[]);
    assert!(
        stderr.contains("token id 160 is outside the model's vocabulary of 160"),
        "{stderr}"
    );
}

#[test]
fn unknown_targets_list_the_models_modules() {
    let stderr = with_rows(rows(3), &["--targets", "q_proj,query_key_value"]);
    assert!(
        stderr.contains("query_key_value") && stderr.contains("down_proj"),
        "{stderr}"
    );
}

#[test]
fn an_adapter_of_another_base_is_refused_with_both_shapes() {
    let adapter = golden("llama_rope3_rslora", "adapter");
    let stderr = with_rows(rows(3), &["--adapter", adapter.to_str().unwrap()]);
    assert!(
        stderr.contains("lora_A") || stderr.contains("lora_B"),
        "{stderr}"
    );
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (flags, word) in [
        (&["--adapter", "a", "--rank", "4"][..], "--rank"),
        (&["--epochs", "2"], "--steps"),
        (&["--batch", "2", "--batch-tokens", "64"], "--batch-tokens"),
        (
            &["--method", "full", "--rank", "4"],
            "--rank can't be used with --method full",
        ),
        (&["--patience", "2"], "--patience needs a valid split"),
        (&["--lr", "0"], "a number above 0"),
        (&["--lr", "nan"], "a number above 0"),
        (&["--dropout", "1"], "from 0 to below 1"),
        (&["--batch", "0"], "1 or more"),
        (&["--warmup", "2.5"], "a whole number of steps"),
    ] {
        let stderr = with_rows(rows(3), flags);
        assert!(stderr.contains(word), "{flags:?}: {stderr}");
    }
}

#[test]
fn a_dataset_of_another_tokenizer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (dir.path().join("base"), dir.path().join("data"));
    fs::create_dir_all(&base).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden("llama_gqa_tied", "base").join(file), base.join(file)).unwrap();
    }
    let vocabulary: serde_json::Map<_, _> =
        (0..160).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = serde_json::json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"}});
    fs::write(base.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::create_dir_all(&data).unwrap();
    let split = lora_data::Split {
        examples: rows(4),
        tokenizer_sha256: Some("0".repeat(64)),
        template_sha256: Some("1".repeat(64)),
        chat: None,
    };
    split.write(&data.join("train.parquet")).unwrap();
    let stderr = error(
        dir.path(),
        data.to_str().unwrap(),
        &["--base", base.to_str().unwrap()],
    );
    assert!(
        stderr.contains("tokenizer") && stderr.contains("hint:"),
        "{stderr}"
    );
}

#[test]
fn an_existing_output_is_refused_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dataset(dir.path()), dir.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(out.join("precious"), "x").unwrap();
    let stderr = refused(&[
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
        "--steps",
        "1",
    ]);
    assert!(stderr.contains("exists already"), "{stderr}");
    assert!(out.join("precious").exists());
}

#[test]
fn a_tensor_without_a_gradient_stops_the_first_step_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    fs::copy(
        golden("llama_gqa_tied", "base/config.json"),
        base.join("config.json"),
    )
    .unwrap();
    // Where o_proj is zero, nothing of the second layer's attention reaches the loss.
    let mut bytes = fs::read(golden("llama_gqa_tied", "base/model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let o_proj = weights
        .tensor("model.layers.1.self_attn.o_proj.weight")
        .unwrap()
        .data();
    let start = o_proj.as_ptr() as usize - bytes.as_ptr() as usize;
    let range = start..start + o_proj.len();
    bytes[range].fill(0);
    fs::write(base.join("model.safetensors"), bytes).unwrap();
    let stderr = with_rows(
        rows(4),
        &["--targets", "attention", "--base", base.to_str().unwrap()],
    );
    let named = "the gradient of model.layers.1.self_attn.q_proj.lora_B is exactly zero at step 1";
    assert!(stderr.contains(named), "{stderr}");
}

#[test]
fn a_run_that_diverges_stops_names_the_step_and_keeps_its_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let flags = [
        "--lr",
        "1e30",
        "--eval-every",
        "1",
        "--warmup",
        "2",
        "--schedule",
        "constant",
    ];
    let stderr = error(dir.path(), &data, &[&flags[..], &["--force"]].concat());
    assert!(
        stderr.contains("step ") && stderr.contains("a lower --lr"),
        "{stderr}"
    );
    assert!(
        stderr.contains("NaN") || stderr.contains("inf") || stderr.contains("finite"),
        "{stderr}"
    );
    assert!(
        stderr.contains("out.partial keeps the checkpoints so far")
            && stderr.contains("from the last good checkpoint"),
        "{stderr}"
    );
    assert!(
        dir.path()
            .join("out.partial/checkpoints/last/adapter_model.safetensors")
            .exists()
    );
    let names = fs::read_dir(dir.path().join("out.partial/checkpoints")).unwrap();
    assert!(
        names
            .map(|entry| entry.unwrap().file_name())
            .all(|name| !name.to_string_lossy().ends_with(".new"))
    );
}

/// Weights of equal shapes are no proof: the adapter's receipt knows the base that it was trained on.
#[test]
fn an_adapter_goes_on_only_on_the_base_it_was_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (dataset(dir.path()), dir.path().join("other"));
    let out = |name: &str| dir.path().join(name).display().to_string();
    let (first, second) = (out("first"), out("second"));
    let base = base();
    train(&[
        "--base", &base, "--data", &data, "--out", &first, "--steps", "2",
    ]);
    std::fs::create_dir(&other).unwrap();
    for entry in std::fs::read_dir(&base).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, other.join(file.file_name().unwrap())).unwrap();
    }
    let weights = other.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 3; // in the mantissa of the last value
    bytes[last] ^= 0x40;
    std::fs::write(&weights, bytes).unwrap();

    let other = other.display().to_string();
    let checkpoint = format!("{first}/checkpoints/last");
    for adapter in [&first, &checkpoint] {
        let go_on = [
            "--adapter",
            adapter,
            "--data",
            &data,
            "--out",
            &second,
            "--steps",
            "2",
        ];
        let said = refused(&[&["--base", &other], &go_on[..]].concat());
        assert!(
            said.contains("was trained on") && said.contains("hint:"),
            "{said}"
        );
        assert!(said.contains(&format!("--base {base}")), "{said}");
        train(&[&["--base", &base, "--force"], &go_on[..]].concat());
        train(
            &[
                &["--base", &other, "--force", "--allow-other-base"],
                &go_on[..],
            ]
            .concat(),
        );
        std::fs::remove_dir_all(&second).unwrap();
    }
}

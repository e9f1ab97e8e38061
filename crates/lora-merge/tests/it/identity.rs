//! An adapter meets the base that it was trained on, or the merge is refused.
use crate::harness::{CASES, assert_code, case, merge, stderr};
use lora_checkpoint::Checkpoint;
use lora_model::model_input;
use lora_testkit::floats;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
    to.to_path_buf()
}

/// A base, and a trained adapter whose receipt names it.
fn trained(dir: &Path) -> (PathBuf, PathBuf) {
    let base = copy(&case(CASES[0]).join("base"), &dir.join("base"));
    let adapter = copy(
        &case(CASES[0]).join("adapter_trained"),
        &dir.join("adapter"),
    );
    let input = model_input("base", &base, &Checkpoint::open(&base).unwrap()).unwrap();
    let receipt = serde_json::json!({
        "version": 2, "tool": "lora-train", "tool_version": "0", "artefact": "adapter", "out": adapter, "config": {},
        "seed": 1, "inputs": [input], "outputs": [], "results": {}, "measured": {}, "wall_seconds": 1.0,
        "peak_rss_bytes": 1, "host": {},
    });
    std::fs::write(adapter.join("receipt.json"), receipt.to_string()).unwrap();
    (base, adapter)
}

/// The base with one value of one weight changed a little: all shapes are as they were.
fn changed(base: &Path, to: &Path) -> PathBuf {
    let copied = copy(base, to);
    let path = copied.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let values = file.tensor("model.layers.0.mlp.up_proj.weight").unwrap();
        values.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    bytes[at..at + 4].copy_from_slice(&0.25f32.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
    copied
}

#[test]
fn another_base_of_equal_shapes_is_refused_and_the_flag_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = trained(dir.path());
    let other = changed(&base, &dir.path().join("other"));
    for more in [&[][..], &["--to-adapter"]] {
        let output = merge(dir.path(), Some(&other), &adapter, more);
        assert_code(&output, 2);
        let said = stderr(&output);
        assert!(
            said.contains("adapter was trained on") && said.contains("their weights differ"),
            "{said}"
        );
        assert!(said.contains("--allow-other-base"), "{said}");
        assert!(!dir.path().join("out").exists() && !dir.path().join("out.partial").exists());
    }
    let output = merge(dir.path(), Some(&other), &adapter, &["--allow-other-base"]);
    assert_code(&output, 0);
    assert!(stderr(&output).contains("going on, as --allow-other-base says"));
    let own = merge(dir.path(), Some(&base), &adapter, &["--force"]);
    assert_code(&own, 0);
    assert!(!stderr(&own).contains("was trained on"), "{}", stderr(&own));
}

#[test]
fn adapters_of_two_bases_become_one_only_if_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = trained(dir.path());
    let other = changed(&base, &dir.path().join("other"));
    let second = copy(&adapter, &dir.path().join("second"));
    let path = second.join("receipt.json");
    let mut receipt = lora_testkit::json(&path);
    let input = model_input("base", &other, &Checkpoint::open(&other).unwrap()).unwrap();
    receipt["inputs"] = serde_json::json!([input]);
    std::fs::write(path, receipt.to_string()).unwrap();
    // No base is there: only the receipts tell.
    std::fs::remove_dir_all(&base).unwrap();
    std::fs::remove_dir_all(&other).unwrap();
    let second = second.display().to_string();
    let both = ["--adapter", &second, "--to-adapter"];
    let output = merge(dir.path(), None, &adapter, &both);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("second was trained on"),
        "{}",
        stderr(&output)
    );
    let allowed = [&both[..], &["--allow-other-base"]].concat();
    assert_code(&merge(dir.path(), None, &adapter, &allowed), 0);
    let written = floats(&dir.path().join("out/adapter_model.safetensors"));
    assert!(!written.is_empty());
}

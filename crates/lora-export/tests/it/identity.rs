//! An adapter is exported for the base that it was trained on.
use crate::harness::{export, golden, stderr};
use lora_checkpoint::{Checkpoint, Error, SaveDtype, save_folder};
use lora_model::model_input;
use lora_testkit::assert_code;
use std::path::Path;

const CASE: &str = "llama_gqa_tied";

/// A copy of the golden adapter whose receipt names its base.
fn trained(dir: &Path) {
    let adapter = dir.join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = golden(&format!("{CASE}/adapter_trained/{file}"));
        std::fs::copy(from, adapter.join(file)).unwrap();
    }
    let base = golden(&format!("{CASE}/base"));
    let opened = Checkpoint::open(base.as_ref()).unwrap();
    let input = model_input("base", base.as_ref(), &opened).unwrap();
    let receipt = serde_json::json!({
        "version": 2, "tool": "lora-train", "tool_version": "0", "artefact": "adapter", "out": adapter, "config": {},
        "seed": 1, "inputs": [input], "outputs": [], "results": {}, "measured": {}, "wall_seconds": 1.0,
        "peak_rss_bytes": 1, "host": {},
    });
    std::fs::write(adapter.join("receipt.json"), receipt.to_string()).unwrap();
}

/// The base with other weights in one module: all shapes and types are as they were.
fn changed(dir: &Path) {
    let other = dir.join("other");
    std::fs::create_dir(&other).unwrap();
    let base = Checkpoint::open(golden(&format!("{CASE}/base")).as_ref()).unwrap();
    save_folder::<Error>(&other, &base, SaveDtype::F32, |view, _, rows| {
        if view.name() == "model.layers.0.mlp.up_proj.weight" {
            rows[0] += 0.25;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn another_base_of_equal_shapes_is_refused_and_the_flag_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path());
    changed(dir.path());
    for (format, out) in [("gguf", "a.gguf"), ("peft", "peft"), ("mlx", "mlx")] {
        let args = ["--adapter", "adapter", "--format", format, "--out", out];
        let with = |base: &str, more: &[&str]| {
            export(dir.path(), &[&args[..], &["--base", base], more].concat())
        };
        let refused = with("other", &[]);
        assert_code(&refused, 2);
        let said = stderr(&refused);
        assert!(
            said.contains("adapter was trained on") && said.contains("their weights differ"),
            "{said}"
        );
        assert!(said.contains("--allow-other-base"), "{said}");
        assert!(!dir.path().join(out).exists());
        let allowed = with("other", &["--allow-other-base"]);
        assert_code(&allowed, 0);
        assert!(stderr(&allowed).contains("going on, as --allow-other-base says"));
        let own = with(&golden(&format!("{CASE}/base")), &["--force"]);
        assert_code(&own, 0);
        assert!(!stderr(&own).contains("was trained on"), "{}", stderr(&own));
    }
}

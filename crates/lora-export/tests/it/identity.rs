//! An adapter is exported for the base that it was trained on.
use crate::harness::{export, golden, stderr};
use lora_checkpoint::{Checkpoint, Error, SaveDtype, save_folder};
use lora_model::model_input;
use lora_testkit::{assert_code, floats, write_family};
use std::path::Path;

const CASE: &str = "llama_gqa_tied";

/// A copy of the golden adapter whose receipt names its base.
fn trained(dir: &Path) {
    trained_on(dir, CASE, golden(&format!("{CASE}/base")).as_ref());
}

/// A copy of a golden case's adapter whose receipt names `base`.
fn trained_on(dir: &Path, case: &str, base: &Path) {
    let adapter = dir.join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = golden(&format!("{case}/adapter_trained/{file}"));
        std::fs::copy(from, adapter.join(file)).unwrap();
    }
    let opened = Checkpoint::open(base).unwrap();
    let input = model_input("base", base, &opened).unwrap();
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

/// llama.cpp has no architecture for Helium: its files are Llama's with a key of our own. Without that key the same file is a
/// Llama whose rows of q and k lie in another order.
#[test]
fn a_file_without_its_family_s_name_is_another_base() {
    let dir = tempfile::tempdir().unwrap();
    write_family("helium_pairs", &dir.path().join("base"));
    trained_on(dir.path(), "helium_pairs", &dir.path().join("base"));
    let made = export(
        dir.path(),
        &[
            "--model", "base", "--format", "gguf", "--dtype", "f32", "--out", "m.gguf",
        ],
    );
    assert_code(&made, 0);
    let exported = |base: &str| {
        let args = ["--adapter", "adapter", "--format", "gguf", "--base", base];
        export(
            dir.path(),
            &[&args[..], &["--out", "a.gguf", "--force"]].concat(),
        )
    };
    let folder = exported("base");
    assert_code(&folder, 0);
    let own = std::fs::read(dir.path().join("a.gguf")).unwrap();
    let file = exported("m.gguf");
    assert_code(&file, 0);
    assert!(!stderr(&file).contains("trained on"), "{}", stderr(&file));
    let rows = own.len() - own.len() / 2; // names differ in the metadata alone
    let same = std::fs::read(dir.path().join("a.gguf")).unwrap();
    assert_eq!(own[own.len() - rows..], same[same.len() - rows..]);

    let mut bytes = std::fs::read(dir.path().join("m.gguf")).unwrap();
    let key = b"lora.model_type";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
    bytes[at..at + key.len()].copy_from_slice(b"some.other_text");
    std::fs::write(dir.path().join("nameless.gguf"), &bytes).unwrap();
    let opened = Checkpoint::open(&dir.path().join("nameless.gguf")).unwrap();
    assert_eq!(opened.config().facts().model_type, "llama");
    let refused = exported("nameless.gguf");
    assert_code(&refused, 2);
    let said = stderr(&refused);
    assert!(
        said.contains("the rows of q_proj and k_proj lie in another order"),
        "{said}"
    );
}

/// A GGUF file has the model's multipliers in its weights: an adapter of the folder is none of the file's, but as a GGUF LoRA.
#[test]
fn an_adapter_goes_from_a_folder_with_multipliers_to_its_gguf_file_as_a_gguf_lora() {
    const CASE: &str = "falcon_h1_multipliers";
    let dir = tempfile::tempdir().unwrap();
    write_family(CASE, &dir.path().join("base"));
    trained_on(dir.path(), CASE, &dir.path().join("base"));
    let made = export(
        dir.path(),
        &[
            "--model", "base", "--format", "gguf", "--dtype", "f32", "--out", "m.gguf",
        ],
    );
    assert_code(&made, 0);
    let exported = |adapter: &str, base: &str, format: &str, out: &str| {
        let args = ["--adapter", adapter, "--base", base, "--format", format];
        export(dir.path(), &[&args[..], &["--out", out]].concat())
    };
    assert_code(&exported("adapter", "base", "gguf", "a.gguf"), 0);
    for format in ["gguf", "peft"] {
        let refused = exported("adapter", "m.gguf", format, "other");
        assert_code(&refused, 2);
        let said = stderr(&refused);
        assert!(
            said.contains("one has multipliers in its weights"),
            "{said}"
        );
    }
    let mlx = exported("adapter", "base", "mlx", "mlx");
    assert_code(&mlx, 2);
    assert!(
        stderr(&mlx).contains("no adapter of mlx-lm fits"),
        "{}",
        stderr(&mlx)
    );
    for (base, out) in [("m.gguf", "onto-file"), ("base", "back")] {
        let made = exported("a.gguf", base, "peft", out);
        assert_code(&made, 0);
    }
    let values = |folder: &str| {
        let all = floats(&dir.path().join(folder).join("adapter_model.safetensors"));
        let names = [
            "mamba.in_proj.lora_B",
            "self_attn.k_proj.lora_B",
            "feed_forward.up_proj.lora_B",
        ];
        names.map(|name| {
            let full = format!("base_model.model.model.layers.1.{name}.weight");
            let found = all.iter().find(|(name, ..)| *name == full);
            found.unwrap().2.clone()
        })
    };
    let ([own_in, own_k, own_up], [back_in, back_k, back_up]) = (values("adapter"), values("back"));
    let close = |a: &[f32], b: &[f32]| {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs())
    };
    assert!(close(&own_in, &back_in) && close(&own_k, &back_k) && close(&own_up, &back_up));
    let [file_in, file_k, file_up] = values("onto-file");
    let times = |values: &[f32], factor: f32| values.iter().map(|v| v * factor).collect::<Vec<_>>();
    assert!(close(&file_k, &times(&own_k, 1.3 * 0.7)) && close(&file_up, &own_up));
    // Rows of the gate, of x, and of what steps are made of.
    let rank = 3;
    for (rows, factor) in [(0..48, 0.9), (48..96, 1.4), (136..142, 0.5)] {
        let own = &own_in[rows.start * rank..rows.end * rank];
        let file = &file_in[rows.start * rank..rows.end * rank];
        assert!(close(file, &times(own, 1.2 * factor)), "{rows:?}");
    }
}

#[test]
fn a_name_that_no_file_of_that_architecture_has_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_family("helium_pairs", &dir.path().join("base"));
    let made = export(
        dir.path(),
        &[
            "--model", "base", "--format", "gguf", "--dtype", "f32", "--out", "m.gguf",
        ],
    );
    assert_code(&made, 0);
    let mut bytes = std::fs::read(dir.path().join("m.gguf")).unwrap();
    let at = bytes.windows(6).position(|w| w == b"helium").unwrap();
    bytes[at..at + 6].copy_from_slice(b"granit");
    std::fs::write(dir.path().join("other.gguf"), &bytes).unwrap();
    let refused = export(
        dir.path(),
        &["--model", "other.gguf", "--format", "hf", "--out", "back"],
    );
    assert_code(&refused, 2);
    let said = stderr(&refused);
    assert!(
        said.contains(
            "lora.model_type is \"granit\", of which no file of architecture \"llama\" is"
        ),
        "{said}"
    );
}

//! `--out X.gguf`: the base's file again, with the adapted weights in it.
use crate::harness::{assert_code, case, stderr};
use lora_checkpoint::gguf::GgufFile;
use lora_checkpoint::{
    Chat, Checkpoint, Error, GgufDtype, GgufStorage, Mix, TensorView, save_gguf,
};
use lora_core::Adapter;
use lora_model::Base;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn merge(dir: &Path, base: &Path, adapter: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lora-merge"))
        .current_dir(dir)
        .args(["--base".as_ref(), base.as_os_str()])
        .args(["--adapter".as_ref(), adapter.as_os_str()])
        .args(["--allow-other-base", "--json"])
        .args(more)
        .output()
        .unwrap()
}

/// A golden case's base, with a tokenizer, in a GGUF file of these types.
fn quantised(dir: &Path, name: &str, storage: GgufStorage<'static>) -> PathBuf {
    let (path, folder) = (dir.join("base.gguf"), dir.join("base"));
    lora_testkit::write_family(name, &folder);
    let base = Checkpoint::open(&folder).unwrap();
    save_gguf(&path, &base, storage, "base", |_| Ok::<(), Error>(())).unwrap();
    path
}

fn mix(mix: Mix) -> GgufStorage<'static> {
    GgufStorage::Mixed(mix, None)
}

/// The most that rounding to a tensor's type moves a value: a step of its block, at most this share of the largest value.
fn within(view: &TensorView<'_>, exact: &[f32], bits: i32) {
    let largest = exact.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let step = 2.0 * largest / (2f32.powi(bits) - 1.0);
    for (stored, exact) in view.to_f32().iter().zip(exact) {
        assert!(
            (stored - exact).abs() <= step,
            "{}: {stored} for {exact}",
            view.name()
        );
    }
}

/// Experts lie in one tensor of the file, an adapter's factors in one of its own: each of its values is the folder's.
#[test]
fn experts_are_merged_into_the_file_as_into_a_folder() {
    for name in [
        "parameters_gate_up",
        "parameters_down",
        "parameters_stacked",
        "parameters_turned",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (path, folder) = (dir.path().join("base.gguf"), dir.path().join("base"));
        lora_testkit::write_family(name, &folder);
        let base = Checkpoint::open(&folder).unwrap();
        save_gguf(
            &path,
            &base,
            lora_checkpoint::GgufDtype::F32,
            "base",
            |_| Ok::<(), Error>(()),
        )
        .unwrap();
        let adapter = case(name).join("adapter");
        for (base, more) in [
            (&path, &["--out", "merged.gguf"][..]),
            (&folder, &["--out", "merged", "--dtype", "f32"]),
        ] {
            assert_code(&merge(dir.path(), base, &adapter, more), 0);
        }
        let [file, folder, base] = ["merged.gguf", "merged", "base"]
            .map(|name| Checkpoint::open(&dir.path().join(name)).unwrap());
        let mut changed = 0;
        for name in folder.tensor_names() {
            let [one, two, before] =
                [&file, &folder, &base].map(|model| model.tensor(&name).unwrap().to_f32());
            assert!(one == two, "{name}");
            changed += usize::from(one != before && name.contains("experts"));
        }
        assert!(changed >= 5, "{name}: {changed} experts' weights changed");
    }
}

#[test]
fn only_adapted_tensors_change_and_each_keeps_its_type() {
    // Half of MXFP4's values are within 1 of the largest 6, and up to 8 becomes 6.
    let mxfp4 = GgufStorage::All(GgufDtype::Mxfp4);
    for (name, storage, bits) in [
        ("llama_gqa_tied", mix(Mix::Q8_0), 8),
        ("llama_gqa_tied", mix(Mix::Q4_1), 4),
        ("gemma3_text", mix(Mix::Q5_0), 5),
        ("phi3_fused", mix(Mix::Q8_0), 8),
        ("qwen2_bias_all_linear", mix(Mix::Q5_1), 5),
        ("llama_gqa_tied", mxfp4, 3),
        // Near a tie rounding sends a token to another expert: the check follows those that base + adapter chose.
        ("qwen3_moe_experts", mix(Mix::Q4_0), 4),
        ("olmoe_experts", mix(Mix::Q8_0), 8),
        ("mixtral_windows", mix(Mix::Q4_1), 4),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let base_path = quantised(dir.path(), name, storage);
        let adapter_path = case(name).join("adapter");
        let out = dir.path().join("merged.gguf");
        let done = merge(
            dir.path(),
            &base_path,
            &adapter_path,
            &["--out", "merged.gguf"],
        );
        assert_code(&done, 0);
        let (before, after) = (
            std::fs::read(&base_path).unwrap(),
            std::fs::read(&out).unwrap(),
        );
        assert_eq!(before.len(), after.len(), "{name}");
        let base = Base::open(&base_path).unwrap();
        let (adapter, _) = Adapter::load(&adapter_path, &base).unwrap();
        let merged = Checkpoint::open(&out).unwrap();
        let (mut changed, mut kept) = (0, 0);
        for tensor in base.checkpoint().tensor_names() {
            let old = base.checkpoint().tensor(&tensor).unwrap();
            let new = merged.tensor(&tensor).unwrap();
            assert_eq!(old.dtype(), new.dtype(), "{name} {tensor}");
            let module = tensor
                .strip_suffix(".weight")
                .and_then(|path| adapter.find(path));
            let Some(index) = module else {
                assert_eq!(old.stored(), new.stored(), "{name} {tensor}");
                kept += 1;
                continue;
            };
            assert_ne!(old.stored(), new.stored(), "{name} {tensor}");
            let mut exact = old.to_f32();
            adapter.modules[index].add_delta(&mut exact, 0, adapter.factors(index));
            within(&new, &exact, bits);
            changed += 1;
        }
        assert!(
            changed > 0 && kept > 0,
            "{name}: {changed} changed, {kept} kept"
        );
        let old = GgufFile::open(&base_path).unwrap();
        let new = GgufFile::open(&out).unwrap();
        assert!(old.all_metadata().eq(new.all_metadata()), "{name}");
        // Everything before the first tensor: the header, byte for byte.
        let header = |bytes: &[u8]| bytes[..4096.min(bytes.len())].to_vec();
        assert_eq!(header(&before), header(&after), "{name}");
    }
}

#[test]
fn the_chats_of_the_rows_replace_the_base_s_and_nothing_else_moves() {
    let dir = tempfile::tempdir().unwrap();
    let base_path = quantised(dir.path(), "llama_gqa_tied", mix(Mix::Q8_0));
    let adapter = dir.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(
            case("llama_gqa_tied/adapter").join(file),
            adapter.join(file),
        )
        .unwrap();
    }
    let chat = Chat {
        template: Some("{% for m in messages %}{{ m['content'] }}{% endfor %}".to_owned()),
        system: Some("Be brief.".to_owned()),
    };
    chat.write(&adapter).unwrap();
    assert_code(
        &merge(dir.path(), &base_path, &adapter, &["--out", "merged.gguf"]),
        0,
    );
    let merged = Checkpoint::open(&dir.path().join("merged.gguf")).unwrap();
    assert_eq!(merged.chat().unwrap(), chat);
    let base = Checkpoint::open(&base_path).unwrap();
    let norm = "model.layers.0.input_layernorm.weight";
    assert_eq!(
        base.tensor(norm).unwrap().stored(),
        merged.tensor(norm).unwrap().stored()
    );
}

#[test]
fn what_a_file_cannot_hold_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let folder = case("llama_gqa_tied").join("base");
    let adapter = case("llama_gqa_tied").join("adapter");
    let gguf = quantised(dir.path(), "llama_gqa_tied", mix(Mix::Q8_0));
    for (base, args, message) in [
        (
            &folder,
            vec!["--out", "m.gguf"],
            "only a GGUF file can be merged into a GGUF file",
        ),
        (
            &gguf,
            vec!["--out", "m.gguf", "--dtype", "f16"],
            "the base's own types, not f16",
        ),
        (
            &gguf,
            vec!["--out", "folder", "--dtype", "base"],
            "--out names a folder",
        ),
    ] {
        let output = merge(dir.path(), base, &adapter, &args);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert!(!dir.path().join(args[1]).exists());
    }
}

/// Experts in blocks of MXFP4: an adapter beside them leaves them so, one on them has all of them written as other weights are.
#[test]
fn experts_in_blocks_are_widened_where_an_adapter_changes_them() {
    for (name, widens) in [("gpt_oss_mxfp4", false), ("parameters_mxfp4", true)] {
        let dir = tempfile::tempdir().unwrap();
        let folder = case(name).join("base");
        let adapter = case(name).join("adapter");
        let more = ["--out", "out", "--dtype", "f32"];
        let done = merge(dir.path(), &folder, &adapter, &more);
        assert_code(&done, 0);
        assert_eq!(stderr(&done).contains("blocks of MXFP4"), widens, "{name}");
        let config = std::fs::read_to_string(dir.path().join("out/config.json")).unwrap();
        assert_eq!(config.contains("quantization_config"), !widens, "{name}");
        let [base, merged] =
            [folder, dir.path().join("out")].map(|m| Checkpoint::open(&m).unwrap());
        let mut changed = 0;
        let experts = base.tensor_names();
        for weight in experts
            .iter()
            .filter(|name| name.contains("experts") && name.ends_with("weight"))
        {
            let [before, after] = [&base, &merged].map(|model| model.tensor(weight).unwrap());
            assert_eq!(before.dtype() == after.dtype(), !widens, "{weight}");
            changed += usize::from(before.to_f32() != after.to_f32());
        }
        assert_eq!(changed > 0, widens, "{name}: {changed}");
    }
}

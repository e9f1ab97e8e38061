//! Adapters from format to format: the same ΔW in each, and strict readers.
use crate::harness::{export, golden, receipt, stderr};
use lora_core::{Adapter, BaseModel, LoraConfig, Pattern, TargetModules, diff};
use lora_model::Base;
use std::path::{Path, PathBuf};

const CASES: [&str; 2] = ["llama_gqa_tied", "llama_rope3_rslora"];

pub fn load(path: &Path, base: &Base) -> Adapter {
    Adapter::load(path, base).unwrap().0
}

/// Runs `--adapter FROM --format FORMAT --out TO` in `dir`; gives TO back.
#[track_caller]
pub fn convert(dir: &Path, base: &str, from: &str, format: &str, to: &str) -> PathBuf {
    receipt(&export(
        dir,
        &[
            "--adapter",
            from,
            "--base",
            base,
            "--format",
            format,
            "--out",
            to,
        ],
    ));
    dir.join(to)
}

#[test]
fn peft_to_gguf_to_peft_to_gguf_gives_the_same_bytes() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        let (base, adapter) = (
            golden(&format!("{case}/base")),
            golden(&format!("{case}/adapter")),
        );
        let one = convert(dir.path(), &base, &adapter, "gguf", "one.gguf");
        let back = convert(dir.path(), &base, "one.gguf", "peft", "back");
        let two = receipt(&export(
            dir.path(),
            &[
                "--adapter",
                "back",
                "--base",
                &base,
                "--name",
                "adapter",
                "--out",
                "two.gguf",
            ],
        ));
        assert_eq!(two["artefact"], "gguf");
        assert!(
            std::fs::read(one).unwrap() == std::fs::read(dir.path().join("two.gguf")).unwrap(),
            "{case}"
        );
        let opened = Base::open(base.as_ref()).unwrap();
        let (before, after) = (load(adapter.as_ref(), &opened), load(&back, &opened));
        assert_eq!(before.params, after.params);
        assert!(
            before
                .modules
                .iter()
                .zip(&after.modules)
                .all(|(x, y)| (x.scaling - y.scaling).abs() < 1e-6 * x.scaling)
        );
    }
}

/// llama.cpp takes an alpha of 0 for none said, and scales by 1.
#[test]
fn an_adapter_that_is_scaled_by_nothing_changes_nothing_in_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let base = golden(&format!("{}/base", CASES[0]));
    let from = golden(&format!("{}/adapter_trained", CASES[0]));
    let off = dir.path().join("off");
    std::fs::create_dir(&off).unwrap();
    let file = "adapter_model.safetensors";
    std::fs::copy(Path::new(&from).join(file), off.join(file)).unwrap();
    let config = std::fs::read(Path::new(&from).join("adapter_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["lora_alpha"] = 0.into();
    std::fs::write(off.join("adapter_config.json"), config.to_string()).unwrap();
    let gguf = convert(dir.path(), &base, "off", "gguf", "off.gguf");
    let gguf = lora_checkpoint::gguf::GgufFile::open(&gguf).unwrap();
    let alpha = gguf.metadata("adapter.lora.alpha").unwrap();
    assert_eq!(format!("{alpha:?}"), "F32(8.0)");
    let b = |name: &&str| name.ends_with(".lora_b");
    let mut factors = gguf.tensor_names().filter(b).peekable();
    assert!(factors.peek().is_some());
    for name in factors {
        let values = gguf.tensor(name).unwrap().to_f32();
        assert!(values.iter().all(|value| *value == 0.0), "{name}");
    }
}

#[test]
fn mlx_and_gguf_and_peft_say_the_same() {
    for case in CASES {
        let dir = tempfile::tempdir().unwrap();
        let (base, adapter) = (
            golden(&format!("{case}/base")),
            golden(&format!("{case}/adapter_trained")),
        );
        convert(dir.path(), &base, &adapter, "mlx", "mlx");
        convert(dir.path(), &base, "mlx", "gguf", "gguf");
        let back = convert(dir.path(), &base, "gguf", "peft", "peft");
        let opened = Base::open(base.as_ref()).unwrap();
        let apart = diff(&load(adapter.as_ref(), &opened), &load(&back, &opened))
            .unwrap()
            .total;
        assert!(apart.distance < 1e-6 * apart.norms.0, "{case}: {apart:?}");
    }
}

/// Other ranks and alphas for single modules: GGUF and mlx-lm have one alpha or scale a file.
#[test]
fn patterns_and_an_embedding_fold_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let base = golden("llama_rope3_rslora/base");
    let opened = Base::open(base.as_ref()).unwrap();
    let names = ["q_proj", "up_proj", "embed_tokens"]
        .map(str::to_owned)
        .to_vec();
    let mut config = LoraConfig::new(3, 5.0, TargetModules::List(names));
    config.use_rslora = true;
    config.rank_pattern = Pattern(vec![("up_proj".to_owned(), 2)]);
    config.alpha_pattern = Pattern(vec![("layers.1.self_attn.q_proj".to_owned(), 11.0)]);
    let layout = config.layout(&opened.modules()).unwrap();
    let params = (0..layout.parameters())
        .map(|i| (i as f32 * 0.37).sin() * 0.1)
        .collect();
    let adapter = Adapter::from_layout(config, layout, params).unwrap();
    std::fs::create_dir(dir.path().join("mixed")).unwrap();
    adapter.save(&dir.path().join("mixed")).unwrap();
    for format in ["gguf", "mlx"] {
        convert(dir.path(), &base, "mixed", format, format);
        let back = load(
            &convert(dir.path(), &base, format, "peft", &format!("{format}-peft")),
            &opened,
        );
        assert_eq!(
            back.modules.len(),
            5,
            "q and up of two layers, and the embedding"
        );
        let apart = diff(&adapter, &back).unwrap();
        for (path, c) in &apart.modules {
            assert!(c.distance < 1e-6 * c.norms.0, "{format} {path}: {c:?}");
        }
    }
    let file =
        lora_checkpoint::gguf::GgufFile::open(&dir.path().join("gguf/adapter.gguf")).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(
        shape("token_embd.weight.lora_a"),
        [160, 3],
        "rows are looked up by token"
    );
    assert_eq!(shape("token_embd.weight.lora_b"), [48, 3]);
    assert_eq!(shape("blk.0.ffn_up.weight.lora_a"), [2, 48]);
}

#[test]
fn what_a_format_can_not_hold_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let base = golden("llama_gqa_tied/base");
    let opened = Base::open(base.as_ref()).unwrap();
    let save = |name: &str, change: fn(&mut LoraConfig)| {
        let mut config = LoraConfig::new(2, 4.0, TargetModules::List(vec!["q_proj".to_owned()]));
        change(&mut config);
        let layout = config.layout(&opened.modules()).unwrap();
        let params = vec![0.25; layout.parameters()];
        std::fs::create_dir(dir.path().join(name)).unwrap();
        Adapter::from_layout(config, layout, params)
            .unwrap()
            .save(&dir.path().join(name))
            .unwrap();
    };
    save("dora", |config| config.use_dora = true);
    save("saved", |config| {
        config.modules_to_save = vec!["norm".to_owned()]
    });
    save("biased", |config| config.lora_bias = true);
    save("table", |config| {
        config.target_modules = TargetModules::List(vec!["embed_tokens".to_owned()])
    });
    for (adapter, format, words) in [
        ("dora", "gguf", "DoRA"),
        ("saved", "gguf", "modules_to_save"),
        ("biased", "gguf", "lora_bias"),
        ("saved", "mlx", "input_layernorm.weight"),
        ("biased", "mlx", "lora_bias"),
        (
            "table",
            "gguf",
            "an embedding that shares its weights with the head",
        ),
        ("table", "mlx", "one side of a tied embedding and head"),
    ] {
        let output = export(
            dir.path(),
            &[
                "--adapter",
                adapter,
                "--base",
                &base,
                "--format",
                format,
                "--out",
                "out",
            ],
        );
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(
            text.contains(words) && text.contains("lora-merge"),
            "{adapter} {format}: {text}"
        );
        assert!(!dir.path().join("out").exists() && !dir.path().join("out.partial").exists());
    }
    let dora = load(&convert(dir.path(), &base, "dora", "mlx", "mlx"), &opened);
    assert!(dora.config.use_dora, "mlx-lm has DoRA");
}

#[test]
fn wrong_gguf_adapters_are_named_and_hostile_bytes_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = (
        golden("llama_gqa_tied/base"),
        golden("llama_gqa_tied/adapter"),
    );
    convert(dir.path(), &base, &adapter, "gguf", "good.gguf");
    let other = golden("llama_rope3_rslora/base");
    let refused = |file: &str, base: &str, words: &str| {
        let output = export(
            dir.path(),
            &[
                "--adapter",
                file,
                "--base",
                base,
                "--format",
                "peft",
                "--out",
                "out",
            ],
        );
        assert_eq!(output.status.code(), Some(2), "{file}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(!dir.path().join("out").exists());
    };
    refused("good.gguf", &other, "has shape");
    std::fs::write(dir.path().join("empty.gguf"), "").unwrap();
    refused("empty.gguf", &base, "empty");
    let good = std::fs::read(dir.path().join("good.gguf")).unwrap();
    std::fs::write(dir.path().join("cut.gguf"), &good[..good.len() / 2]).unwrap();
    refused("cut.gguf", &base, "beyond the end");
    let mut state = 5u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..40 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 5 {
            let at = next() % 2200;
            bytes[at] = next() as u8;
        }
        std::fs::write(dir.path().join("hostile.gguf"), bytes).unwrap();
        let output = export(
            dir.path(),
            &[
                "--adapter",
                "hostile.gguf",
                "--base",
                &base,
                "--format",
                "peft",
                "--force",
                "--out",
                "hostile",
            ],
        );
        let text = stderr(&output);
        assert!(
            matches!(output.status.code(), Some(0 | 2)) && !text.contains("internal error"),
            "{text}"
        );
    }
}

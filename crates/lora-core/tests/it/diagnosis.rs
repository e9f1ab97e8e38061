//! Adapters that don't fit: the true cause is named, and the way out helps.
use crate::support::{Told, list, llama};
use lora_core::{Adapter, LoraConfig, Module, modules_of};
use safetensors::tensor::{SafeTensors, TensorView};
use std::path::Path;

/// A base with an embedding and a head.
fn base(vocabulary: usize) -> Vec<Module> {
    let mut modules = vec![Module::embedding("model.embed_tokens", vocabulary, 8)];
    modules.extend(llama(2, 8, 4, 12, vocabulary));
    modules
}

fn adapter(targets: &[&str], saved: &[&str], modules: &[Module]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut config = LoraConfig::new(2, 4.0, list(targets));
    config.modules_to_save = saved.iter().map(ToString::to_string).collect();
    let layout = config.layout(modules).unwrap();
    let values = (0..layout.parameters()).map(|i| i as f32).collect();
    let adapter = Adapter::from_layout(config, layout, values).unwrap();
    adapter.save(dir.path()).unwrap();
    dir
}

/// Gives every tensor another name.
fn rename(dir: &Path, name: impl Fn(&str) -> String) {
    let path = dir.join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let named: Vec<(String, TensorView<'_>)> = tensors.iter().map(|(n, t)| (name(n), t)).collect();
    std::fs::write(&path, safetensors::serialize(named, None).unwrap()).unwrap();
}

fn error(dir: &Path, modules: &Vec<Module>) -> String {
    Adapter::load(dir, modules).unwrap_err().told()
}

#[test]
fn wrappers_are_taken_off_with_a_warning() {
    let modules = base(20);
    let plain = adapter(&["q_proj", "v_proj"], &[], &modules);
    let (wanted, _) = Adapter::load(plain.path(), &modules).unwrap();
    type Wrap = fn(&str) -> String;
    let wrapped: [(&str, Wrap); 4] = [
        ("torch.compile", |n| {
            n.replace("base_model.model.", "base_model.model._orig_mod.")
        }),
        ("torch.compile", |n| format!("_orig_mod.{n}")),
        ("DistributedDataParallel", |n| format!("module.{n}")),
        ("FSDP", |n| {
            n.replace("layers.1.", "layers.1._fsdp_wrapped_module.")
        }),
    ];
    for (framework, name) in wrapped {
        let dir = adapter(&["q_proj", "v_proj"], &[], &modules);
        rename(dir.path(), name);
        let (found, warnings) = Adapter::load(dir.path(), &modules).unwrap();
        assert_eq!(found, wanted);
        assert!(
            warnings.len() == 1 && warnings[0].contains(framework),
            "{warnings:?}"
        );
        let alone = modules_of(dir.path()).unwrap();
        assert_eq!(
            alone,
            modules_of(plain.path()).unwrap(),
            "known without the base too"
        );
    }
}

#[test]
fn foreign_names_are_told_with_the_way_out() {
    let modules = base(20);
    let says = |name: fn(&str) -> String, words: &str| {
        let dir = adapter(&["q_proj"], &[], &modules);
        rename(dir.path(), name);
        let error = error(dir.path(), &modules);
        assert!(error.contains(words), "{words}: {error}");
        assert!(!error.contains("another base model"), "{error}");
    };
    says(
        |n| n.replace("model.model.layers", "model.model.language_model.layers"),
        "take `language_model.` out",
    );
    says(
        |n| {
            n.replace(
                "base_model.model.model",
                "base_model.model.language_model.model",
            )
        },
        "take `language_model.` out",
    );
    says(
        |n| n.replace("model.model.layers", "model.model.model.layers"),
        "take `model.` out",
    );
    says(
        |n| n.replace("model.model.layers", "model.layers"),
        "put `model.` into",
    );
    says(
        |n| n.replace(".weight", ".other.weight"),
        "take `.other` out",
    );
    says(
        |n| n.replace("lora_A", "down").replace("lora_B", "up"),
        "none of the file's tensors",
    );
    says(
        |n| match n.contains("layers.0") {
            true => n.replace(".weight", ".a.weight"),
            false => n.replace(".weight", ".b.weight"),
        },
        "several adapters, `a`, `b`",
    );
}

#[test]
fn added_tokens_are_counted() {
    for (targets, saved) in [
        (&["q_proj"][..], &["embed_tokens", "lm_head"][..]),
        (&["q_proj", "lm_head"], &[]),
        (&["q_proj", "embed_tokens"], &[]),
    ] {
        let dir = adapter(targets, saved, &base(23));
        let message = error(dir.path(), &base(20));
        assert!(message.contains("3 tokens were added"), "{message}");
        assert!(message.contains("23 tokens"), "{message}");
        let dir = adapter(targets, saved, &base(20));
        let message = error(dir.path(), &base(23));
        assert!(message.contains("has 3 tokens more"), "{message}");
    }
}

#[test]
fn fewer_layers_and_other_heads_are_told() {
    let dir = adapter(&["k_proj"], &[], &base(20));
    let mut more = base(20);
    more.push(Module::linear("model.layers.2.self_attn.k_proj", 8, 4));
    assert!(error(dir.path(), &more).contains("the file's last layer is 1"));
    let mut heads = base(20);
    for module in heads.iter_mut().filter(|m| m.path.ends_with("k_proj")) {
        module.out_features *= 2;
    }
    let message = error(dir.path(), &heads);
    assert!(
        message.contains("its inputs fit, its outputs don't"),
        "{message}"
    );
}

#[test]
fn a_folder_that_is_something_else_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let put = |file: &str| std::fs::write(dir.path().join(file), "{}").unwrap();
    let modules = base(20);
    put("adapter_config.json");
    put("adapter_model.bin");
    for message in [
        error(dir.path(), &modules),
        modules_of(dir.path()).unwrap_err().told(),
    ] {
        assert!(
            message.contains("torch.load") && message.contains("weights_only=True"),
            "{message}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    assert!(error(dir.path(), &modules).contains("a whole model"));
    let dir = tempfile::tempdir().unwrap();
    for step in ["checkpoint-200", "checkpoint-1000"] {
        std::fs::create_dir(dir.path().join(step)).unwrap();
        std::fs::write(dir.path().join(step).join("adapter_config.json"), "{}").unwrap();
    }
    let message = error(dir.path(), &modules);
    assert!(
        message.contains("e.g. ") && message.ends_with("checkpoint-1000"),
        "{message}"
    );
}

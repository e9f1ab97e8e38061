//! Module lists of well-known shapes, and the golden cases.
use lora_core::{Adapter, LoraConfig, Module, Role};
use std::path::PathBuf;

pub(crate) const ALL_SEVEN: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];
pub(crate) const CASES: [&str; 2] = ["llama_gqa_tied", "llama_rope3_rslora"];

/// The linear modules of a Llama-like decoder: `kv` is the width of k and v.
pub(crate) fn llama(
    layers: usize,
    hidden: usize,
    kv: usize,
    mlp: usize,
    vocab: usize,
) -> Vec<Module> {
    let mut modules = Vec::new();
    for layer in 0..layers {
        for (name, in_features, out_features) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", hidden, kv),
            ("self_attn.v_proj", hidden, kv),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", hidden, mlp),
            ("mlp.up_proj", hidden, mlp),
            ("mlp.down_proj", mlp, hidden),
        ] {
            modules.push(module(
                &format!("model.layers.{layer}.{name}"),
                in_features,
                out_features,
            ));
        }
    }
    modules.push(Module {
        is_head: true,
        ..module("lm_head", hidden, vocab)
    });
    modules
}

/// The same modules, with what each is for.
pub(crate) fn with_roles(modules: Vec<Module>) -> Vec<Module> {
    let mut modules = modules;
    for module in &mut modules {
        module.roles = match module.name() {
            "q_proj" => &[Role::Query],
            "k_proj" => &[Role::Key],
            "v_proj" => &[Role::Value],
            "o_proj" => &[Role::Output],
            "gate_proj" => &[Role::Gate],
            "up_proj" => &[Role::Up],
            "down_proj" => &[Role::Down],
            _ => &[],
        };
        module.is_default_target = ["q_proj", "v_proj"].contains(&module.name());
    }
    modules
}

pub(crate) fn module(path: &str, in_features: usize, out_features: usize) -> Module {
    Module::linear(path, in_features, out_features)
}

pub(crate) fn list(names: &[&str]) -> lora_core::TargetModules {
    lora_core::TargetModules::List(names.iter().map(ToString::to_string).collect())
}

/// A small adapter with non-zero B on a model of two layers.
pub(crate) fn small() -> (Vec<Module>, Adapter) {
    let modules = llama(2, 8, 4, 12, 20);
    let mut adapter = Adapter::init(
        LoraConfig::new(2, 4.0, list(&["q_proj", "v_proj"])),
        &modules,
        7,
    )
    .unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += i as f32 * 1e-3;
    }
    (modules, adapter)
}

pub(crate) fn golden(case: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden"
    ))
    .join(case)
}

/// The linear modules of a golden case: 2 layers of hidden 48, MLP 96, vocabulary 160.
pub(crate) fn golden_modules(case: &str) -> Vec<Module> {
    llama(
        2,
        48,
        if case == "llama_gqa_tied" { 24 } else { 48 },
        96,
        160,
    )
}

/// An error as a person reads it: what is wrong and, on a line of its own, the hint.
pub(crate) trait Told {
    fn told(&self) -> String;
}

impl Told for lora_core::Error {
    fn told(&self) -> String {
        match miette::Diagnostic::help(self) {
            Some(hint) => format!("{self}\nhint: {hint}"),
            None => self.to_string(),
        }
    }
}

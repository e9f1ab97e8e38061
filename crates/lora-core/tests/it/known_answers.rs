//! Parameter counts that PEFT prints for well-known models, from their shapes alone.
use crate::support::{ALL_SEVEN, list, llama, module};
use lora_core::{LoraConfig, TargetModules, trainable_line};

fn trainable(modules: &[lora_core::Module], rank: usize, names: &[&str]) -> usize {
    LoraConfig::new(rank, rank as f64, list(names))
        .layout(modules)
        .unwrap()
        .parameters()
}

#[test]
fn one_square_linear() {
    let modules = [module("q_proj", 4096, 4096)];
    let counts: Vec<usize> = [4, 8, 16, 32, 64]
        .map(|rank| trainable(&modules, rank, &["q_proj"]))
        .into();
    assert_eq!(counts, [32_768, 65_536, 131_072, 262_144, 524_288]);
}

#[test]
fn llama_3_8b() {
    let modules = llama(32, 4096, 1024, 14336, 128_256);
    assert_eq!(trainable(&modules, 8, &["q_proj", "v_proj"]), 3_407_872);
    assert_eq!(trainable(&modules, 16, &ALL_SEVEN), 41_943_040);
    assert_eq!(
        trainable_line(3_407_872, 3_407_872, 8_030_261_248),
        "trainable params: 3,407,872 || all params: 8,033,669,120 || trainable%: 0.0424"
    );
}

#[test]
fn smollm2_135m() {
    let modules = llama(30, 576, 192, 1536, 49_152);
    assert_eq!(trainable(&modules, 16, &ALL_SEVEN), 4_884_480);
    assert_eq!(
        trainable_line(4_884_480, 4_884_480, 134_515_008),
        "trainable params: 4,884,480 || all params: 139,399,488 || trainable%: 3.5039"
    );
    let all_linear = LoraConfig::new(16, 16.0, TargetModules::AllLinear)
        .layout(&modules)
        .unwrap();
    assert_eq!(all_linear.parameters(), 4_884_480);
}

#[test]
fn an_empty_model_has_a_line_too() {
    assert_eq!(
        trainable_line(0, 0, 0),
        "trainable params: 0 || all params: 0 || trainable%: 0.0000"
    );
}

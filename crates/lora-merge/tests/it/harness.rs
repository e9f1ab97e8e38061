//! Golden cases, adapters with other values, and a run of the tool.
pub(crate) use lora_testkit::{
    assert_code, floats as tensors, golden as case, json, receipt, stderr,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const CASES: [&str; 5] = [
    "llama_gqa_tied",
    "llama_rope3_rslora",
    "qwen2_bias_all_linear",
    "gemma3_text",
    "phi3_fused",
];

/// What else an adapter can train.
pub(crate) const MORE: [&str; 26] = [
    "llama_dora",
    "mistral_patterns",
    "qwen3_modules_to_save",
    "bias_all",
    "bias_lora_only",
    "embed_head_dora",
    "embed_head_tied",
    "save_embed_norms",
    "save_linear_head_tied",
    "pissa",
    "olora",
    "pissa_dora",
    "saved_bias_all",
    "tokens_tied",
    "tokens_untied",
    "tokens_added_tied",
    "tokens_added_untied",
    "saved_resized",
    "lora_resized",
    "parameters_all",
    "parameters_gate_up",
    "parameters_down",
    "parameters_converted",
    "parameters_stacked",
    "parameters_turned",
    "parameters_mxfp4",
];

/// A copy of a golden adapter whose values went through `change`.
pub(crate) fn changed_adapter(
    dir: &Path,
    name: &str,
    change: impl Fn(&str, f32) -> f32,
) -> PathBuf {
    let copy = dir.join("adapter");
    std::fs::create_dir_all(&copy).unwrap();
    let golden = case(name).join("adapter");
    std::fs::copy(
        golden.join("adapter_config.json"),
        copy.join("adapter_config.json"),
    )
    .unwrap();
    let changed: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors(&golden.join("adapter_model.safetensors"))
            .into_iter()
            .map(|(key, shape, values)| {
                let bytes = values
                    .into_iter()
                    .flat_map(|value| change(&key, value).to_le_bytes())
                    .collect();
                (key, shape, bytes)
            })
            .collect();
    let views = changed.iter().map(|(key, shape, bytes)| {
        (
            key,
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)
                .unwrap(),
        )
    });
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    std::fs::write(copy.join("adapter_model.safetensors"), bytes).unwrap();
    copy
}

/// Runs lora-merge in `dir`, writing to `dir/out`.
pub(crate) fn merge(dir: &Path, base: Option<&Path>, adapter: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lora-merge"));
    command.current_dir(dir).args(["--out", "out"]);
    if !more.contains(&"--to-adapter") {
        command.args(["--threads", "1"]); // of the check, which only a model has
    }
    command.arg("--adapter").arg(adapter);
    if let Some(base) = base {
        command.arg("--base").arg(base);
    }
    command.args(more).output().unwrap()
}

//! Adapter folders: PEFT's and mlx-lm's configuration.
use crate::files::written;
use lora_core::{LoraConfig, Module};

/// A safetensors file without a tensor.
const NO_TENSORS: &[u8] = b"\x02\0\0\0\0\0\0\0{}";

pub(crate) fn adapter_config(bytes: &[u8]) {
    let path = written("peft/adapter_config.json", bytes);
    written("peft/adapter_model.safetensors", NO_TENSORS);
    folder(path.parent().unwrap());
    if let Ok(config) = LoraConfig::load(&path) {
        let _ = config.validate();
        if let Ok(layout) = config.layout(&modules()) {
            let _ = layout.parameters();
        }
    }
}

pub(crate) fn mlx_config(bytes: &[u8]) {
    let path = written("mlx/adapter_config.json", bytes);
    written("mlx/adapters.safetensors", NO_TENSORS);
    folder(path.parent().unwrap());
}

fn folder(dir: &std::path::Path) {
    let _ = lora_core::modules_of(dir);
    let _ = lora_core::base_name(dir);
}

/// Two layers of a decoder, with experts beside its linear layers.
fn modules() -> Vec<Module> {
    let mut modules = vec![Module::embedding("model.embed_tokens", 8, 4)];
    for layer in 0..2 {
        for name in ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"] {
            let path = format!("model.layers.{layer}.{name}");
            modules.push(Module::linear(path, 4, 4));
        }
        let own = |name: &str| format!("model.layers.{layer}.mlp.{name}");
        modules.push(Module::router(own("gate.weight"), 4, 3));
        modules.push(Module::experts(own("experts.gate_up_proj"), 3, 4, 4));
        modules.push(Module::experts(own("experts.down_proj"), 3, 2, 4));
    }
    modules
}

//! Why a tensor of PEFT's file is not the one that is needed.
use crate::diagnosis::OTHER_BASE;
use crate::layout::Part;
use std::collections::BTreeSet;

/// Why a shape is another one: only the rank differs, or all of it.
pub(super) fn shape_hint(part: Part, found: &[usize], wanted: &[usize]) -> &'static str {
    match (part, found, wanted) {
        (Part::A, [_, found], [_, wanted]) | (Part::B, [found, _], [wanted, _])
            if found == wanted =>
        {
            "\nhint: the config (r, rank_pattern) says another rank than the file has"
        }
        _ => OTHER_BASE,
    }
}

pub(super) fn missing(name: &str, present: &BTreeSet<&str>) -> String {
    let with_adapter_name = name.replace(".weight", ".default.weight");
    let without_prefix = name.strip_prefix("base_model.model.").unwrap_or(name);
    let hint = if present.contains(with_adapter_name.as_str()) {
        "\nhint: its names hold the adapter's name (`lora_A.default.weight`); save it with PEFT's save_pretrained"
    } else if name != without_prefix && present.contains(without_prefix) {
        "\nhint: its names lack PEFT's prefix `base_model.model.`; save it with PEFT's save_pretrained"
    } else {
        OTHER_BASE
    };
    format!("tensor {name} is missing{hint}")
}

pub(super) fn unexpected(name: &str) -> String {
    let hint = if name.contains("lora_magnitude_vector") {
        "\nhint: this is a DoRA adapter, but its config does not say use_dora"
    } else if name.contains("lora_embedding_") {
        "\nhint: the config targets no embedding"
    } else if name.contains("lora_") {
        OTHER_BASE
    } else {
        "\nhint: fully trained tensors must be named in the config, by modules_to_save or bias"
    };
    format!("tensor {name} belongs to nothing that the config trains on this base{hint}")
}

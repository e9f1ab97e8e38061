//! Why a tensor is missing, or more than was asked for.
use super::{foreign, other_base};
use crate::{Fault, LoraConfig, Module};
use std::collections::BTreeSet;

/// The parts of LoRA that carry an adapter's name where a whole training state was saved.
const PARTS: [&str; 5] = [
    ".lora_A.",
    ".lora_B.",
    ".lora_embedding_A.",
    ".lora_embedding_B.",
    ".lora_magnitude_vector.",
];

/// A tensor that the config asks for and the file lacks.
pub(crate) struct Missing<'m> {
    /// PEFT's name of it.
    pub(crate) name: &'m str,
    /// The names that the file has.
    pub(crate) present: &'m [&'m str],
    /// The base that the config names.
    pub(crate) base: Option<&'m str>,
}

impl Missing<'_> {
    /// What is wrong.
    pub(crate) fn fault(&self) -> Fault {
        self.cause()
            .behind(&format!("tensor {} is missing", self.name))
    }

    /// What goes on the line after that.
    fn cause(&self) -> Fault {
        let adapters = adapter_names(self.present);
        match adapters.iter().collect::<Vec<_>>().as_slice() {
            [] => {}
            [one] => {
                return Fault::new("").hint(format!(
                    "its names hold the adapter's name (`lora_A.{one}.weight`); save it with PEFT's save_pretrained, or take \
                     `.{one}` out of them"
                ));
            }
            _ => {
                let all: Vec<String> = adapters.iter().map(|a| format!("`{a}`")).collect();
                let what = format!(": the file holds several adapters, {}", all.join(", "));
                return Fault::new(what)
                    .hint("save the one that you want with PEFT's save_pretrained");
            }
        }
        let bare = self.name.strip_prefix("base_model.model.");
        if bare.is_some_and(|bare| self.present.contains(&bare)) {
            return Fault::new("").hint(
                "its names lack PEFT's prefix `base_model.model.`; save it with PEFT's save_pretrained, or put it before them",
            );
        }
        if !self.present.iter().any(|name| name.contains("lora_")) {
            let example = self.present.first().copied().unwrap_or("none");
            return Fault::new(format!(
                ": none of the file's tensors is a part of LoRA by PEFT's names (the first is {example})"
            ))
            .hint("save the adapter with PEFT's save_pretrained");
        }
        if let Some(other) = foreign(self.name, self.present) {
            return other.fault();
        }
        if self.present.contains(&partner(self.name).as_str()) {
            return Fault::new(", though its partner is there")
                .hint("the file was cut or edited: save or copy the adapter again");
        }
        self.elsewhere()
    }

    /// A whole layer, or a kind of module, that the file has nowhere.
    fn elsewhere(&self) -> Fault {
        let base = other_base(self.base);
        let last = self.present.iter().filter_map(|name| layer(name)).max();
        if let (Some(wanted), Some(last)) = (layer(self.name), last)
            && wanted > last
        {
            return Fault::new(format!(": the file's last layer is {last}")).hint(base);
        }
        let module = module_name(self.name);
        let has = |name: &&str| module_name(name) == module;
        match module.filter(|_| !self.present.iter().any(has)) {
            Some(module) => Fault::new(format!(", and {module} in every other layer")).hint(
                "the file holds less than the config's target_modules say: are both files of one adapter?",
            ),
            None => Fault::new("").hint(base),
        }
    }
}

/// A tensor that the file has and the config does not ask for.
pub(crate) fn unexpected(name: &str, config: &LoraConfig, modules: &[Module]) -> Fault {
    let what = Fault::new(format!(
        "tensor {name} belongs to nothing that the config trains on this base"
    ));
    if name.contains("lora_magnitude_vector") {
        return what.hint("this is a DoRA adapter, but its config does not say use_dora");
    }
    if name.contains("lora_embedding_") {
        return what.hint("the config targets no embedding");
    }
    if !name.contains("lora_") {
        return what.hint(
            "fully trained tensors must be named in the config, by modules_to_save, trainable_token_indices or bias",
        );
    }
    let last = modules
        .iter()
        .filter_map(|module| layer(&module.path))
        .max();
    if let (Some(found), Some(last)) = (layer(name), last)
        && found > last
    {
        let base = other_base(config.base_model_name_or_path.as_deref());
        return what
            .before(&format!(", whose last layer is {last}"))
            .hint(base);
    }
    let path = name.strip_prefix("base_model.model.").unwrap_or(name);
    let is_part = |module: &&Module| {
        let rest = path.strip_prefix(module.path.as_str());
        rest.is_some_and(|rest| rest.starts_with(".lora_"))
    };
    let of_mixture = |module: &&Module| {
        let holder = module
            .path
            .rsplit_once('.')
            .map_or("", |(holder, _)| holder);
        let rest = path.strip_prefix(holder);
        let rest = rest.map(|rest| rest.strip_prefix(".base_layer").unwrap_or(rest));
        module.is_of_mixture() && rest.is_some_and(|rest| rest.starts_with(".lora_"))
    };
    if modules.iter().any(|m| of_mixture(&m)) {
        return what.hint(
            "target_parameters in adapter_config.json does not reach it: is the config that of this adapter?",
        );
    }
    match modules.iter().find(is_part) {
        Some(module) => what.hint(format!(
            "target_modules in adapter_config.json does not reach {}: is the config that of this adapter?",
            module.path
        )),
        None => what.hint(other_base(config.base_model_name_or_path.as_deref())),
    }
}

/// The names of adapters that stand in the tensors' names.
fn adapter_names(present: &[&str]) -> BTreeSet<String> {
    let of = |name: &&str| {
        let rest = PARTS
            .iter()
            .find_map(|part| Some(name.split_once(part)?.1))?;
        let adapter = rest
            .strip_suffix(".weight")
            .or_else(|| rest.strip_suffix(".bias"))
            .unwrap_or(rest);
        (!matches!(adapter, "weight" | "bias")).then(|| adapter.to_owned())
    };
    present.iter().filter_map(of).collect()
}

/// B for A, A for B.
fn partner(name: &str) -> String {
    match name.contains("lora_A") || name.contains("embedding_A") {
        true => name
            .replacen("lora_A", "lora_B", 1)
            .replacen("embedding_A", "embedding_B", 1),
        false => name
            .replacen("lora_B", "lora_A", 1)
            .replacen("embedding_B", "embedding_A", 1),
    }
}

/// The first number in a name.
fn layer(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// The module that a tensor of LoRA is a part of: `q_proj`.
fn module_name(name: &str) -> Option<&str> {
    let (path, _) = name.split_once(".lora_")?;
    path.rsplit('.').next()
}

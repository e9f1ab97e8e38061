//! Which modules an adapter takes: PEFT's `check_target_module_exists` with all its options, and `modules_to_save`.
use crate::effect::{notes, nothing};
use crate::rules::{Rules, containers, is_saved};
use crate::targets::is_suffix;
use crate::{Bias, Error, Fault, LoraConfig, Module, ModuleKind, TargetModules, parameters};
use std::collections::BTreeSet;

/// What a config takes of a model, as indices into its modules.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Modules that carry LoRA, ascending.
    pub(crate) targeted: Vec<usize>,
    /// Modules that train as a whole, ascending.
    pub(crate) saved: Vec<usize>,
    /// Entries of `target_modules` that match nothing.
    pub(crate) unmatched: Vec<String>,
    /// One line for each other option that has no effect on this model.
    pub(crate) notes: Vec<String>,
}

/// Selects; an empty selection, or a target that can't carry LoRA, is an error.
pub(crate) fn select(config: &LoraConfig, modules: &[Module]) -> Result<Selection, Error> {
    let rules = Rules::of(config)?;
    let mut found = Selection::default();
    for (i, module) in modules.iter().enumerate() {
        if module.is_of_mixture() {
            if parameters::means(config, &module.path) {
                found.targeted.push(i);
            }
            continue;
        }
        let saved = config
            .modules_to_save
            .iter()
            .any(|entry| is_saved(entry, &module.path));
        if saved && module.kind == ModuleKind::Parameter {
            let what = format!(
                "modules_to_save takes in {}, a weight of a mixture of experts, which can't train here",
                module.path
            );
            return Err(Error::config(Fault::new(what).hint("name other modules")));
        }
        let trains_bias = config.bias == Bias::All;
        if trains_bias && matches!(module.kind, ModuleKind::Frozen { bias: true, .. }) {
            let what = format!(
                "bias all takes in those of {}, which can't train beside an adapter here",
                module.path
            );
            let hint = "bias lora_only leaves them as they are";
            return Err(Error::config(Fault::new(what).hint(hint)));
        }
        if saved && matches!(module.kind, ModuleKind::Frozen { .. }) {
            let what = format!(
                "modules_to_save takes {}, whose weights can't train beside an adapter here",
                module.path
            );
            let hint = "write the whole names of others, e.g. model.norm";
            return Err(Error::config(Fault::new(what).hint(hint)));
        }
        if saved && module.kind != ModuleKind::Weightless {
            found.saved.push(i);
        }
        if !rules.targets(config, module)? {
            continue;
        }
        if saved {
            let what = format!("{} is both a target and a module to save", module.path);
            let hint = "write its whole name into modules_to_save";
            return Err(Error::config(Fault::new(what).hint(hint)));
        }
        let (what, hint) = match module.kind {
            ModuleKind::Linear { .. } | ModuleKind::Embedding => {
                found.targeted.push(i);
                continue;
            }
            ModuleKind::Parameter | ModuleKind::Experts { .. } | ModuleKind::Router => {
                return Err(of_experts(module));
            }
            ModuleKind::Norm { .. } => ("is a norm", "train it as a whole with modules_to_save"),
            ModuleKind::Frozen { linear: true, .. } => (
                "is a linear layer that PEFT puts no LoRA on in such a model",
                "name other targets, or all-linear, which leaves it out",
            ),
            ModuleKind::Frozen { .. } => (
                "is no linear layer",
                "narrow the pattern, e.g. by _proj at its end",
            ),
            ModuleKind::Weightless => (
                "has no weights",
                "narrow the pattern, e.g. by _proj at its end",
            ),
        };
        let what = format!("target {} {what}, it can't carry LoRA", module.path);
        return Err(Error::config(Fault::new(what).hint(hint)));
    }
    if let TargetModules::List(targets) = &config.target_modules {
        let is_there = |t: &str| {
            let mut own = modules.iter().filter(|m| !m.is_of_mixture());
            own.any(|m| is_suffix(t, &m.path))
        };
        let unmatched = targets.iter().filter(|t| !is_there(t));
        found.unmatched = unmatched.cloned().collect();
    }
    refuse_containers(config, modules, &rules)?;
    refuse_widened(config, modules, &rules, &found)?;
    if found.targeted.is_empty() {
        return Err(nothing(config, modules));
    }
    found.notes = notes(config, modules, &found.targeted, &rules)?;
    Ok(found)
}

/// A target that names a module of modules (`mlp`, `model.layers.0`) is refused, as by PEFT: LoRA can't be put on it.
fn refuse_containers(config: &LoraConfig, modules: &[Module], rules: &Rules) -> Result<(), Error> {
    if config.target_modules == TargetModules::AllLinear {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    let own = modules.iter().filter(|m| !m.is_of_mixture());
    for path in own.flat_map(|m| containers(&m.path)) {
        if seen.insert(path) && rules.matches(config, path)? {
            let what = format!(
                "target_modules `{}` matches {path}, which is no linear layer but holds some",
                config.target_modules
            );
            let hint = "name what is inside, e.g. with a pattern that ends in _proj";
            return Err(Error::config(Fault::new(what).hint(hint)));
        }
    }
    Ok(())
}

/// A target that PEFT would put on the router or the experts.
fn of_experts(module: &Module) -> Error {
    let what = format!(
        "target {} is a weight of a mixture of experts, which PEFT takes as a parameter (target_parameters)",
        module.path
    );
    Error::config(Fault::new(what).hint(
        "name experts and router by --target-parameters experts,router, and attention by the targets full-attention",
    ))
}

/// Beside experts PEFT 0.21 takes an expression for the names of what it matches, in whichever layer they are
/// (`_resolve_string_target_modules`): one that means only some of those is refused.
fn refuse_widened(
    config: &LoraConfig,
    modules: &[Module],
    rules: &Rules,
    found: &Selection,
) -> Result<(), Error> {
    let TargetModules::Regex(pattern) = &config.target_modules else {
        return Ok(());
    };
    if modules.iter().all(|m| m.kind != ModuleKind::Parameter) {
        return Ok(());
    }
    let targeted = found.targeted.iter().map(|&i| &modules[i]);
    let targeted = targeted.filter(|module| !module.is_of_mixture());
    let names: BTreeSet<&str> = targeted.map(Module::name).collect();
    let own = modules.iter().enumerate();
    for (i, module) in own.filter(|(_, module)| !module.is_of_mixture()) {
        if names.contains(module.name())
            && !found.targeted.contains(&i)
            && !rules.excludes(config, &module.path)?
        {
            let what = format!(
                "in a model with experts PEFT takes `{pattern}` for names, and would target {} as well",
                module.path
            );
            return Err(Error::config(Fault::new(what).hint(
                "name modules (q_proj,v_proj), and layers with layers_to_transform (--layers)",
            )));
        }
    }
    Ok(())
}

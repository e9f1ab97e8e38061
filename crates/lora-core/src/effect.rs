//! What of a config has no effect on a model: options that change nothing, and targets that mean nothing.
use crate::module::short_names;
use crate::rules::{Rules, containers, is_match, is_saved};
use crate::{Error, Fault, LoraConfig, Module, TargetModules, parameters};

/// Why nothing is targeted.
pub(crate) fn nothing(config: &LoraConfig, modules: &[Module]) -> Error {
    let narrowed = [
        ("exclude_modules", config.exclude_modules.is_some()),
        ("modules_to_save", !config.modules_to_save.is_empty()),
        (
            "layers_to_transform",
            !config.layers_to_transform.is_empty(),
        ),
    ];
    let narrowed: Vec<&str> = narrowed
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    let with = if narrowed.is_empty() {
        String::new()
    } else {
        format!(" with {}", narrowed.join(", "))
    };
    if let Some(name) = parameters::unmatched(config, modules).first() {
        return parameters::absent(name, modules);
    }
    if config.target_modules == TargetModules::List(Vec::new()) {
        return Error::config(
            Fault::new("no module is targeted")
                .hint("--targets none goes with --target-parameters, on models with experts"),
        );
    }
    let what = format!(
        "target_modules `{}`{with} matches no module of this model",
        config.target_modules
    );
    let numbers = modules.iter().filter_map(|module| layer_of(&module.path));
    let asked = !config.layers_to_transform.is_empty();
    let layers = match numbers.max().filter(|_| asked) {
        Some(last) => format!("its layers are 0 to {last}, "),
        None => String::new(),
    };
    let hint = format!("{layers}its modules are {}", short_names(modules));
    Error::config(Fault::new(what).hint(hint))
}

/// The number of a module's layer: the first one in its path.
fn layer_of(path: &str) -> Option<usize> {
    path.split('.').find_map(|part| part.parse().ok())
}

/// One line for each option that changes nothing on this model; `targeted` are its modules that carry LoRA.
pub(crate) fn notes(
    config: &LoraConfig,
    modules: &[Module],
    targeted: &[usize],
    rules: &Rules,
) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    if let Some(exclude) = &config.exclude_modules {
        let mut hits = false;
        for path in modules
            .iter()
            .flat_map(|m| containers(&m.path).chain([m.path.as_str()]))
        {
            hits |= rules.excludes(config, path)?;
        }
        if !hits {
            notes.push(format!(
                "exclude_modules `{exclude}` excludes no module of this model"
            ));
        }
    }
    if config.targets_parameters() && !config.layers_to_transform.is_empty() {
        notes.push(
            "layers_to_transform does not reach target_parameters, as in PEFT: name them with their layers, e.g. \
             layers.0.mlp.experts.down_proj"
                .to_owned(),
        );
    }
    for entry in &config.modules_to_save {
        if !modules.iter().any(|m| is_saved(entry, &m.path)) {
            notes.push(format!(
                "modules_to_save names `{entry}`, which is not in this model"
            ));
        }
    }
    for layer in &config.layers_to_transform {
        let number = format!(".{layer}.");
        let mut targeted = targeted.iter().map(|&i| &modules[i].path);
        if !targeted.any(|path| path.contains(&number)) {
            notes.push(format!(
                "layers_to_transform names layer {layer}, in which no module is targeted"
            ));
        }
    }
    let ranks = config.rank_pattern.keys().map(|key| ("rank_pattern", key));
    for (option, key) in ranks.chain(
        config
            .alpha_pattern
            .keys()
            .map(|key| ("alpha_pattern", key)),
    ) {
        let regex = crate::pattern::compile_key(option, key)?;
        let mut hits = false;
        for &i in targeted {
            hits |= is_match(&regex, &modules[i].path)?;
        }
        if !hits {
            notes.push(format!("{option} `{key}` matches no targeted module"));
        }
    }
    Ok(notes)
}

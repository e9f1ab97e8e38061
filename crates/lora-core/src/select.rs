//! Which modules an adapter takes: PEFT's `check_target_module_exists` with all its options, and `modules_to_save`.
use crate::module::short_names;
use crate::targets::{ModuleNames, compile, is_suffix};
use crate::{Error, LoraConfig, Module, ModuleKind, TargetModules};
use fancy_regex::Regex;
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
        let saved = config
            .modules_to_save
            .iter()
            .any(|entry| is_saved(entry, &module.path));
        if saved && module.kind == ModuleKind::Parameter {
            return Err(Error::config(format!(
                "modules_to_save takes in {}, a weight of a mixture of experts, which can't train here\nhint: name other modules",
                module.path
            )));
        }
        if saved && matches!(module.kind, ModuleKind::Frozen { .. }) {
            return Err(Error::config(format!(
                "modules_to_save takes {}, whose weights can't train beside an adapter here\nhint: write the whole names of \
                 others, e.g. model.norm",
                module.path
            )));
        }
        if saved && module.kind != ModuleKind::Weightless {
            found.saved.push(i);
        }
        if !rules.targets(config, module)? {
            continue;
        }
        if saved {
            return Err(Error::config(format!(
                "{} is both a target and a module to save\nhint: write its whole name into modules_to_save",
                module.path
            )));
        }
        let (what, hint) = match module.kind {
            ModuleKind::Linear { .. } | ModuleKind::Embedding => {
                found.targeted.push(i);
                continue;
            }
            ModuleKind::Parameter => return Err(of_experts(module)),
            ModuleKind::Norm { .. } => ("is a norm", "train it as a whole with modules_to_save"),
            ModuleKind::Frozen { .. } => (
                "is no linear layer",
                "narrow the pattern, e.g. by _proj at its end",
            ),
            ModuleKind::Weightless => (
                "has no weights",
                "narrow the pattern, e.g. by _proj at its end",
            ),
        };
        return Err(Error::config(format!(
            "target {} {what}, it can't carry LoRA\nhint: {hint}",
            module.path
        )));
    }
    if let TargetModules::List(targets) = &config.target_modules {
        let unmatched = targets
            .iter()
            .filter(|t| !modules.iter().any(|m| is_suffix(t, &m.path)));
        found.unmatched = unmatched.cloned().collect();
    }
    refuse_containers(config, modules, &rules)?;
    refuse_widened(config, modules, &rules, &found)?;
    if found.targeted.is_empty() {
        return Err(nothing(config, modules));
    }
    found.notes = notes(config, modules, &found, &rules)?;
    Ok(found)
}

/// The config's expressions, compiled.
struct Rules {
    target: Option<Regex>,
    exclude: Option<Regex>,
    /// `modules_to_save`, as targets avoid them.
    saved: Vec<Regex>,
    layers: Vec<Regex>,
}

impl Rules {
    fn of(config: &LoraConfig) -> Result<Self, Error> {
        let target = match &config.target_modules {
            TargetModules::Regex(pattern) => {
                Some(compile("target_modules", &format!("^(?:{pattern})$"))?)
            }
            _ => None,
        };
        let exclude = match &config.exclude_modules {
            Some(ModuleNames::Regex(pattern)) => {
                Some(compile("exclude_modules", &format!("^(?:{pattern})$"))?)
            }
            _ => None,
        };
        let saved = config.modules_to_save.iter();
        let saved =
            saved.map(|m| compile("modules_to_save", &format!(r"^(?:(^|.*\.){m}($|\..*))")));
        let layers: Vec<String> = match config.layers_pattern.as_slice() {
            [] => vec![r"^.*?\.[^.]*\.(?P<idx>\d+)\.".to_string()],
            patterns => patterns
                .iter()
                .map(|p| format!(r"^(?:^|.*?\.){p}\.(?P<idx>\d+)\."))
                .collect(),
        };
        let layers = layers.iter().map(|p| compile("layers_pattern", p));
        Ok(Self {
            target,
            exclude,
            saved: saved.collect::<Result<_, _>>()?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    fn targets(&self, config: &LoraConfig, module: &Module) -> Result<bool, Error> {
        if config.target_modules == TargetModules::AllLinear && module.kind == ModuleKind::Parameter
        {
            return Ok(true);
        }
        if config.target_modules == TargetModules::AllLinear
            && (module.is_head || !module.is_linear())
        {
            return Ok(false);
        }
        self.matches(config, &module.path)
    }

    /// PEFT's `check_target_module_exists`; `all-linear` matches every path.
    fn matches(&self, config: &LoraConfig, path: &str) -> Result<bool, Error> {
        if self.excludes(config, path)? {
            return Ok(false);
        }
        for saved in &self.saved {
            if is_match(saved, path)? {
                return Ok(false);
            }
        }
        match (&config.target_modules, &self.target) {
            (TargetModules::AllLinear, _) => Ok(true),
            (_, Some(regex)) => is_match(regex, path),
            (TargetModules::List(targets), None) if targets.iter().any(|t| t == path) => Ok(true),
            (TargetModules::List(targets), None) => {
                Ok(targets.iter().any(|t| is_suffix(t, path)) && self.in_layers(config, path)?)
            }
            _ => Ok(false),
        }
    }

    fn excludes(&self, config: &LoraConfig, path: &str) -> Result<bool, Error> {
        match (&config.exclude_modules, &self.exclude) {
            (_, Some(regex)) => is_match(regex, path),
            (Some(ModuleNames::List(names)), None) => {
                Ok(names.iter().any(|name| is_suffix(name, path)))
            }
            _ => Ok(false),
        }
    }

    /// `layers_to_transform`: the first number after a dotted name, or after the pattern.
    fn in_layers(&self, config: &LoraConfig, path: &str) -> Result<bool, Error> {
        if config.layers_to_transform.is_empty() {
            return Ok(true);
        }
        for regex in &self.layers {
            let found = regex
                .captures(path)
                .map_err(|e| Error::config(format!("layers_pattern: {e}")))?;
            if let Some(index) = found.as_ref().and_then(|c| c.name("idx")) {
                return Ok(index
                    .as_str()
                    .parse()
                    .is_ok_and(|i: usize| config.layers_to_transform.contains(&i)));
            }
        }
        Ok(false)
    }
}

/// A target that names a module of modules (`mlp`, `model.layers.0`) is refused, as by PEFT: LoRA can't be put on it.
fn refuse_containers(config: &LoraConfig, modules: &[Module], rules: &Rules) -> Result<(), Error> {
    if config.target_modules == TargetModules::AllLinear {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for path in modules.iter().flat_map(|m| containers(&m.path)) {
        if seen.insert(path) && rules.matches(config, path)? {
            return Err(Error::config(format!(
                "target_modules `{}` matches {path}, which is no linear layer but holds some\nhint: name what is inside, {}",
                config.target_modules, "e.g. with a pattern that ends in _proj"
            )));
        }
    }
    Ok(())
}

/// A target that PEFT would put on the router or the experts.
fn of_experts(module: &Module) -> Error {
    Error::config(format!(
        "target {} is a weight of a mixture of experts, which PEFT takes as a parameter (target_parameters): it can't carry LoRA here\nhint: train attention alone, e.g. with the targets full-attention",
        module.path
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
    let names: BTreeSet<&str> = found.targeted.iter().map(|&i| modules[i].name()).collect();
    for (i, module) in modules.iter().enumerate() {
        if names.contains(module.name())
            && !found.targeted.contains(&i)
            && !rules.excludes(config, &module.path)?
        {
            return Err(Error::config(format!(
                "in a model with experts PEFT takes `{pattern}` for names, and would target {} as well\nhint: name modules (q_proj,v_proj), and layers with layers_to_transform (--layers)",
                module.path
            )));
        }
    }
    Ok(())
}

/// The paths of the modules that hold this one, outermost first.
fn containers(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(dot, _)| &path[..dot])
}

/// PEFT's `_set_trainable`: a module, or one that holds it, whose path ends with the entry.
fn is_saved(entry: &str, path: &str) -> bool {
    path.ends_with(entry) || containers(path).any(|container| container.ends_with(entry))
}

fn nothing(config: &LoraConfig, modules: &[Module]) -> Error {
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
    Error::config(format!(
        "target_modules `{}`{with} matches no module of this model\nhint: its modules are {}",
        config.target_modules,
        short_names(modules)
    ))
}

fn notes(
    config: &LoraConfig,
    modules: &[Module],
    found: &Selection,
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
    for entry in &config.modules_to_save {
        if !modules.iter().any(|m| is_saved(entry, &m.path)) {
            notes.push(format!(
                "modules_to_save names `{entry}`, which is not in this model"
            ));
        }
    }
    for layer in &config.layers_to_transform {
        let number = format!(".{layer}.");
        let mut targeted = found.targeted.iter().map(|&i| &modules[i].path);
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
        for &i in &found.targeted {
            hits |= is_match(&regex, &modules[i].path)?;
        }
        if !hits {
            notes.push(format!("{option} `{key}` matches no targeted module"));
        }
    }
    Ok(notes)
}

fn is_match(regex: &Regex, path: &str) -> Result<bool, Error> {
    regex.is_match(path).map_err(|e| {
        Error::config(format!(
            "the expression {} can't be matched: {e}",
            regex.as_str()
        ))
    })
}

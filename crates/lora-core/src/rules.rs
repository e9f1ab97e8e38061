//! The expressions of a config that pick modules, compiled, and PEFT's `check_target_module_exists` by them.
use crate::targets::{ModuleNames, compile, is_suffix};
use crate::{Error, LoraConfig, Module, ModuleKind, TargetModules};
use fancy_regex::Regex;

/// The config's expressions, compiled.
pub(crate) struct Rules {
    target: Option<Regex>,
    exclude: Option<Regex>,
    /// `modules_to_save`, as targets avoid them.
    saved: Vec<Regex>,
    layers: Vec<Regex>,
}

impl Rules {
    pub(crate) fn of(config: &LoraConfig) -> Result<Self, Error> {
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

    pub(crate) fn targets(&self, config: &LoraConfig, module: &Module) -> Result<bool, Error> {
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
    pub(crate) fn matches(&self, config: &LoraConfig, path: &str) -> Result<bool, Error> {
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

    pub(crate) fn excludes(&self, config: &LoraConfig, path: &str) -> Result<bool, Error> {
        match (&config.exclude_modules, &self.exclude) {
            (_, Some(regex)) => is_match(regex, path),
            (Some(ModuleNames::List(names)), None) => {
                Ok(names.iter().any(|name| is_suffix(name, path)))
            }
            _ => Ok(false),
        }
    }

    /// `layers_to_transform`: the first number after a dotted name, or after the pattern.
    pub(crate) fn in_layers(&self, config: &LoraConfig, path: &str) -> Result<bool, Error> {
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

/// The paths of the modules that hold this one, outermost first.
pub(crate) fn containers(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(dot, _)| &path[..dot])
}

/// PEFT's `_set_trainable`: a module, or one that holds it, whose path ends with the entry.
pub(crate) fn is_saved(entry: &str, path: &str) -> bool {
    path.ends_with(entry) || containers(path).any(|container| container.ends_with(entry))
}

pub(crate) fn is_match(regex: &Regex, path: &str) -> Result<bool, Error> {
    regex.is_match(path).map_err(|e| {
        Error::config(format!(
            "the expression {} can't be matched: {e}",
            regex.as_str()
        ))
    })
}

//! Names of modules as people and PEFT write them: `target_modules` and `exclude_modules`.
use crate::module::short_names;
use crate::{Error, Fault, Module, ModuleKind, Role, TARGET_PRESETS};
use fancy_regex::Regex;
use std::fmt;
use std::str::FromStr;

/// PEFT's `target_modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// Equality or suffix after a dot.
    List(Vec<String>),
    /// Full match on the module path.
    Regex(String),
    /// Every linear but the output head.
    AllLinear,
}

/// What a person asks for: PEFT's value, or something that only a model can turn into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// The modules that have these roles (a set of [`TARGET_PRESETS`]).
    Roles(&'static [Role]),
    /// What PEFT targets in such a model where nothing is said.
    PeftDefault,
    /// As PEFT takes it.
    Modules(TargetModules),
}

/// PEFT's `exclude_modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleNames {
    /// Equality or suffix after a dot.
    List(Vec<String>),
    /// Full match on the module path.
    Regex(String),
}

impl FromStr for Targets {
    type Err = Error;

    /// Reads what a person writes: a set (`attention`, `full-attention`, `all`), `all-linear`, `default`, `none` (beside
    /// parameters), a comma-separated list of names, or, if it holds any other sign than letters, digits, `_`, `-`, `.` and commas, a
    /// regular expression.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Some((_, roles)) = TARGET_PRESETS.iter().find(|(preset, _)| *preset == text) {
            return Ok(Self::Roles(roles));
        }
        if text == "default" {
            return Ok(Self::PeftDefault);
        }
        if text == "none" {
            return Ok(Self::Modules(TargetModules::List(Vec::new())));
        }
        if text.eq_ignore_ascii_case("all-linear") {
            return Ok(Self::Modules(TargetModules::AllLinear));
        }
        Ok(Self::Modules(
            match ModuleNames::read("target_modules", text)? {
                ModuleNames::List(names) if names.is_empty() => {
                    return Err(Error::config(
                        Fault::new("no target modules given")
                            .hint("name some, e.g. q_proj,v_proj, or use all-linear"),
                    ));
                }
                ModuleNames::List(names) => TargetModules::List(names),
                ModuleNames::Regex(pattern) => TargetModules::Regex(pattern),
            },
        ))
    }
}

impl Targets {
    /// PEFT's value for a model: sets and PEFT's default become the names of the modules, each once.
    ///
    /// # Errors
    /// If the model has no module of these roles, or PEFT has no default for it.
    pub fn resolve(&self, modules: &[Module]) -> Result<TargetModules, Error> {
        let (names, fault) = match self {
            Self::Modules(targets) => return Ok(targets.clone()),
            Self::Roles(roles) => (
                names_of_roles(roles, modules),
                "no module of this model has these roles",
            ),
            Self::PeftDefault => (
                distinct(modules.iter().filter(|m| m.is_default_target)),
                "PEFT has no default targets for this family",
            ),
        };
        if names.is_empty() {
            return Err(Error::config(Fault::new(fault).hint(ways(modules))));
        }
        Ok(TargetModules::List(names))
    }

    /// What it will be before the model is known: a list without names stands for names that only the model has. For
    /// checks of other options against it.
    pub fn unresolved(&self) -> TargetModules {
        match self {
            Self::Modules(targets) => targets.clone(),
            Self::Roles(_) | Self::PeftDefault => TargetModules::List(Vec::new()),
        }
    }
}

/// Names of the modules that have any of these roles, in the order of the roles.
fn names_of_roles(roles: &[Role], modules: &[Module]) -> Vec<String> {
    let of = |role: &Role| {
        let role = *role;
        modules.iter().filter(move |m| m.roles.contains(&role))
    };
    distinct(roles.iter().flat_map(of))
}

/// Last components of the paths, each where it first stands.
fn distinct<'m>(modules: impl Iterator<Item = &'m Module>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for module in modules {
        if !names.iter().any(|name| name == module.name()) {
            names.push(module.name().to_owned());
        }
    }
    names
}

/// What can be asked for instead.
fn ways(modules: &[Module]) -> String {
    let has_all_linear = modules.iter().all(|m| m.kind != ModuleKind::Parameter);
    let sets = TARGET_PRESETS
        .iter()
        .map(|(set, roles)| (set, names_of_roles(roles, modules)));
    let sets: Vec<String> = sets
        .filter(|(_, names)| !names.is_empty())
        .map(|(set, names)| format!("{set} ({})", names.join(", ")))
        .chain(has_all_linear.then(|| "all-linear".to_owned()))
        .collect();
    format!(
        "use {}, or names of its modules: {}",
        sets.join(", "),
        short_names(modules)
    )
}

impl FromStr for ModuleNames {
    type Err = Error;

    /// A comma-separated list of names, or, with any other sign than a name has, a regular expression.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::read("exclude_modules", text.trim())
    }
}

impl ModuleNames {
    fn read(option: &str, text: &str) -> Result<Self, Error> {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ',' | ' ');
        if !text.chars().all(is_name) {
            compile(option, &format!("^(?:{text})$"))?;
            return Ok(Self::Regex(text.to_string()));
        }
        let names = text
            .split(',')
            .map(|n| n.trim().to_string())
            .filter(|n| !n.is_empty());
        Ok(Self::List(names.collect()))
    }
}

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(names) => f.write_str(&names.join(",")),
            Self::Regex(pattern) => f.write_str(pattern),
            Self::AllLinear => f.write_str("all-linear"),
        }
    }
}

impl fmt::Display for ModuleNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(names) => f.write_str(&names.join(",")),
            Self::Regex(pattern) => f.write_str(pattern),
        }
    }
}

/// PEFT's rule for a list entry: the whole path, or its end after a dot.
pub(crate) fn is_suffix(target: &str, path: &str) -> bool {
    path == target
        || path
            .strip_suffix(target)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// A regular expression of an option, anchored by the caller as PEFT's call anchors it.
pub(crate) fn compile(option: &str, pattern: &str) -> Result<Regex, Error> {
    Regex::new(pattern).map_err(|e| {
        let cause = e.to_string().replace('\n', " ");
        Error::config(
            Fault::new(format!("{option} `{pattern}` is not a usable regular expression: {cause}"))
                .hint("names are given as a list (q_proj,v_proj), a regular expression must match the whole path"),
        )
    })
}

//! Names of modules as people and PEFT write them: `target_modules` and `exclude_modules`.
use crate::{Error, TARGET_PRESETS};
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

/// What PEFT targets where nothing is said, in every family that it knows and that is known here.
pub const DEFAULT_TARGETS: [&str; 2] = ["q_proj", "v_proj"];

/// PEFT's `exclude_modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleNames {
    /// Equality or suffix after a dot.
    List(Vec<String>),
    /// Full match on the module path.
    Regex(String),
}

impl FromStr for TargetModules {
    type Err = Error;

    /// Reads what a person writes: a preset (`attention`, `full-attention`, `all`), `all-linear`, `default`, a
    /// comma-separated list of names, or, if it holds any other sign than letters, digits, `_`, `-`, `.` and commas, a
    /// regular expression.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("all-linear") {
            return Ok(Self::AllLinear);
        }
        if text == "default" {
            return Ok(Self::List(DEFAULT_TARGETS.map(str::to_string).to_vec()));
        }
        if let Some((_, names)) = TARGET_PRESETS.iter().find(|(preset, _)| *preset == text) {
            return Ok(Self::List(names.iter().map(ToString::to_string).collect()));
        }
        Ok(match ModuleNames::read("target_modules", text)? {
            ModuleNames::List(names) if names.is_empty() => {
                return Err(Error::config("no target modules given")
                    .hint("name some, e.g. q_proj,v_proj, or use all-linear"));
            }
            ModuleNames::List(names) => Self::List(names),
            ModuleNames::Regex(pattern) => Self::Regex(pattern),
        })
    }
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
        Error::config(format!("{option} `{pattern}` is not a usable regular expression: {cause}")).hint("names are given as a list (q_proj,v_proj), a regular expression must match the whole path")
    })
}

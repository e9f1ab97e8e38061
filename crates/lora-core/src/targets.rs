//! Which modules carry an adapter: PEFT's `target_modules`.
use crate::{Error, TARGET_PRESETS};
use fancy_regex::Regex;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One linear layer of a model, as target matching sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearModule {
    /// Module path without prefix, e.g. `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// Columns of W.
    pub in_features: usize,
    /// Rows of W.
    pub out_features: usize,
    /// True for the output head, which `all-linear` leaves out.
    pub is_head: bool,
}

impl LinearModule {
    /// Last component of the path, e.g. `q_proj`.
    pub fn name(&self) -> &str {
        short_name(&self.path)
    }
}

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

/// What target matching found.
pub(crate) struct Matched {
    /// Indices of the matched modules, ascending.
    pub(crate) indices: Vec<usize>,
    /// List entries that match no module.
    pub(crate) unmatched: Vec<String>,
}

impl TargetModules {
    /// PEFT's `check_target_module_exists` over all modules.
    pub(crate) fn matching(&self, modules: &[LinearModule]) -> Result<Matched, Error> {
        let select = |keep: &dyn Fn(&LinearModule) -> Result<bool, Error>| {
            let mut indices = Vec::new();
            for (i, module) in modules.iter().enumerate() {
                if keep(module)? {
                    indices.push(i);
                }
            }
            Ok::<_, Error>(indices)
        };
        match self {
            Self::AllLinear => Ok(Matched { indices: select(&|m| Ok(!m.is_head))?, unmatched: Vec::new() }),
            Self::Regex(pattern) => {
                let regex = compile(pattern)?;
                let matches = |m: &LinearModule| regex.is_match(&m.path).map_err(|e| bad_regex(pattern, &e));
                Ok(Matched { indices: select(&matches)?, unmatched: Vec::new() })
            }
            Self::List(targets) => {
                let hits = |m: &LinearModule| Ok(targets.iter().any(|t| is_suffix(t, &m.path)));
                let unmatched = targets.iter().filter(|t| !modules.iter().any(|m| is_suffix(t, &m.path)));
                Ok(Matched { indices: select(&hits)?, unmatched: unmatched.cloned().collect() })
            }
        }
    }
}

impl FromStr for TargetModules {
    type Err = Error;

    /// Reads what a person writes: a preset (`attention`, `full-attention`, `all`), `all-linear`, a comma-separated list of
    /// names, or, if it holds any other sign than letters, digits, `_`, `-`, `.` and commas, a regular expression.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("all-linear") {
            return Ok(Self::AllLinear);
        }
        if let Some((_, names)) = TARGET_PRESETS.iter().find(|(preset, _)| *preset == text) {
            return Ok(Self::List(names.iter().map(ToString::to_string).collect()));
        }
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ',' | ' ');
        if !text.chars().all(is_name) {
            compile(text)?;
            return Ok(Self::Regex(text.to_string()));
        }
        let names: Vec<String> = text.split(',').map(|n| n.trim().to_string()).filter(|n| !n.is_empty()).collect();
        if names.is_empty() {
            return Err(Error::Config(
                "no target modules given\nhint: name some, e.g. q_proj,v_proj, or use all-linear".to_string(),
            ));
        }
        Ok(Self::List(names))
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

/// Last component of a module path.
pub(crate) fn short_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Last components of the modules' paths, sorted, each once.
pub(crate) fn short_names(modules: &[LinearModule]) -> String {
    let names: BTreeSet<&str> = modules.iter().map(LinearModule::name).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// PEFT's rule for a list entry: the whole path, or its end after a dot.
fn is_suffix(target: &str, path: &str) -> bool {
    path == target || path.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'))
}

/// Python's `re.fullmatch`.
fn compile(pattern: &str) -> Result<Regex, Error> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|e| bad_regex(pattern, &e))
}

fn bad_regex(pattern: &str, error: &fancy_regex::Error) -> Error {
    let cause = error.to_string().replace('\n', " ");
    Error::Config(format!(
        "target_modules `{pattern}` is not a usable regular expression: {cause}\nhint: names are given as a list (q_proj,v_proj), a regular expression must match the whole path"
    ))
}

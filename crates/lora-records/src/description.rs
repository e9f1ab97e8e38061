//! What a tool tells of itself with `--describe`, and of command lines with `--check-args`.
use serde::{Deserialize, Serialize};

/// A tool and its flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Its name.
    pub tool: String,
    /// Its version.
    pub version: Option<String>,
    /// True if it takes `--check-args`: one command line (a JSON array of texts) a line of stdin; for each it writes a
    /// line with `null` or a [`Refusal`], and does nothing else.
    #[serde(default)]
    pub checks_arguments: bool,
    /// True if it takes `--progress-events`: progress goes to stdout, as events.
    #[serde(default)]
    pub progress_events: bool,
    /// Its flags and positional arguments.
    pub flags: Vec<Flag>,
    /// Its subcommands.
    #[serde(default)]
    pub subcommands: Vec<Description>,
}

/// One flag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flag {
    /// Its name in kebab-case, as under `with:` of a pipeline.
    pub name: String,
    /// What else it may be called on a command line: the names that other tools use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// It stands without `--NAME`.
    pub positional: bool,
    /// It must be given.
    pub required: bool,
    /// It takes a value; else it is a switch.
    pub takes_value: bool,
    /// It may be given more than once.
    pub repeated: bool,
    /// What separates several values in one.
    pub delimiter: Option<char>,
    /// The only values allowed, or empty.
    #[serde(default)]
    pub values: Vec<String>,
    /// What its value is.
    #[serde(default, rename = "type")]
    pub kind: Kind,
    /// Its value where it is not given, if that depends on nothing else.
    #[serde(default)]
    pub default: Option<String>,
    /// What a path is for.
    #[serde(default)]
    pub role: Option<Role>,
    /// False if it changes speed or memory and nothing that is written.
    #[serde(default = "yes")]
    pub changes_result: bool,
    /// Its help text.
    pub help: Option<String>,
}

/// What a flag's value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// True or false: the flag takes no value.
    Switch,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A file or folder.
    Path,
    /// Anything else.
    #[default]
    Text,
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is read.
    Input,
    /// It is written.
    Output,
}

/// Why a tool does not take a command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, one line.
    pub message: String,
    /// The way out, if one is known.
    pub hint: Option<String>,
    /// The flag whose value it is, if it is one flag's.
    pub flag: Option<String>,
}

fn yes() -> bool {
    true
}

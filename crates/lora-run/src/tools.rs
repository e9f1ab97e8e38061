//! The tools that steps call: where they are, which flags they have, and the argv that a step becomes.
use crate::file::Source;
use crate::resolve::{Action, Step};
use crate::values::{nearest, scalar, shown};
use lora_cli::Foreign as _;
use lora_cli::{Error, MORE_THREADS, Result};
use lora_records::{Description, Flag, Kind, Role};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Flags that the runner sets itself.
const OURS: [&str; 6] = ["out", "force", "resume", "json", "print", "quiet"];

/// Exit code of the system's loader, where it does not get so far as a program's first line.
const NOT_LOADED: i32 = 127;

/// A tool and what it told about itself.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    /// What to execute.
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    described: Description,
}

/// Finds the tool of a step: beside this executable, then on the PATH.
pub(crate) fn find(source: &Source, step: &Step, name: &str) -> Result<Tool> {
    let at = ["steps", step.name.as_str(), "use"];
    let unknown = || {
        let error = source.error_at(&at, format!("there is no tool `{name}`"));
        error.hint("tools are looked up beside lora-run and on the PATH; `cargo build --release` builds them")
    };
    if name.is_empty() || name.contains(['/', '\\']) {
        return Err(source
            .error_at(&at, format!("`{name}` is not a tool's name"))
            .hint("a command line goes under `run`"));
    }
    let program = beside_us(name)
        .or_else(|| on_path(name))
        .ok_or_else(unknown)?;
    let described = describe(&program).map_err(|e| {
        e.context(
            source
                .error_at(&at, format!("can't use `{name}`"))
                .to_string(),
        )
    })?;
    Ok(Tool {
        program,
        version: described.version.clone().unwrap_or_default(),
        described,
    })
}

fn describe(program: &Path) -> Result<Description> {
    let output = Command::new(program)
        .arg("--describe")
        .stdin(Stdio::null())
        .output()
        .foreign()?;
    serde_json::from_slice(&output.stdout).map_err(|_| silent(program, &output))
}

/// The error of a program that does not describe itself: its own words, and the way out that it names.
fn silent(program: &Path, output: &Output) -> Error {
    let failed = format!(
        "{} --describe told nothing about its flags",
        program.display()
    );
    let words = String::from_utf8_lossy(&output.stderr);
    let after = |label: &str| words.lines().find_map(|line| line.strip_prefix(label));
    let cause = after("error: ").or_else(|| words.lines().next());
    let hint = after("hint: ").unwrap_or(match output.status.code() {
        Some(NOT_LOADED) => MORE_THREADS,
        _ => "only lora tools can stand under `use`; other commands go under `run`",
    });
    let error = match cause {
        Some(cause) => Error::new(cause.trim()).context(failed),
        None => Error::new(failed),
    };
    error.hint(hint)
}

/// The folder that this executable lies in.
pub(crate) fn our_folder() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_path_buf())
}

fn beside_us(name: &str) -> Option<PathBuf> {
    let program = our_folder()?.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    program.is_file().then(|| relative(program))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file())
}

/// Shorter to read and to copy, where the program lies below the current folder.
fn relative(program: PathBuf) -> PathBuf {
    let below = std::env::current_dir()
        .ok()
        .and_then(|here| Some(program.strip_prefix(here).ok()?.to_path_buf()));
    below
        .filter(|path| path.components().count() > 1)
        .unwrap_or(program)
}

impl Tool {
    /// True if the tool can continue an interrupted run.
    pub(crate) fn can_resume(&self) -> bool {
        self.described
            .flags
            .iter()
            .any(|flag| flag.name == "resume" && !flag.takes_value)
    }

    /// True if the tool tells its progress as events.
    pub(crate) fn tells_progress(&self) -> bool {
        self.described.progress_events
    }

    /// True if the tool parses command lines without doing anything.
    pub(crate) fn checks_arguments(&self) -> bool {
        self.described.checks_arguments
    }

    /// True if the flag of that name is a path that the tool reads.
    pub(crate) fn reads(&self, name: &str) -> bool {
        let flag = self.described.flags.iter().find(|flag| flag.name == name);
        flag.is_some_and(|flag| flag.kind == Kind::Path && flag.role == Some(Role::Input))
    }

    /// False for a flag that changes nothing of what the tool writes, only its speed, say.
    pub(crate) fn has_effect(&self, name: &str) -> bool {
        let flag = self.described.flags.iter().find(|flag| flag.name == name);
        flag.is_none_or(|flag| flag.changes_result)
    }

    /// The arguments of a step. Fails, pointing into the file, at keys that the tool does not have.
    pub(crate) fn arguments(&self, source: &Source, step: &Step) -> Result<Vec<String>> {
        let Action::Use(name) = &step.action else {
            return Ok(Vec::new());
        };
        let (mut positional, mut flags) = (Vec::new(), Vec::new());
        for (key, paths) in &step.inputs {
            let values = paths
                .iter()
                .map(|input| input.path.to_string_lossy().into_owned())
                .collect();
            let at = ["steps", step.name.as_str(), "in", key];
            let flag = self.flag(source, &at, name)?;
            if !flag.takes_value {
                let error = source.error_at(&at, format!("--{key} of {name} takes no path"));
                return Err(error.hint("a flag goes under `with`"));
            }
            push(flag, source, &at, values, &mut positional, &mut flags)?;
        }
        for (key, value) in &step.with {
            let at = ["steps", step.name.as_str(), "with", key];
            let flag = self.flag(source, &at, name)?;
            match (flag.takes_value, value) {
                (false, Value::Bool(true)) => flags.push(format!("--{}", flag.name)),
                (false, Value::Bool(false)) => {}
                (false, _) => {
                    let message = format!(
                        "--{key} of {name} is either true or false, not {}",
                        shown(value)
                    );
                    return Err(source
                        .error_at(&at, message)
                        .hint("write true or false, or leave it out"));
                }
                (true, Value::Array(items)) => {
                    let values = items.iter().filter_map(scalar).collect();
                    push(flag, source, &at, values, &mut positional, &mut flags)?;
                }
                (true, one) => push(
                    flag,
                    source,
                    &at,
                    vec![shown(one)],
                    &mut positional,
                    &mut flags,
                )?,
            }
        }
        self.check_required(source, step, name)?;
        flags.extend([
            "--out".to_owned(),
            step.out.to_string_lossy().into_owned(),
            "--force".into(),
            "--json".into(),
        ]);
        if positional.iter().any(|word: &String| word.starts_with('-')) {
            flags.push("--".into());
            return Ok([flags, positional].concat());
        }
        Ok([positional, flags].concat())
    }

    /// The flag of a key, whose last part of `at` is its name.
    fn flag(&self, source: &Source, at: &[&str], tool: &str) -> Result<&Flag> {
        let key = at.last().copied().unwrap_or_default();
        if OURS.contains(&key) {
            let error = source.error_at(at, format!("--{key} is set by lora-run itself"));
            return Err(error.hint("leave it out: step S of pipeline P writes WORK/P/S"));
        }
        self.described
            .flags
            .iter()
            .find(|flag| flag.name == key)
            .ok_or_else(|| {
                let error = source.error_at(at, format!("{tool} has no flag --{key}"));
                match self.meant(key) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("{tool} --help lists its flags")),
                }
            })
    }

    /// The flag that goes by this name elsewhere, or whose name is nearly this.
    fn meant(&self, key: &str) -> Option<&str> {
        let flags = &self.described.flags;
        let elsewhere = flags
            .iter()
            .find(|flag| flag.aliases.iter().any(|name| name == key));
        match elsewhere {
            Some(flag) => Some(&flag.name),
            None => nearest(key, flags.iter().map(|flag| flag.name.as_str())),
        }
    }

    fn check_required(&self, source: &Source, step: &Step, tool: &str) -> Result<()> {
        let given = |name: &str| {
            step.inputs.iter().any(|(key, _)| key == name)
                || step.with.iter().any(|(key, _)| key == name)
        };
        let missing = self.described.flags.iter().find(|flag| {
            flag.required && !OURS.contains(&flag.name.as_str()) && !given(&flag.name)
        });
        missing.map_or(Ok(()), |flag| {
            let message = format!(
                "{tool} needs `{}`, which stands neither under `in` nor under `with`",
                flag.name
            );
            Err(source
                .error_at(&["steps", &step.name], message)
                .hint(format!("{tool} --help lists its flags")))
        })
    }
}

/// Adds a flag with its values to the command line.
fn push(
    flag: &Flag,
    source: &Source,
    at: &[&str],
    values: Vec<String>,
    positional: &mut Vec<String>,
    flags: &mut Vec<String>,
) -> Result<()> {
    if let Some(wrong) = values
        .iter()
        .find(|value| !flag.values.is_empty() && !flag.values.contains(value))
    {
        let error = source.error_at(at, format!("can't be `{wrong}`"));
        return Err(error.hint(format!("it is one of {}", flag.values.join(", "))));
    }
    if values.len() > 1 && !flag.repeated && flag.delimiter.is_none() {
        let error = source.error_at(
            at,
            format!("--{} takes one value, not {}", flag.name, values.len()),
        );
        return Err(error.hint("a list of values for one run each goes under `matrix`"));
    }
    if flag.positional {
        positional.extend(values);
        return Ok(());
    }
    let values = match flag.delimiter {
        Some(delimiter) if values.len() > 1 => vec![values.join(&delimiter.to_string())],
        _ => values,
    };
    for value in values {
        if value.starts_with('-') {
            flags.push(format!("--{}={value}", flag.name)); // else it would look like a flag
        } else {
            flags.extend([format!("--{}", flag.name), value]);
        }
    }
    Ok(())
}

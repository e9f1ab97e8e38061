//! A pipeline file as it is written: version, params, matrix and steps, before any name is resolved.
use crate::yaml::{self, Ordered};
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The pipeline format that this version reads.
const VERSION: u32 = 1;

/// Runs that a matrix can ask for: more are a mistake in it.
const MOST_COMBINATIONS: usize = 10_000;

/// A pipeline file and its text, which errors point into.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) file: PipelineFile,
}

/// The YAML document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipelineFile {
    version: u32,
    /// Named values for `$name`.
    #[serde(default)]
    pub(crate) params: Ordered<Value>,
    /// Params with several values each: the pipeline runs once for every combination.
    #[serde(default)]
    pub(crate) matrix: Ordered<Vec<Value>>,
    pub(crate) steps: Ordered<StepFile>,
}

/// One step as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepFile {
    /// A tool's name.
    #[serde(rename = "use")]
    pub(crate) tool: Option<String>,
    /// Or a shell line.
    pub(crate) run: Option<String>,
    /// Paths: of files, of params, of earlier steps' outputs.
    #[serde(default, rename = "in")]
    pub(crate) inputs: Ordered<Value>,
    /// Flags.
    #[serde(default)]
    pub(crate) with: Ordered<Value>,
    /// Steps that must have succeeded although their outputs are not read.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
}

/// Longest name of a pipeline and of a step, which are names of folders.
const LONGEST_NAME: usize = 100;

/// What a person needs to know whose file is no pipeline at all.
const SHAPE: &str =
    "a pipeline has `version: 1` and `steps: {name: {use: lora-prep, in: {…}, with: {…}}}`";

impl Source {
    /// Reads and checks the shape of a pipeline file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .foreign()
            .context(|| format!("failed to read the pipeline {}", path.display()))?;
        let file: PipelineFile = yaml::parse(&text).map_err(|e| {
            let place =
                e.at.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
            let (message, hint) = explained(&e.message);
            Error::new(format!("{}{place}: {message}", path.display())).hint(hint)
        })?;
        let source = Self {
            path: path.to_path_buf(),
            text,
            file,
        };
        source.check()?;
        Ok(source)
    }

    /// The pipeline's name: its file name without the ending.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().map_or_else(
            || "pipeline".to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        )
    }

    /// An error that points at a key of the file.
    pub(crate) fn error_at(&self, path: &[&str], message: impl std::fmt::Display) -> Error {
        let place = yaml::locate(&self.text, path)
            .map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
        Error::new(format!(
            "{}{place}: {}: {message}",
            self.path.display(),
            path.join(".")
        ))
    }

    fn check(&self) -> Result<()> {
        let PipelineFile {
            version,
            params,
            matrix,
            steps,
        } = &self.file;
        if *version != VERSION {
            let error = self.error_at(
                &["version"],
                format!("this lora-run reads version {VERSION}, not {version}"),
            );
            return Err(
                error.hint("use the release of lora-tools that the pipeline was written for")
            );
        }
        let name = self.name();
        if name.starts_with('.') || name.len() > LONGEST_NAME {
            let error = Error::new(format!(
                "{} can't name a folder of steps after itself: `{name}`",
                self.path.display()
            ));
            return Err(error.hint("call the file, for example, `finetune.yaml`"));
        }
        if let Some((name, _)) = steps.iter().find(|(name, _)| name.len() > LONGEST_NAME) {
            let error = self.error_at(&["steps", name], "the name is too long");
            return Err(error.hint(format!("a name has at most {LONGEST_NAME} letters")));
        }
        if steps.0.is_empty() {
            return Err(self.error_at(&["steps"], "there are no steps").hint(SHAPE));
        }
        let names = params.iter().map(|(name, _)| ("params", name));
        let names = names.chain(matrix.iter().map(|(name, _)| ("matrix", name)));
        for (section, name) in names.chain(steps.iter().map(|(name, _)| ("steps", name))) {
            if !is_name(name) {
                let error = self.error_at(
                    &[section, name],
                    "a name is a letter and then letters, digits, `_` and `-`",
                );
                return Err(error.hint("for example `train` or `eval-2`"));
            }
        }
        for (name, _) in steps.iter() {
            if params.iter().any(|(param, _)| param == name)
                || matrix.iter().any(|(param, _)| param == name)
            {
                let error =
                    self.error_at(&["steps", name], format!("`${name}` is a param already"));
                return Err(error.hint("give the step or the param another name"));
            }
        }
        for (name, values) in matrix.iter() {
            if values.is_empty() {
                let error = self.error_at(&["matrix", name], "has no values");
                return Err(error.hint("give it a list of values, or take it out"));
            }
        }
        let combinations = matrix
            .iter()
            .try_fold(1usize, |n, (_, values)| n.checked_mul(values.len()));
        if combinations.is_none_or(|n| n > MOST_COMBINATIONS) {
            let error = self.error_at(
                &["matrix"],
                format!("has more than {MOST_COMBINATIONS} combinations"),
            );
            return Err(error.hint("take values out, or split the pipeline"));
        }
        steps
            .iter()
            .try_for_each(|(name, step)| match (&step.tool, &step.run) {
                (Some(_), None) | (None, Some(_)) => Ok(()),
                _ => {
                    let error = self.error_at(&["steps", name], "a step has either `use` or `run`");
                    Err(error.hint("`use: lora-prep` calls a tool, `run: 'sort …'` a shell line"))
                }
            })
    }
}

/// serde's message in the words of a pipeline, and the way out.
fn explained(message: &str) -> (String, String) {
    if let Some((what, keys)) = message.split_once(", expected one of ") {
        return (
            what.replace("unknown field", "unknown key"),
            format!("the keys here are {keys}"),
        );
    }
    let hint = if message.contains("twice") {
        "a name stands once: rename or remove one of the two"
    } else {
        SHAPE
    };
    (message.to_owned(), hint.to_owned())
}

/// `[A-Za-z][A-Za-z0-9_-]*`: what can follow a `$`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_name_char)
}

pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

//! A pipeline file as it is written: version, params, matrix and steps, before any name is resolved.
use crate::yaml::{self, Ordered};
use lora_cli::{Context as _, Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The pipeline format that this version reads.
const VERSION: u32 = 1;

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

/// What a person needs to know whose file is no pipeline at all.
const SHAPE: &str = "a pipeline has `version: 1` and `steps: {name: {use: lora-prep, in: {…}, with: {…}}}`";

impl Source {
    /// Reads and checks the shape of a pipeline file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).context(|| format!("failed to read the pipeline {}", path.display()))?;
        let file: PipelineFile = yaml::parse(&text).map_err(|e| {
            let place = e.at.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
            let error = Error::new(format!("{}{place}: {}", path.display(), e.message));
            let says_what_is_right = ["expected one of", "twice"].iter().any(|words| e.message.contains(words));
            if says_what_is_right { error } else { error.hint(SHAPE) }
        })?;
        let source = Self { path: path.to_path_buf(), text, file };
        source.check()?;
        Ok(source)
    }

    /// The pipeline's name: its file name without the ending.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().map_or_else(|| "pipeline".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }

    /// An error that points at a key of the file.
    pub(crate) fn error_at(&self, path: &[&str], message: impl std::fmt::Display) -> Error {
        let place = yaml::locate(&self.text, path).map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
        Error::new(format!("{}{place}: {}: {message}", self.path.display(), path.join(".")))
    }

    fn check(&self) -> Result<()> {
        let PipelineFile { version, params, matrix, steps } = &self.file;
        if *version != VERSION {
            let error = self.error_at(&["version"], format!("this lora-run reads version {VERSION}, not {version}"));
            return Err(error.hint("use the release of lora-tools that the pipeline was written for"));
        }
        if steps.0.is_empty() {
            return Err(self.error_at(&["steps"], "there are no steps"));
        }
        let names = params.iter().map(|(name, _)| ("params", name));
        let names = names.chain(matrix.iter().map(|(name, _)| ("matrix", name)));
        for (section, name) in names.chain(steps.iter().map(|(name, _)| ("steps", name))) {
            if !is_name(name) {
                let error = self.error_at(&[section, name], "a name is a letter and then letters, digits, `_` and `-`");
                return Err(error);
            }
        }
        for (name, _) in steps.iter() {
            if params.iter().any(|(param, _)| param == name) || matrix.iter().any(|(param, _)| param == name) {
                return Err(self.error_at(&["steps", name], format!("`${name}` is a param already")));
            }
        }
        for (name, values) in matrix.iter() {
            if values.is_empty() {
                return Err(self.error_at(&["matrix", name], "has no values"));
            }
        }
        steps.iter().try_for_each(|(name, step)| match (&step.tool, &step.run) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(self.error_at(&["steps", name], "a step has either `use` or `run`")),
        })
    }
}

/// `[A-Za-z][A-Za-z0-9_-]*`: what can follow a `$`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_name_char)
}

pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

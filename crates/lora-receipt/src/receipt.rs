//! The receipt: its fields, where it lies, and how it is read.
use crate::hash::{Hashes, files};
use crate::hub::HubPlace;
use crate::{Error, FILE_NAME, VERSION, hash_bytes, hash_path, io};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The way out where a receipt can't be read.
const AGAIN: &str = "a receipt is written by a lora tool and not by hand: make the output again";

/// What kind of thing an output is; decides which `-` inputs accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Artefact {
    /// Folder of parquet splits and dataset.json.
    Dataset,
    /// PEFT adapter folder.
    Adapter,
    /// report.json and predictions.jsonl.
    Report,
    /// Hugging Face model folder.
    Model,
    /// A GGUF file (model or adapter).
    Gguf,
    /// A plan of lora-plan.
    Plan,
    /// Whatever a pipeline's shell step wrote.
    Files,
}

impl std::fmt::Display for Artefact {
    /// With its article, for messages: `a dataset`, `an adapter`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dataset => "a dataset",
            Self::Adapter => "an adapter",
            Self::Report => "a report",
            Self::Model => "a model",
            Self::Gguf => "a GGUF file",
            Self::Plan => "a plan",
            Self::Files => "a folder of files",
        })
    }
}

/// One input and the hash of its content when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The flag that named it, e.g. `base`.
    pub name: String,
    /// Path as the user gave it.
    pub path: PathBuf,
    /// sha256 of the file, or of the tree.
    pub sha256: String,
    /// What lies there, where that is a place in the hub's cache: `hub:OWNER/NAME@COMMIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Of a model, what tells whether another file is the same model (see [`crate::Identity`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, String>,
}

impl Input {
    /// An input whose content is hashed already.
    pub fn new(
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        sha256: impl Into<String>,
    ) -> Self {
        let path = path.into();
        Self {
            name: name.into(),
            hub: HubPlace::of(&path).map(|place| place.to_string()),
            path,
            sha256: sha256.into(),
            marks: BTreeMap::new(),
        }
    }

    /// An input that a pipeline's line was told by its name on the hub, with its commit: what it took of it is not known.
    pub fn of_hub(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let hub = path.to_string_lossy().into_owned();
        Self {
            hub: Some(hub.clone()),
            ..Self::new(name, path, hash_bytes(hub.as_bytes()))
        }
    }

    /// Hashes the file or folder at `path`, named after the flag that gave it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(name: impl Into<String>, path: &Path) -> Result<Self, Error> {
        Ok(Self::new(name, path, hash_path(path)?))
    }
}

/// One output file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Path relative to the output folder.
    pub path: PathBuf,
    /// sha256 of its bytes.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl Output {
    /// The files of a staged output, hashed, in sorted order, without some. A single file is named `name`.
    fn list(path: &Path, name: &Path, without: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let mut hashes = Hashes::default();
        let mut one = |file: &Path, shown: PathBuf| {
            hashes.file(file).map(|(sha256, bytes)| Self {
                path: shown,
                sha256,
                bytes,
            })
        };
        if !path.is_dir() {
            return Ok(vec![one(path, name.to_path_buf())?]);
        }
        files(path)?
            .into_iter()
            .filter(|relative| !without.iter().any(|gone| relative.starts_with(gone)))
            .map(|relative| one(&path.join(&relative), relative))
            .collect()
    }
}

/// The record beside every finished output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Format version, see [`VERSION`].
    pub version: u32,
    /// Tool that made it, e.g. `lora-train`.
    pub tool: String,
    /// That tool's version.
    pub tool_version: String,
    /// Kind of output.
    pub artefact: Artefact,
    /// Where the output is.
    pub out: PathBuf,
    /// The resolved configuration: every flag with its value.
    pub config: serde_json::Value,
    /// Seed, where the tool has one.
    pub seed: Option<u64>,
    /// What it was made from.
    pub inputs: Vec<Input>,
    /// What was made.
    pub outputs: Vec<Output>,
    /// A few figures of what was made, e.g. `{"valid_nll": 1.23}`: a second run has the same.
    pub results: serde_json::Value,
    /// What the tool measured of this run on this machine, e.g. tokens a second: a second run has others.
    pub measured: serde_json::Value,
    /// Wall time in seconds.
    pub wall_seconds: f64,
    /// Peak resident memory in bytes.
    pub peak_rss_bytes: u64,
    /// Facts about the machine (os, arch, cpus).
    pub host: serde_json::Value,
    /// Where files lie now that stood in the output which this one replaced, and were not a tool's. Not written.
    #[serde(skip)]
    pub kept_aside: Option<PathBuf>,
}

impl Receipt {
    /// Reads `OUT/receipt.json` (or `FILE.receipt.json` beside a single-file output), of version 1 or 2; gives it as
    /// version 2.
    ///
    /// # Errors
    /// When there is none, or when it is not a receipt of a version that is known.
    pub fn load(out: &Path) -> Result<Self, Error> {
        let path = receipt_path(out);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::invalid(format!(
                "{} has no receipt ({} does not exist)",
                out.display(),
                path.display()
            ))
            .hint("only what a lora tool finished has one; make it again")),
            Err(e) => Err(io("read", &path)(e)),
        }
    }

    /// As it is written.
    pub(crate) fn text(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(|e| {
            let out = self.out.display();
            Error::invalid(format!("failed to write the receipt of {out}: {e}"))
        })?;
        Ok(text + "\n")
    }

    /// Reads a receipt from JSON text; `origin` says in errors where the text came from.
    ///
    /// # Errors
    /// When the text is not JSON, of an unknown version, or without a receipt's fields.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|e| Error::invalid(format!("{origin} is not valid JSON: {e}")).hint(AGAIN))?;
        let value = match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(1) => from_version_1(value),
            Some(version) if version == u64::from(VERSION) => value,
            Some(version) => {
                return Err(Error::invalid(format!(
                    "{origin} is a receipt of version {version}, and this tool reads versions 1 to {VERSION}"
                ))
                .hint("use the release that wrote it, or make the output again with this one"));
            }
            None => {
                return Err(Error::invalid(format!(
                    "{origin} is not a receipt: it has no version"
                ))
                .hint(AGAIN));
            }
        };
        serde_json::from_value(value)
            .map_err(|e| Error::invalid(format!("{origin} is not a receipt: {e}")).hint(AGAIN))
    }

    /// The first difference between what lies at `out` now and what this receipt says was written; none if it is intact.
    /// Files that it does not list are no difference.
    ///
    /// # Errors
    /// When something there can't be read; a missing output is a difference, not an error.
    pub fn first_change(&self, out: &Path, hashes: &mut Hashes) -> Result<Option<String>, Error> {
        if !out.exists() {
            return Ok(Some(format!("{} is gone", out.display())));
        }
        let is_folder = out.is_dir();
        for output in &self.outputs {
            let shown = output.path.display();
            let path = match is_folder {
                true => out.join(&output.path),
                false => out.to_path_buf(),
            };
            if !path.is_file() {
                return Ok(Some(format!("{shown} is gone")));
            }
            let (sha256, _) = hashes.file(&path)?;
            if sha256 != output.sha256 {
                return Ok(Some(format!("{shown} was modified")));
            }
        }
        Ok(None)
    }
}

/// A receipt of version 1 in today's form: what lora-train measured stood among its results.
fn from_version_1(mut receipt: serde_json::Value) -> serde_json::Value {
    const MEASURED: [&str; 2] = ["memory", "tokens_per_s"];
    let mut measured = serde_json::Map::new();
    let is_training = receipt["tool"] == "lora-train";
    let results = receipt.get_mut("results");
    if let Some(results) = results.and_then(|results| results.as_object_mut())
        && is_training
    {
        for name in MEASURED {
            if let Some(value) = results.shift_remove(name) {
                measured.insert(name.to_owned(), value);
            }
        }
    }
    if let Some(fields) = receipt.as_object_mut() {
        fields.insert("version".to_owned(), VERSION.into());
        fields.insert("measured".to_owned(), measured.into());
    }
    receipt
}

/// Where the receipt of `out` lies: inside a folder, beside a file.
pub fn receipt_path(out: &Path) -> PathBuf {
    if out.is_dir() {
        out.join(FILE_NAME)
    } else {
        beside(out, ".receipt.json")
    }
}

/// `path` with `suffix` appended to its last component.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

/// What a tool knows of its receipt before the outputs are hashed.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Tool name.
    pub tool: String,
    /// Tool version.
    pub tool_version: String,
    /// Kind of output.
    pub artefact: Artefact,
    /// Resolved configuration.
    pub config: serde_json::Value,
    /// Seed.
    pub seed: Option<u64>,
    /// Inputs with their hashes.
    pub inputs: Vec<Input>,
    /// Figures of what was made: only what a second run has, too.
    pub results: serde_json::Value,
    /// Seconds, memory and rates beside the whole run's, which every receipt has.
    pub measured: serde_json::Value,
    /// When the work began.
    pub started: std::time::Instant,
}

impl Draft {
    /// The finished receipt of `out`, whose files lie at `written` for now; some of them, or what is in them, will go.
    pub(crate) fn finish(
        self,
        out: &Path,
        written: &Path,
        without: &[PathBuf],
    ) -> Result<Receipt, Error> {
        let name = out.file_name().map(PathBuf::from).unwrap_or_default();
        Ok(Receipt {
            version: VERSION,
            tool: self.tool,
            tool_version: self.tool_version,
            artefact: self.artefact,
            out: out.to_path_buf(),
            config: self.config,
            seed: self.seed,
            inputs: self.inputs,
            outputs: Output::list(written, &name, without)?,
            results: self.results,
            measured: self.measured,
            wall_seconds: (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            peak_rss_bytes: crate::peak_rss_bytes(),
            host: crate::host::facts(),
            kept_aside: None,
        })
    }
}

//! Artefact inputs: a path, a name on the hub, or `-` for the receipt of the tool before this one in a shell pipe. What they
//! name is compared with its receipt before it is read.
use crate::{Error, Result, hub};
use lora_receipt::{Artefact, Receipt};
use lora_records::Event;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What `-` is for.
const PIPE: &str = "`-` takes the JSON lines of a lora tool: `lora-prep … | lora-train --data - …`";

/// What stdin held; read once, so that two `-` inputs get a clear error and not an empty second one.
static STDIN: OnceLock<std::result::Result<String, String>> = OnceLock::new();

/// Whether `--allow-changed` stands on the command line.
static ALLOW_CHANGED: AtomicBool = AtomicBool::new(false);

/// The way past an input that has changed since a tool wrote it; flatten with `#[command(flatten)] #[serde(flatten)]`.
#[derive(Debug, Clone, Copy, Default, clap::Args, serde::Serialize)]
pub struct ChangedInput {
    /// Read an adapter, dataset or model as it is now, though it is not what its receipt says.
    #[arg(long, global = true)]
    #[serde(rename = "allow-changed")]
    pub allow_changed: bool,
}

/// Notes what the command line says of inputs that have changed.
pub(crate) fn allow_changed(matches: &clap::ArgMatches) {
    let here = matches.try_get_one::<bool>("allow_changed");
    if here.is_ok_and(|flag| flag == Some(&true)) {
        ALLOW_CHANGED.store(true, Ordering::Relaxed);
    }
}

/// Refuses what has changed since a tool wrote it.
fn check_receipt(path: &Path) -> Result<()> {
    if ALLOW_CHANGED.load(Ordering::Relaxed) {
        return Ok(());
    }
    match lora_receipt::changed_since(path)? {
        None => Ok(()),
        Some(change) => Err(Error::new(change.to_string())
            .hint("make it again; if the change is meant, --allow-changed reads it as it is")),
    }
}

/// Resolves an artefact input: `-` reads an upstream receipt (last JSON line of stdin) and checks its kind, and
/// `hub:OWNER/NAME` is fetched.
///
/// # Errors
/// When the path does not exist, when the output would overlap it, when it is not what its receipt says, or when what came
/// through the pipe is no receipt of that kind.
pub fn artefact_input(path: &Path, kind: Artefact) -> Result<PathBuf> {
    let path = if path.as_os_str() == "-" {
        let text = STDIN.get_or_init(read_stdin).as_ref().map_err(|e| {
            Error::new(e.clone())
                .context("failed to read stdin")
                .hint(PIPE)
        })?;
        artefact_from(text, kind)?
    } else {
        hub::artefact(path, kind)?
    };
    match std::fs::metadata(&path) {
        Ok(_) => {
            crate::overlap::check_input(&path)?;
            check_receipt(&path)?;
            Ok(path)
        }
        Err(e) => {
            let error =
                Error::foreign(e).context(format!("failed to open {kind} at {}", path.display()));
            Err(match of_the_hub(&path) {
                Some(name) => error.hint(format!(
                    "check the path; a model or dataset of the hub is written hub:{name}"
                )),
                None => error,
            })
        }
    }
}

/// A path that reads as a name of the hub, OWNER/NAME, where no such folder is.
fn of_the_hub(path: &Path) -> Option<&str> {
    let name = path.to_str()?;
    let (owner, rest) = name.split_once('/')?;
    let is_word = |word: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(fits)
    };
    (is_word(owner) && is_word(rest) && !Path::new(owner).exists()).then_some(name)
}

/// Puts the path of what is there in the place of every name: of a flag that may be left out, of one that may stand often.
///
/// # Errors
/// As [`artefact_input`].
pub fn resolve_names<'a>(
    names: impl IntoIterator<Item = &'a mut PathBuf>,
    kind: Artefact,
) -> Result<()> {
    names.into_iter().try_for_each(|name| {
        *name = artefact_input(name, kind)?;
        Ok(())
    })
}

/// The output named by the receipt in the last line of an upstream tool's stdout.
///
/// # Errors
/// When there is no such line, or when it is no receipt of that kind.
pub fn artefact_from(stdout: &str, kind: Artefact) -> Result<PathBuf> {
    let Some(line) = stdout.lines().rev().find(|line| !line.trim().is_empty()) else {
        return Err(Error::new("no receipt came through the pipe")
            .hint("the tool before the `|` failed or wrote nothing: its own error is above"));
    };
    if let Some(Event::Error(failure) | Event::No(failure)) = Event::parse(line) {
        let message = failure.message;
        return Err(Error::new(format!(
            "the tool before the `|` ended without success: {message}"
        ))
        .hint("its own error is above: mend that first"));
    }
    let other_version =
        |value: serde_json::Value| value.get("version").is_some_and(serde_json::Value::is_u64);
    let receipt = Receipt::parse(line, "the last line of stdin").map_err(|e| {
        let error = Error::from(e);
        match serde_json::from_str(line).is_ok_and(other_version) {
            true => error,
            false => error.hint(PIPE),
        }
    })?;
    if receipt.artefact != kind {
        let out = receipt.out.display();
        return Err(Error::new(format!(
            "expected {kind} on stdin, but {} made {} ({out})",
            receipt.tool, receipt.artefact
        ))
        .hint(format!(
            "put the tool that makes {kind} before the `|`, or name {kind} in place of `-`"
        )));
    }
    Ok(receipt.out)
}

fn read_stdin() -> std::result::Result<String, String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map(|_| text)
        .map_err(|e| e.to_string())
}

//! An output and all that it came from, hashed again.
use crate::Error;
use crate::check::receipt_over;
use crate::hash::{hash_path, with_hashed};
use crate::receipt::{Artefact, Input, Receipt};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Where it lies, as its maker or the user called it.
    pub path: PathBuf,
    /// The tool that made it; none of what a person has given.
    pub tool: Option<String>,
    /// What kind of output it is.
    pub artefact: Option<Artefact>,
    /// As which input of what it was read; none of what was asked for.
    pub read_by: Option<String>,
    /// What was found.
    #[serde(flatten)]
    pub state: State,
}

/// What a second look at something finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum State {
    /// All its bytes are what they were.
    Intact,
    /// Some are not: which file, and how it differs.
    Changed(String),
    /// It is intact by its own receipt, but not what was read: it was made again since.
    MadeAgain,
    /// It is not there any more.
    Gone,
    /// It is a commit on the hub, which never changes; what of it is here is not known.
    OnHub,
    /// It came through a pipe, so nothing is left to look at.
    Piped,
}

impl State {
    /// True if nothing speaks against it.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Intact | Self::OnHub | Self::Piped)
    }
}

/// Hashes an output again, everything that it was made from, everything that that was made from, and so on; each once.
/// `seen` are the places that were looked at before.
///
/// # Errors
/// When there is no receipt to compare with, or when a file can't be read.
pub fn verify(path: &Path, seen: &mut HashSet<PathBuf>) -> Result<Vec<Found>, Error> {
    let Some((root, receipt)) = receipt_over(path)? else {
        Receipt::load(path)?; // says what is wrong with it
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let asked = Asked {
        path: path.to_path_buf(),
        read_by: None,
    };
    output(asked, &root, receipt, seen, &mut found)?;
    Ok(found)
}

/// Under which name something was met.
struct Asked {
    path: PathBuf,
    read_by: Option<String>,
}

/// An output that lies at `root`, and what it was made from.
fn output(
    asked: Asked,
    root: &Path,
    receipt: Receipt,
    seen: &mut HashSet<PathBuf>,
    found: &mut Vec<Found>,
) -> Result<(), Error> {
    let change = with_hashed(|hashes| receipt.first_change(root, hashes))?;
    let is_new = seen.insert(root.to_path_buf());
    if !is_new && asked.read_by.is_none() {
        return Ok(());
    }
    let name = asked.path.display().to_string();
    found.push(Found {
        path: asked.path,
        tool: Some(receipt.tool),
        artefact: Some(receipt.artefact),
        read_by: asked.read_by,
        state: change.map_or(State::Intact, State::Changed),
    });
    if !is_new {
        return Ok(());
    }
    let start = start_of(root, &receipt.out);
    for input in &receipt.inputs {
        let read_by = format!("{name} ({})", input.name);
        self::input(input, &read_by, start.as_deref(), seen, found)?;
    }
    Ok(())
}

/// Something that an output was made from.
fn input(
    input: &Input,
    read_by: &str,
    start: Option<&Path>,
    seen: &mut HashSet<PathBuf>,
    found: &mut Vec<Found>,
) -> Result<(), Error> {
    let place = place(&input.path, start);
    let read_by = Some(read_by.to_owned());
    let plain = |state| Found {
        path: input.path.clone(),
        tool: None,
        artefact: None,
        read_by: read_by.clone(),
        state,
    };
    if input.path.as_os_str() == "-" {
        found.push(plain(State::Piped));
        return Ok(());
    }
    if input.hub.as_deref().map(Path::new) == Some(&input.path) {
        found.push(plain(State::OnHub));
        return Ok(());
    }
    if !place.exists() {
        found.push(plain(State::Gone));
        return Ok(());
    }
    let is_what_was_read = hash_path(&place)? == input.sha256;
    match receipt_over(&place)? {
        None if is_what_was_read => found.push(plain(State::Intact)),
        None => found.push(plain(State::Changed("its bytes are others".to_owned()))),
        Some((root, receipt)) => {
            let asked = Asked {
                path: input.path.clone(),
                read_by: read_by.clone(),
            };
            let at = found.len();
            output(asked, &root, receipt, seen, found)?;
            if let Some(met) = found.get_mut(at)
                && met.state == State::Intact
                && !is_what_was_read
            {
                met.state = State::MadeAgain;
            }
        }
    }
    Ok(())
}

/// The folder in which the tool ran that wrote `out` (as its command line called it), which lies at `root` now.
fn start_of(root: &Path, out: &Path) -> Option<PathBuf> {
    if out.is_absolute() {
        return None;
    }
    let mut start = root.to_path_buf();
    for part in out.components().rev() {
        if start.file_name()? != part.as_os_str() {
            return None;
        }
        start.pop();
    }
    Some(start)
}

/// Where an input lies: from the folder in which the tool ran, else from this one.
fn place(path: &Path, start: Option<&Path>) -> PathBuf {
    let there = start.map(|start| start.join(path));
    there
        .filter(|there| there.exists())
        .unwrap_or_else(|| path.to_path_buf())
}

//! Runs of a step that are not finished yet: what is cut off can be continued, also after another attempt in between.
use crate::record::{Definition, receipt_sha256, with_suffix, write_whole};
use crate::resolve::Step;
use lora_cli::Result;
use lora_receipt::{Hashes, Receipt, move_unfinished, partial_path, remove_unfinished};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `STEP.attempt` says, written before the step starts: what then comes to lie in `STEP.partial`, and in `STEP`, is of
/// this key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    key: String,
    /// sha256 of the receipt of the output that was there.
    receipt_before: Option<String>,
}

/// True if an earlier lora-run was killed while the step ran, and the step finished what it was asked for: its receipt is
/// newer than the note, and its output is whole.
pub(crate) fn finished_alone(
    step: &Step,
    definition: &Definition,
    hashes: &mut Hashes,
) -> Result<bool> {
    let note = read(&with_suffix(&step.out, ".attempt"));
    if note.key != definition.key() {
        return Ok(false);
    }
    let Ok(receipt) = Receipt::load(&step.out) else {
        return Ok(false);
    };
    let is_new = Some(receipt_sha256(&step.out)?) != note.receipt_before;
    let said_no = receipt.results["passed"] == false;
    Ok(is_new && !said_no && receipt.first_change(&step.out, hashes)?.is_none())
}

fn read(note: &Path) -> Note {
    let text = std::fs::read(note).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// An unfinished run, noted in `STEP.attempt`.
#[derive(Debug)]
pub(crate) struct Attempt {
    note: PathBuf,
    out: PathBuf,
    /// True if an interrupted run of the same key is there to be continued.
    pub(crate) resumes: bool,
}

impl Attempt {
    /// Notes the run. What an interrupted run of another key has left is set aside, and comes back when that is run
    /// again; `afresh` begins from the start although something could be continued.
    pub(crate) fn begin(
        step: &Step,
        definition: &Definition,
        can_resume: bool,
        afresh: bool,
    ) -> Result<Self> {
        let out = step.out.clone();
        let note = with_suffix(&out, ".attempt");
        let key = definition.key();
        let partial = partial_path(&out);
        let before = read(&note).key;
        let mut is_ours = before == key;
        if can_resume && !is_ours {
            if partial.is_dir() && is_key(&before) {
                move_unfinished(&partial, &set_aside(&partial, &before))?;
            }
            let earlier = set_aside(&partial, &key);
            if earlier.is_dir() && !partial.exists() {
                move_unfinished(&earlier, &partial)?;
                is_ours = true;
            }
        }
        let resumes = can_resume && is_ours && partial.is_dir() && !afresh;
        let written = Note {
            key,
            receipt_before: receipt_sha256(&out).ok(),
        };
        write_whole(&note, &written)?;
        Ok(Self { note, out, resumes })
    }

    /// The step is finished: nothing is left to continue.
    pub(crate) fn end(self) {
        clear(&self.note, &self.out);
    }

    /// The output stands as it is asked for: what an attempt to make the same once more has left goes away. Attempts with
    /// other values go on waiting.
    pub(crate) fn forget(step: &Step, definition: &Definition) {
        let key = definition.key();
        let note = with_suffix(&step.out, ".attempt");
        if read(&note).key == key {
            let _ = remove_unfinished(&partial_path(&step.out)); // it costs space and nothing else
            let _ = std::fs::remove_file(&note);
        }
        let staged = with_suffix(&note, ".partial");
        let is_cut_off = std::fs::metadata(&staged).is_ok_and(|meta| meta.len() == 0);
        if is_cut_off || read(&staged).key == key {
            let _ = std::fs::remove_file(&staged);
        }
    }

    /// The step has been finished without us.
    pub(crate) fn remove(step: &Step) {
        clear(&with_suffix(&step.out, ".attempt"), &step.out);
    }
}

fn clear(note: &Path, out: &Path) {
    let _ = std::fs::remove_file(note); // a stale note does no harm: nothing is left to continue
    for folder in all_set_aside(&partial_path(out)) {
        let _ = remove_unfinished(&folder); // it costs space and nothing else
    }
}

/// Where the unfinished output of another key waits.
fn set_aside(partial: &Path, key: &str) -> PathBuf {
    let key: String = key.chars().take(12).collect();
    partial.with_extension(format!("waiting-{key}"))
}

/// All that waits beside an output.
fn all_set_aside(partial: &Path) -> Vec<PathBuf> {
    let folder = partial.parent().unwrap_or(Path::new("."));
    let name = partial.file_stem().unwrap_or_default().to_string_lossy();
    let beginning = format!("{name}.waiting-");
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let key = name.strip_prefix(&beginning);
        key.is_some_and(|key| key.len() == 12 && key.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_ours).collect()
}

fn is_key(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit())
}

//! Runs of a step that are not finished yet: what is cut off can be continued, also after another attempt in between.
use crate::record::{Definition, with_suffix};
use crate::resolve::Step;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Result};
use lora_receipt::{move_unfinished, partial_path, remove_unfinished};
use std::path::{Path, PathBuf};

/// An unfinished run, noted in `STEP.attempt` with its key: what lies in `STEP.partial` is of this key.
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
        let before = std::fs::read_to_string(&note).unwrap_or_default();
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
        std::fs::write(&note, key)
            .foreign()
            .context(|| format!("failed to write {}", note.display()))?;
        Ok(Self { note, out, resumes })
    }

    /// The step is finished: nothing is left to continue.
    pub(crate) fn end(self) {
        let _ = std::fs::remove_file(self.note); // a stale note does no harm: nothing is left to continue
        for folder in all_set_aside(&partial_path(&self.out)) {
            let _ = remove_unfinished(&folder); // it costs space and nothing else
        }
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

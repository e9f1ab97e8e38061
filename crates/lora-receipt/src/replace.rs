//! One rename puts an output in its place. A process that is killed in between leaves the old output or the new one, never a
//! receipt beside another file's bytes; what is left half done is done by the next one.
use crate::receipt::{beside, receipt_path};
use crate::remains::{is_finished_folder, is_receipt, remove_unlisted, retire};
use crate::unfinished::{forget, is_complete, unmark, was_replaced};
use crate::{Error, FILE_NAME, Hashes, Receipt, io};
use std::fs;
use std::path::Path;

/// Puts the folder `partial` in the place of `out`. What was there goes away after that, but for what is not ours.
pub(crate) fn folder(partial: &Path, out: &Path) -> Result<(), Error> {
    let replaced = beside(out, ".replaced.partial");
    if fs::symlink_metadata(out).is_err() {
        fs::rename(partial, out).map_err(io("write", out))?;
    } else if exchange(partial, out).is_ok() {
        // Another process may write there as soon as we are done.
        let old = match fs::symlink_metadata(&replaced) {
            Err(_) if fs::rename(partial, &replaced).is_ok() => &replaced,
            _ => partial,
        };
        let _ = retire(old, out); // the new output is in its place; the next run tries again
    } else {
        fs::rename(out, &replaced).map_err(io("replace", out))?;
        if let Err(error) = fs::rename(partial, out) {
            let _ = fs::rename(&replaced, out);
            return Err(io("write", out)(error));
        }
        let _ = retire(&replaced, out);
    }
    unmark(partial);
    Ok(())
}

/// Puts the file `partial`, which is synced, in the place of `out`, and its receipt beside it.
pub(crate) fn file(partial: &Path, out: &Path, staged_receipt: &Path) -> Result<(), Error> {
    let receipt = beside(out, ".receipt.json");
    let old = beside(&receipt, ".replaced.partial");
    let had_one = fs::symlink_metadata(&receipt).is_ok();
    if had_one {
        fs::rename(&receipt, &old).map_err(io("replace", &receipt))?;
    }
    if let Err(error) = fs::rename(partial, out) {
        if had_one {
            let _ = fs::rename(&old, &receipt);
        }
        return Err(io("write", out)(error));
    }
    match fs::rename(staged_receipt, &receipt) {
        Err(_) if receipt.is_file() => {} // another process has found it and put it in its place
        moved => moved.map_err(io("write", &receipt))?,
    }
    if had_one {
        let _ = fs::remove_file(&old);
    }
    unmark(partial);
    Ok(())
}

/// Finishes or undoes what a process that was killed has left half done at `out`, which is no link. Nobody else is at it.
pub(crate) fn restore(out: &Path) -> Result<(), Error> {
    restore_receipt(out)?;
    let partial = beside(out, ".partial");
    let replaced = beside(out, ".replaced.partial");
    let is_missing = fs::symlink_metadata(out).is_err();
    if is_missing && is_finished_folder(&replaced) {
        fs::rename(&replaced, out).map_err(io("restore", out))?;
    }
    for old in [&replaced, &partial] {
        if was_replaced(old, &partial) && is_finished_folder(old) {
            retire(old, out)?;
        } else if was_replaced(old, &partial) {
            let _ = fs::remove_dir(old); // one that was emptied; anything else in it stays
        }
    }
    if is_complete(&partial, &partial.join(FILE_NAME)) {
        let receipt = Receipt::load(&partial)?;
        let change = receipt.first_change(&partial, &mut Hashes::default())?;
        if change.is_none() {
            remove_unlisted(&partial)?;
            folder(&partial, out)?;
        }
    }
    forget(&partial, &replaced);
    Ok(())
}

/// Puts the receipt of a single file back that was moved when its process was killed: the one that says what lies there.
fn restore_receipt(out: &Path) -> Result<(), Error> {
    let receipt = beside(out, ".receipt.json");
    let waiting = [".partial", ".replaced.partial"].map(|suffix| beside(&receipt, suffix));
    let waiting: Vec<_> = waiting.iter().filter(|path| is_receipt(path)).collect();
    for place in waiting {
        let is_needed = out.is_file() && fs::symlink_metadata(&receipt).is_err();
        let fits = || -> Option<bool> {
            let text = fs::read_to_string(place).ok()?;
            let told = Receipt::parse(&text, "a receipt").ok()?;
            let change = told.first_change(out, &mut Hashes::default()).ok()?;
            Some(change.is_none())
        };
        if is_needed && fits() == Some(true) {
            fs::rename(place, &receipt).map_err(io("restore", &receipt))?;
        } else {
            fs::remove_file(place).map_err(io("remove", place))?;
        }
    }
    Ok(())
}

/// Writes back a receipt that has been damaged or removed, if `receipt` says what lies at `out`. False if it does not.
///
/// # Errors
/// When something can't be read or written.
pub fn heal(out: &Path, receipt: &str, hashes: &mut Hashes) -> Result<bool, Error> {
    let told = Receipt::parse(receipt, "the receipt")?;
    if told.first_change(out, hashes)?.is_some() {
        return Ok(false);
    }
    let place = receipt_path(out);
    let staged = beside(&place, ".partial");
    fs::write(&staged, receipt)
        .and_then(|()| fs::rename(&staged, &place))
        .map_err(io("write", &place))?;
    Ok(true)
}

/// Exchanges two entries of a folder at once, where the system can.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::{restore, restore_receipt};
    use crate::receipt::beside;
    use crate::unfinished::mark_complete;
    use crate::{Artefact, Draft, FILE_NAME, Receipt};
    use serde_json::json;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The receipt of what lies at `written`.
    fn receipt(out: &Path, written: &Path) -> String {
        let draft = Draft {
            tool: "lora-test".into(),
            tool_version: "0.1.0".into(),
            artefact: Artefact::Files,
            config: json!({}),
            seed: None,
            inputs: Vec::new(),
            results: json!({}),
            measured: json!({}),
            started: std::time::Instant::now(),
        };
        let receipt = draft.finish(out, written, &[PathBuf::from("state")]);
        receipt.unwrap().text().unwrap()
    }

    /// An output as it is before its rename, when its process is killed.
    fn folder_before_rename(out: &Path, content: &str) -> PathBuf {
        let partial = beside(out, ".partial");
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("f"), content).unwrap();
        fs::write(partial.join("state"), "of the run").unwrap();
        let text = receipt(out, &partial);
        fs::write(partial.join(FILE_NAME), &text).unwrap();
        mark_complete(&partial, out, &text).unwrap();
        partial
    }

    #[test]
    fn an_output_that_lacked_only_its_rename_is_put_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("d");
        for content in ["first", "second"] {
            let partial = folder_before_rename(&out, content);
            restore(&out).unwrap();
            assert_eq!(fs::read_to_string(out.join("f")).unwrap(), content);
            assert!(!out.join("state").exists() && !partial.exists());
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                1,
                "no mark stays"
            );
        }
        // Killed after the rename: the mark alone is left.
        let partial = folder_before_rename(&out, "second");
        fs::remove_dir_all(&partial).unwrap();
        restore(&out).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // One that was damaged since is no output.
        let partial = folder_before_rename(&out, "third");
        fs::write(partial.join("f"), "thirt").unwrap();
        restore(&out).unwrap();
        assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "second");
        assert!(partial.exists());
    }

    #[test]
    fn an_output_that_was_exchanged_and_not_yet_removed_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("d");
        folder_before_rename(&out, "old");
        restore(&out).unwrap();
        fs::write(out.join("note"), "mine").unwrap();
        let partial = folder_before_rename(&out, "new");
        let between = dir.path().join("between");
        fs::rename(&out, &between).unwrap();
        fs::rename(&partial, &out).unwrap();
        fs::rename(&between, &partial).unwrap();
        restore(&out).unwrap();
        assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "new");
        assert!(!partial.exists());
        let kept = dir.path().join("d.kept/note");
        assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
    }

    /// Every moment between the renames of [`super::file`].
    #[test]
    fn a_receipt_that_was_moved_comes_back_to_the_bytes_that_it_tells_of() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("m.gguf");
        let place = beside(&out, ".receipt.json");
        let (new, old) = (
            beside(&place, ".partial"),
            beside(&place, ".replaced.partial"),
        );
        for lies_there in ["old", "new"] {
            for (content, waits) in [("old", &old), ("new", &new)] {
                fs::write(&out, content).unwrap();
                fs::write(waits, receipt(&out, &out)).unwrap();
            }
            fs::write(&out, lies_there).unwrap();
            restore_receipt(&out).unwrap();
            let told = Receipt::load(&out).unwrap();
            let change = told.first_change(&out, &mut crate::Hashes::default());
            assert_eq!(change.unwrap(), None, "{lies_there}");
            assert!(!new.exists() && !old.exists());
            fs::remove_file(&place).unwrap();
        }
    }
}

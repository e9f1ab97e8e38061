//! A present output is a finished output.
use crate::draft;
use lora_receipt::{Hashes, Receipt, Staged};
use lora_testkit::Told as _;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// The names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn finish(out: &Path, content: &str, force: bool) -> Receipt {
    let staged = Staged::folder(out, force).unwrap();
    fs::write(staged.path().join("f"), content).unwrap();
    staged.commit(draft()).unwrap()
}

#[test]
fn nothing_stands_at_out_before_commit_and_nothing_beside_it_after() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("deep/er/d");
    let staged = Staged::folder(&out, false).unwrap();
    fs::write(staged.path().join("f"), "x").unwrap();
    assert!(!out.exists());
    staged.commit(draft()).unwrap();
    assert_eq!(names(&out), ["f", "receipt.json"]);
    assert_eq!(names(out.parent().unwrap()), ["d"]);
}

#[test]
fn a_dropped_output_leaves_nothing() {
    let dir = tempdir().unwrap();
    drop(Staged::folder(&dir.path().join("d"), false).unwrap());
    drop(Staged::file(&dir.path().join("m.gguf"), false).unwrap());
    assert!(names(dir.path()).is_empty());
}

#[test]
fn folders_made_for_an_output_go_away_with_it_if_nothing_else_is_in_them() {
    let dir = tempdir().unwrap();
    drop(Staged::folder(&dir.path().join("a/b/d"), false).unwrap());
    drop(Staged::file(&dir.path().join("a/b/m.gguf"), false).unwrap());
    assert!(names(dir.path()).is_empty());

    let staged = Staged::folder(&dir.path().join("a/b/d"), false).unwrap();
    fs::write(dir.path().join("a/mine"), "x").unwrap();
    drop(staged);
    assert_eq!(names(&dir.path().join("a")), ["mine"]);

    let mut kept = Staged::folder(&dir.path().join("c/d"), false).unwrap();
    kept.keep_partial();
    drop(kept);
    assert_eq!(
        names(&dir.path().join("c")),
        ["d.partial", "d.partial.mark"]
    );
}

#[test]
fn what_can_not_be_marked_as_ours_is_not_left() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d.partial.mark.new")).unwrap(); // as a full disk: the mark can't be written
    fs::create_dir(dir.path().join("m.gguf.partial.mark.new")).unwrap();
    assert!(Staged::folder(&dir.path().join("d"), false).is_err());
    assert!(Staged::file(&dir.path().join("m.gguf"), false).is_err());
    assert_eq!(
        names(dir.path()),
        ["d.partial.mark.new", "m.gguf.partial.mark.new"]
    );
}

#[test]
fn a_receipt_that_can_not_be_written_leaves_nothing_beside_the_file() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("m.gguf.receipt.json")).unwrap();
    let error = Staged::file(&dir.path().join("m.gguf"), false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("m.gguf.receipt.json is in the way")
    );
    assert_eq!(names(dir.path()), ["m.gguf.receipt.json"]);
    fs::remove_dir(dir.path().join("m.gguf.receipt.json")).unwrap();
    let staged = Staged::file(&dir.path().join("m.gguf"), false).unwrap();
    fs::create_dir(dir.path().join("m.gguf.receipt.json")).unwrap();
    fs::write(staged.path(), "x").unwrap();
    assert!(staged.commit(draft()).is_err());
    assert_eq!(names(dir.path()), ["m.gguf.receipt.json"]);
}

#[test]
fn an_existing_output_is_refused_and_with_force_replaced_only_at_commit() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    finish(&out, "old", false);
    let error = Staged::folder(&out, false).unwrap_err().told();
    assert!(
        error.ends_with(
            "d exists already\nhint: pass --force to replace it, or choose another --out"
        ),
        "{error}"
    );

    let staged = Staged::folder(&out, true).unwrap();
    fs::write(staged.path().join("f"), "new").unwrap();
    assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "old");
    drop(staged);
    assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "old");

    finish(&out, "new", true);
    assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "new");
    assert_eq!(names(dir.path()), ["d"]);
}

#[test]
fn force_never_removes_a_folder_that_no_tool_wrote() {
    let dir = tempdir().unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("thesis.txt"), "years").unwrap();
    for staged in [Staged::folder(&home, true), Staged::file(&home, true)] {
        assert!(staged.unwrap_err().told().contains("no lora tool wrote"));
    }
    assert_eq!(names(&home), ["thesis.txt"]);
}

#[test]
fn a_killed_run_s_partial_is_cleared_or_resumed() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    let mut staged = Staged::folder(&out, false).unwrap();
    fs::write(staged.path().join("checkpoint"), "step 10").unwrap();
    staged.keep_partial();
    drop(staged);

    let mut resumed = Staged::resume_folder(&out, false).unwrap();
    assert_eq!(names(resumed.path()), [".lora-unfinished", "checkpoint"]);
    resumed.keep_partial();
    drop(resumed);

    let fresh = Staged::folder(&out, false).unwrap();
    assert!(names(fresh.path()).is_empty());
}

#[test]
fn a_replacement_that_was_killed_half_way_is_undone() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    finish(&out, "old", false);
    fs::rename(&out, dir.path().join("d.replaced.partial")).unwrap();
    assert!(Staged::folder(&out, false).is_err());
    assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "old");
}

#[test]
fn two_writers_of_one_output_are_refused() {
    let dir = tempdir().unwrap();
    let first = Staged::folder(&dir.path().join("d"), false).unwrap();
    let error = Staged::folder(&dir.path().join("d"), false)
        .unwrap_err()
        .told();
    assert!(error.starts_with("another process is writing"), "{error}");
    assert!(first.path().exists());
}

#[test]
fn a_single_file_has_its_receipt_beside_it() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("m.gguf");
    for content in ["one", "two"] {
        let staged = Staged::file(&out, content == "two").unwrap();
        fs::write(staged.path(), content).unwrap();
        staged.commit(draft()).unwrap();
        let receipt = Receipt::load(&out).unwrap();
        assert_eq!(receipt.outputs[0].path, Path::new("m.gguf"));
        assert_eq!(
            receipt.first_change(&out, &mut Hashes::default()).unwrap(),
            None
        );
    }
    assert_eq!(names(dir.path()), ["m.gguf", "m.gguf.receipt.json"]);
}

#[test]
fn a_parent_that_is_no_folder_is_a_clear_error() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Staged::folder(&dir.path().join("file/d"), false).unwrap_err();
    assert!(error.to_string().starts_with("failed to create"), "{error}");
    for out in ["..", "/", ""] {
        let error = Staged::folder(out.as_ref(), true).unwrap_err().told();
        assert!(
            error.starts_with(&format!("{out:?} can't be an output path\nhint: ")),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn what_a_link_leads_to_is_replaced_and_the_link_stays() {
    let dir = tempdir().unwrap();
    let (disk, out) = (dir.path().join("disk"), dir.path().join("d"));
    fs::create_dir(&disk).unwrap();
    finish(&disk.join("real"), "old", false);
    std::os::unix::fs::symlink(disk.join("real"), &out).unwrap();
    finish(&out, "new", true);
    assert_eq!(fs::read_to_string(disk.join("real/f")).unwrap(), "new");
    assert!(fs::symlink_metadata(&out).unwrap().is_symlink());
    assert_eq!(names(&disk), ["real"]);

    fs::remove_dir_all(disk.join("real")).unwrap();
    let error = Staged::folder(&out, true).unwrap_err().told();
    assert!(error.contains("where nothing is\nhint: "), "{error}");
}

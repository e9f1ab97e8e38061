//! Nothing is taken that isn't ours.
use crate::draft;
use lora_receipt::{Hashes, Input, Receipt, Staged, refuse_overlap};
use lora_testkit::Told as _;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

fn finish(out: &Path, content: &str, force: bool) -> Receipt {
    let staged = Staged::folder(out, force).unwrap();
    fs::create_dir(staged.path().join("deep")).unwrap();
    fs::write(staged.path().join("deep/f"), content).unwrap();
    staged.commit(draft()).unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_receipt_of_somebody_else_s_is_no_mark() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("books");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("receipt.json"), r#"{"shop":"bakery"}"#).unwrap();
    fs::write(out.join("taxes.txt"), "years").unwrap();
    for force in [false, true] {
        let error = Staged::folder(&out, force).unwrap_err().told();
        assert!(error.contains("no lora tool wrote"), "{error}");
        assert!(!error.contains("pass --force"), "{error}");
    }
    let file = out.join("taxes.txt");
    let error = Staged::file(&file, true).unwrap_err().told();
    assert!(error.contains("no lora tool wrote"), "{error}");
    assert_eq!(read(&file), "years");
}

#[test]
fn what_lies_where_an_output_would_be_written_is_refused_and_not_emptied() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("job.partial")).unwrap();
    fs::write(at("job.partial/mine.txt"), "mine").unwrap();
    fs::write(at("m.gguf.partial"), "mine").unwrap();
    let refused = [
        Staged::folder(&at("job"), false),
        Staged::folder(&at("job"), true),
        Staged::resume_folder(&at("job"), true),
        Staged::file(&at("job"), true),
        Staged::file(&at("m.gguf"), true),
        Staged::folder(&at("m.gguf"), true),
    ];
    for staged in refused {
        let error = staged.unwrap_err().told();
        assert!(
            error.contains("no lora tool left it there\nhint: move it away"),
            "{error}"
        );
    }
    assert_eq!(
        read(at("job.partial/mine.txt")) + &read(at("m.gguf.partial")),
        "minemine"
    );
}

#[test]
fn a_mark_is_of_one_folder_and_not_of_a_name() {
    let dir = tempdir().unwrap();
    let (out, partial) = (dir.path().join("d"), dir.path().join("d.partial"));
    std::mem::forget(Staged::folder(&out, false).unwrap()); // as if it had been killed
    fs::remove_dir(&partial).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("mine"), "mine").unwrap();
    assert!(Staged::folder(&out, true).is_err());
    assert_eq!(read(partial.join("mine")), "mine");
}

#[test]
fn files_that_no_receipt_lists_are_kept_when_their_folder_is_replaced() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    finish(&out, "1", false);
    for turn in ["1", "2", "3"] {
        fs::write(out.join("note.txt"), turn).unwrap();
        fs::write(out.join("deep/.DS_Store"), turn).unwrap();
        let receipt = Receipt::load(&out).unwrap();
        assert_eq!(
            receipt.first_change(&out, &mut Hashes::default()).unwrap(),
            None
        );
        let kept = finish(&out, "2", true).kept_aside.unwrap();
        assert_eq!(
            read(kept.join("note.txt")) + &read(kept.join("deep/.DS_Store")),
            turn.repeat(2)
        );
        assert!(!out.join("note.txt").exists());
    }
    assert!(dir.path().join("d.kept-3/note.txt").exists());
    assert_eq!(finish(&out, "3", true).kept_aside, None);
}

#[cfg(unix)]
#[test]
fn what_a_link_within_an_output_leads_to_is_left_alone() {
    let dir = tempdir().unwrap();
    let (out, disk) = (dir.path().join("d"), dir.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    fs::write(disk.join("big"), "big").unwrap();
    let staged = Staged::folder(&out, false).unwrap();
    std::os::unix::fs::symlink(&disk, staged.path().join("linked")).unwrap();
    staged.commit(draft()).unwrap();
    std::os::unix::fs::symlink(&disk, out.join("later")).unwrap();
    finish(&out, "new", true);
    assert_eq!(read(disk.join("big")), "big");
    assert!(dir.path().join("d.kept/later").is_symlink());
}

#[test]
fn inputs_and_outputs_that_overlap_are_refused() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("m/deep")).unwrap();
    fs::create_dir_all(at("o.partial/checkpoints")).unwrap();
    fs::write(at("m/deep/w"), "w").unwrap();
    let refused = [
        ("m", "m", " is the input"),
        ("m/../m/", "m", " is the input"),
        ("m", "m/deep", "contains"),
        ("m", "m/deep/w", "contains"),
        ("m/out", "m", "lies in"),
        ("m/new/out", "m", "lies in"),
        ("o", "o.partial/checkpoints", "would empty"),
    ];
    for (out, input, how) in refused {
        let error = refuse_overlap(&at(out), &at(input)).unwrap_err().told();
        assert!(error.contains(how), "{out} {input}: {error}");
    }
    for (out, input) in [
        ("mm", "m"),
        ("o", "m"),
        ("m/deep/v", "m/deep/w"),
        ("x", "-"),
    ] {
        refuse_overlap(&at(out), &at(input)).unwrap();
    }
    // The last defence: what a tool found out only later.
    let staged = Staged::folder(&at("n"), false).unwrap();
    let mut draft = draft();
    draft.inputs = vec![Input::new("base", dir.path(), "")];
    assert!(staged.commit(draft).is_err());
    assert_eq!(read(at("m/deep/w")), "w");
}

#[cfg(unix)]
#[test]
fn files_have_the_mode_that_the_umask_says() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(dir.path().join("usual"), "").unwrap();
    let staged = Staged::folder(&dir.path().join("d"), false).unwrap();
    let private = staged.path().join("adapter");
    fs::write(&private, "").unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    staged.commit(draft()).unwrap();
    assert_eq!(
        mode(&dir.path().join("d/adapter")),
        mode(&dir.path().join("usual"))
    );
}

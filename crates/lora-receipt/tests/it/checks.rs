//! What is read is compared with the receipt that speaks of it.
use crate::draft;
use lora_receipt::{Input, Staged, State, changed_since, hash_path, keep_hashes_in, verify};
use lora_testkit::Told as _;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::tempdir;

/// A folder with a file in it and one in a folder below, and notes.
fn folder(out: &Path, inputs: Vec<Input>) {
    let staged = Staged::folder(out, false).unwrap();
    fs::create_dir(staged.path().join("checkpoints")).unwrap();
    for file in ["a.json", "checkpoints/b.json", "README.md"] {
        fs::write(staged.path().join(file), "1").unwrap();
    }
    let mut draft = draft();
    draft.inputs = inputs;
    staged.commit(draft).unwrap();
}

#[test]
fn the_receipt_over_a_path_is_found_wherever_the_path_lies_in_it() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    folder(&out, Vec::new());
    let changed = |path: &str| {
        let change = changed_since(&out.join(path)).unwrap();
        change.map(|change| {
            change
                .path
                .strip_prefix(&out)
                .unwrap()
                .display()
                .to_string()
        })
    };
    let all = ["", "a.json", "checkpoints", "checkpoints/b.json"];
    assert_eq!(all.map(changed), [const { None }; 4]);
    fs::write(out.join("README.md"), "mine").unwrap();
    assert_eq!(all.map(changed), [const { None }; 4]);
    fs::write(out.join("checkpoints/b.json"), "2").unwrap();
    let b = Some("checkpoints/b.json".to_owned());
    assert_eq!(all.map(changed), [b.clone(), None, b.clone(), b]);
    fs::remove_file(out.join("a.json")).unwrap();
    let change = changed_since(&out).unwrap().unwrap();
    assert!(change.is_gone, "{change}");
}

#[test]
fn a_receipt_that_is_no_json_is_refused_and_a_file_that_is_called_so_is_not() {
    let dir = tempdir().unwrap();
    for text in ["{}", "[1]", r#"{"version": 1, "total": 3}"#] {
        fs::write(dir.path().join("receipt.json"), text).unwrap();
        assert_eq!(changed_since(dir.path()).unwrap(), None, "{text}");
    }
    for text in ["", "{", "\0\0"] {
        fs::write(dir.path().join("receipt.json"), text).unwrap();
        let error = changed_since(dir.path()).unwrap_err().told();
        assert!(error.contains("receipt.json is damaged: "), "{error}");
    }
}

#[test]
fn a_chain_that_was_moved_as_a_whole_is_followed_from_where_it_lies_now() {
    let dir = tempdir().unwrap();
    let one = dir.path().join("one");
    fs::create_dir(&one).unwrap();
    fs::write(one.join("raw"), "1").unwrap();
    let raw = Input::new("raw", "raw", hash_path(&one.join("raw")).unwrap());
    folder(&one.join("d"), vec![raw]);
    // As a tool that was started in `one` has it.
    let path = one.join("d/receipt.json");
    let mut receipt: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    receipt["out"] = "d".into();
    fs::write(&path, receipt.to_string()).unwrap();
    fs::rename(&one, dir.path().join("two")).unwrap();
    let states = || {
        let found = verify(&dir.path().join("two/d"), &mut HashSet::new()).unwrap();
        found.into_iter().map(|one| one.state).collect::<Vec<_>>()
    };
    assert_eq!(states(), [State::Intact, State::Intact]);
    fs::write(dir.path().join("two/raw"), "2").unwrap();
    let others = State::Changed("its bytes are others".into());
    assert_eq!(states(), [State::Intact, others]);
}

#[test]
fn a_hash_is_kept_until_the_file_changes_and_a_damaged_note_is_not_believed() {
    let dir = tempdir().unwrap();
    let cache = dir.path().join("cache");
    keep_hashes_in(&cache);
    let file = dir.path().join("big");
    fs::write(&file, vec![1u8; 1 << 20]).unwrap();
    let first = hash_path(&file).unwrap();
    assert!(
        !cache.exists(),
        "a file that changed just now may change again"
    );
    std::thread::sleep(Duration::from_millis(100));
    let notes = || -> Vec<_> {
        let notes = fs::read_dir(cache.join("hashes")).into_iter().flatten();
        notes.map(|entry| entry.unwrap().path()).collect()
    };
    let mut hashes = lora_receipt::Hashes::default();
    assert_eq!(hashes.hash_path(&file).unwrap(), first);
    let note = notes().pop().unwrap();
    // What the note says is taken, so it is read …
    let text = fs::read_to_string(&note).unwrap();
    let forged = text.replace(&first, &"0".repeat(64));
    assert_ne!(forged, text);
    for damaged in [&forged[..], "", "{", &text[..text.len() / 2]] {
        fs::write(&note, damaged).unwrap();
        // … and what is damaged is not.
        let again = lora_receipt::Hashes::default().hash_path(&file).unwrap();
        assert_eq!(again, first);
    }
    assert_eq!(
        fs::read_to_string(&note).unwrap(),
        text,
        "it is written anew"
    );
    fs::write(&file, vec![2u8; 1 << 20]).unwrap();
    assert_ne!(
        lora_receipt::Hashes::default().hash_path(&file).unwrap(),
        first
    );
}

//! What is told to a step alone reaches no lock, receipt, note or log.
use crate::House;
use std::path::Path;

/// All files below a folder that hold a text.
fn holding(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holding(&path, text, found);
        } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(text) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn secrets_reach_no_lock_receipt_note_or_log() {
    let house = House::new(
        "version: 1\nparams: { token: not-a-real-token }\nsteps:\n  \
         a: { run: 'set -x; test \"$WITH_AUTH\" != \"Bearer (secret)\"; echo \"$WITH_AUTH $HOUSE_TOKEN\" >&2; echo x > $OUT/v', \
         with: { auth: Bearer $token } }\n",
    );
    let run = |args: &[&str]| {
        let mut command = house.command(&[&["p.yaml"], args].concat());
        command.env("HOUSE_TOKEN", "another-unreal-one");
        let said = command.output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap()
    };
    for told in [run(&["--dry-run"]), run(&[]), run(&[])] {
        assert!(!told.contains("not-a-real-token"), "{told}");
        assert!(!told.contains("another-unreal-one"), "{told}");
    }
    let mut found = Vec::new();
    for secret in ["not-a-real-token", "another-unreal-one"] {
        holding(house.dir.path(), secret, &mut found);
    }
    assert_eq!(found, ["p.yaml"]);
    assert!(house.read("work/p/a.log").contains("Bearer (secret)"));
    // It changes nothing of what is made.
    assert_eq!(house.steps(&["--set", "token=a-newer-one"]), ["a: skipped"]);
}

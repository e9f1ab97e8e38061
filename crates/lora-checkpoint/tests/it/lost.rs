//! A model's file that somebody cuts off or writes into while it is read.
use lora_checkpoint::Checkpoint;
use lora_testkit::{Told as _, tiny_chat};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The embedded model in a folder of its own; its file of weights.
fn model(dir: &Path) -> PathBuf {
    for entry in fs::read_dir(tiny_chat()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
    }
    dir.join("model.safetensors")
}

#[test]
fn a_file_that_was_written_to_is_refused_and_one_that_was_replaced_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = model(dir.path());
    let opened = Checkpoint::open(dir.path()).unwrap();
    opened.check_unchanged().unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    opened.check_unchanged().unwrap();
    let opened = Checkpoint::open(dir.path()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut written = OpenOptions::new().write(true).open(&file).unwrap();
    written.write_all(b"x").unwrap();
    let error = opened.check_unchanged().unwrap_err().told();
    assert!(
        error.contains("model.safetensors") && error.contains("was written to"),
        "{error}"
    );
}

/// Set for the process that reads what is cut off.
#[cfg(unix)]
const FOLDER: &str = "LORA_TEST_CUT_OFF";

#[cfg(unix)]
#[test]
#[ignore = "the other half of the next test, in a process of its own"]
fn reads_a_model_that_is_cut_off() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let opened = Checkpoint::open(&folder).unwrap();
    let other = Checkpoint::open(&tiny_chat()).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(folder.join("model.safetensors"))
        .unwrap();
    file.set_len(10).unwrap();
    for model in [other, opened] {
        for name in model.tensor_names() {
            let values = model.tensor(name.as_ref()).unwrap().to_f32();
            assert!(!values.is_empty());
        }
    }
    panic!("all of it was read");
}

#[cfg(unix)]
#[test]
fn a_file_that_is_cut_off_while_it_is_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = model(dir.path());
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "lost::reads_a_model_that_is_cut_off",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let line = format!(
        "error: {} was cut off while it was read\nhint: ",
        file.display()
    );
    assert!(said.starts_with(&line), "{said}");
}

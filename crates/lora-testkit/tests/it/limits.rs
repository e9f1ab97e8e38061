//! Memory that can't be had: one line and exit code 2, whatever the limit; never a signal, never a panic.
use crate::session::tool;
use lora_testkit::{assert_code, piped, repository, stderr, tiny_chat};
use std::path::Path;
use std::process::{Command, Output};

/// Address space in MB: from what hardly starts a program to what is enough for all of it.
const LIMITS: [u64; 8] = [24, 48, 96, 160, 256, 400, 700, 8000];

fn limited(dir: &Path, megabytes: u64, line: &str) -> Output {
    let (name, words) = line.split_once(' ').unwrap();
    let words = words.replace("BASE", &tiny_chat().display().to_string());
    let kilobytes = megabytes * 1000;
    let script = format!("ulimit -v {kilobytes} && exec \"$0\" {words}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(tool(name));
    piped(command.current_dir(dir), b"")
}

#[cfg(target_os = "linux")]
#[test]
fn every_limit_ends_in_success_or_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let rows = std::fs::read_to_string(repository("data/tasks.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(60).collect();
    std::fs::write(dir.join("rows.jsonl"), rows).unwrap();
    let lines = [
        "lora-prep rows.jsonl --base BASE --out data --force",
        "lora-train --base BASE --data data --out adapter --steps 2 --force",
        "lora-eval --base BASE --data data --adapter adapter --out report --generate 2 --force",
        "lora-merge --base BASE --adapter adapter --out merged --force",
        "lora-export --model merged --out merged.gguf --force",
    ];
    for line in lines {
        for megabytes in LIMITS {
            let output = limited(dir, megabytes, line);
            let said = stderr(&output);
            if output.status.code() == Some(2) {
                // Below this the loader itself may fail, before a line of ours.
                assert!(said.contains("error: "), "{megabytes} MB: {line}: {said}");
                assert!(
                    !said.contains("internal error"),
                    "{megabytes} MB: {line}: {said}"
                );
            } else if megabytes > LIMITS[0] {
                assert_code(&output, 0);
            }
        }
        assert_code(&limited(dir, LIMITS[LIMITS.len() - 1], line), 0);
    }
}

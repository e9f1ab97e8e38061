//! Runs of a tool, and what it answered.
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs a command to its end with `stdin` behind a pipe.
///
/// # Panics
/// When it can't be started.
pub fn piped(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A tool that refuses its arguments may be gone before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// Whether this process, and what it starts, was told to ignore SIGHUP, as by nohup.
///
/// # Panics
/// When /proc doesn't say.
#[cfg(target_os = "linux")]
pub fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap() & 1 == 1
}

/// The same where nothing says: no.
#[cfg(not(target_os = "linux"))]
pub fn ignores_hangups() -> bool {
    false
}

/// Asserts the exit code and shows all that was said if it is another.
///
/// # Panics
/// When it is another.
#[track_caller]
pub fn assert_code(output: &Output, code: i32) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let text = format!("{stdout}{}", stderr(output));
    assert_eq!(output.status.code(), Some(code), "{text}");
}

/// What the tool said to people.
///
/// # Panics
/// When it is not UTF-8.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The receipt on the last line of a successful run.
///
/// # Panics
/// When the run failed or its last line is no JSON.
#[track_caller]
pub fn receipt(output: &Output) -> Value {
    assert_code(output, 0);
    let stdout = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap()
}

//! What every tool's doorbell does, seen on this one: exit codes, JSON lines, what a tool tells about itself.
use crate::House;
use std::process::Stdio;

const ONE: &str = "version: 1\nsteps:\n  a: { use: lora-fake, in: { base: raw.txt } }\n";

#[test]
fn the_last_line_of_stdout_is_the_receipt_of_the_last_step() {
    let house = House::new(ONE);
    let said = house.run(&["p.yaml"]);
    let lines: Vec<serde_json::Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let receipt = lines.last().unwrap();
    assert_eq!(
        (receipt["version"].as_u64(), receipt["out"].as_str()),
        (Some(2), Some("work/p/a"))
    );
    let table: Vec<&str> = said.stderr.lines().rev().take(2).collect();
    assert!(
        table[1].starts_with("step  status  seconds  peak memory  results"),
        "{}",
        said.stderr
    );
    assert!(
        table[0].contains("2.0 MB  valid_nll 1.2500, sentiment 3  first run"),
        "{}",
        said.stderr
    );
}

#[test]
fn the_lock_holds_what_was_made_and_no_times() {
    let house = House::new(ONE);
    house.steps(&[]);
    let lock: serde_json::Value = serde_json::from_str(&house.read("p.lock")).unwrap();
    let step = &lock["steps"]["a"];
    assert_eq!(
        step["results"],
        serde_json::json!({ "valid_nll": 1.25, "sentiment": 3 })
    );
    assert_eq!(step["config"], serde_json::json!({ "lr": "" }));
    assert_eq!(step["outputs"][0]["path"], "made");
    assert_eq!(step["key"].as_str().unwrap().len(), 64);
    house.steps(&["--force"]);
    assert_eq!(
        lock,
        serde_json::from_str::<serde_json::Value>(&house.read("p.lock")).unwrap()
    );
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    let house = House::new(ONE);
    assert_eq!(house.run(&[]).code, Some(2));
    assert_eq!(house.run(&["p.yaml", "--nope"]).code, Some(2));
    assert_eq!(house.run(&["p.yaml", "--set", "lr"]).code, Some(2));
    let help = house.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(
        help.stdout.contains("--dry-run") && help.stdout.contains("Examples:"),
        "{}",
        help.stdout
    );
}

#[test]
fn a_tool_tells_its_flags_and_its_completions() {
    let house = House::new(ONE);
    let told: serde_json::Value = serde_json::from_str(&house.run(&["--describe"]).stdout).unwrap();
    assert_eq!(told["tool"], "lora-run");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            house
                .run(&["--completions", shell])
                .stdout
                .contains("lora-run"),
            "{shell}"
        );
    }
    let said = house.run(&["--completions", "cmd"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr
            .starts_with("error: --completions knows no shell `cmd`\nhint: one of bash"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let house = House::new(ONE);
    let mut child = house
        .command(&["p.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(house.path("work/p/a/made").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let house = House::new(ONE);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = house
        .command(&["p.yaml", "-q"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with(
            "error: failed to write to stdout\ncause: No space left on device\nhint: "
        ),
        "{stderr}"
    );
}

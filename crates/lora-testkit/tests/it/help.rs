//! Every `--help`, of the subcommands too.
use crate::assert_snapshot;
use crate::session::{Session, tool};
use serde_json::Value;
use std::process::Command;

const TOOLS: [&str; 8] = [
    "lora-prep",
    "lora-train",
    "lora-eval",
    "lora-chat",
    "lora-merge",
    "lora-export",
    "lora-plan",
    "lora-run",
];

#[test]
fn every_help_is_as_it_was() {
    for name in TOOLS {
        let mut session = Session::new();
        session.run(&format!("{name} --help"));
        let described = Command::new(tool(name)).arg("--describe").output().unwrap();
        let described: Value = serde_json::from_slice(&described.stdout).unwrap();
        for subcommand in described["subcommands"].as_array().unwrap() {
            let subcommand = subcommand["tool"].as_str().unwrap();
            session.run(&format!("{name} {subcommand} --help"));
        }
        assert_snapshot(&format!("help-{name}"), &session.transcript());
    }
}

#[test]
fn no_tool_is_without_its_help() {
    let crates = std::fs::read_dir(lora_testkit::repository("crates")).unwrap();
    let mut tools: Vec<String> = crates
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("src/main.rs").is_file())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    tools.sort();
    let mut known = TOOLS.to_vec();
    known.sort_unstable();
    assert_eq!(tools, known, "a new tool has its help in the snapshots");
}

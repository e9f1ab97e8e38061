//! A run that was killed and continued ends with the same bytes as one that was not.
use crate::harness::{adapter_bytes, base, command, dataset, refused, run, train};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Long enough to be interrupted, with all that a run keeps track of: epochs, dropout, moments, best, accumulation.
const FLAGS: [&str; 16] = [
    "--rank",
    "4",
    "--lr",
    "5e-3",
    "--dropout",
    "0.1",
    "--batch",
    "3",
    "--accumulation",
    "2",
    "--epochs",
    "60",
    "--eval-every",
    "7",
    "--weight-decay",
    "0.01",
];

fn flags<'a>(base: &'a str, data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["--base", base, "--data", data, "--out", out],
        &FLAGS[..],
        more,
    ]
    .concat()
}

/// Starts a run, waits for its first checkpoint and sends a signal.
fn interrupt(args: &[&str], out: &Path, signal: &str) {
    let state = out
        .with_extension("partial")
        .join("checkpoints/state.safetensors");
    interrupt_when(args, out, signal, &state);
}

/// Starts a run, waits for a file and sends a signal.
fn interrupt_when(args: &[&str], out: &Path, signal: &str, state: &Path) {
    let mut child = command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !state.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    let told = std::time::Instant::now();
    let status = child.wait().unwrap();
    assert!(told.elapsed().as_secs() < 5, "{signal}: it ends soon");
    assert!(
        !out.exists(),
        "the run was over before it could be interrupted"
    );
    assert_eq!(
        status.code(),
        if signal == "-KILL" { None } else { Some(130) }
    );
    assert!(state.exists());
}

fn metric_lines(out: &Path) -> Vec<String> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let without_speed = |line: &str| line.split("\"tokens_per_s\"").next().unwrap().to_owned();
    text.lines().map(without_speed).collect()
}

#[test]
fn a_killed_run_continues_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let whole = dir.path().join("whole");
    train(&flags(&base, &data, whole.to_str().unwrap(), &[]));
    for signal in ["-KILL", "-INT", "-TERM", "-HUP"] {
        // Under nohup a run goes on, as it should.
        if signal == "-HUP" && lora_testkit::ignores_hangups() {
            continue;
        }
        let out = dir.path().join(format!("cut{signal}"));
        let path = out.to_str().unwrap();
        interrupt(&flags(&base, &data, path, &[]), &out, signal);

        let error = refused(&flags(&base, &data, path, &[]));
        assert!(
            error.contains("holds an interrupted run") && error.contains("--resume continues it"),
            "{error}"
        );
        let error = refused(&flags(&base, &data, path, &["--resume", "--clip", "2"]));
        assert!(
            error.contains("the interrupted run had another clip: 1.0, not 2.0"),
            "{error}"
        );

        let stderr = run(&flags(&base, &data, path, &["--resume"])).stderr;
        assert!(
            String::from_utf8(stderr)
                .unwrap()
                .contains("continuing after step")
        );
        assert!(adapter_bytes(&whole) == adapter_bytes(&out), "{signal}");
        assert_eq!(metric_lines(&whole), metric_lines(&out));
        let last = |out: &Path| adapter_bytes(&out.join("checkpoints/last"));
        assert!(last(&whole) == last(&out));
        assert!(!out.join("checkpoints/state.safetensors").exists());
    }
}

/// A checkpoint that is damaged is told from a whole one, and the one before it leads to the same bytes, too.
#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_run_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let whole = dir.path().join("whole");
    train(&flags(&base, &data, whole.to_str().unwrap(), &[]));
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
        ("zeroed", |bytes| bytes.fill(0)),
        ("one bit", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 16;
        }),
    ];
    for (name, damage) in damages {
        let out = dir.path().join(name.replace(' ', "-"));
        let path = out.to_str().unwrap();
        let partial = out.with_extension("partial");
        let before = partial.join("checkpoints/state.before.safetensors");
        interrupt_when(&flags(&base, &data, path, &[]), &out, "-KILL", &before);
        for file in ["checkpoints/state.safetensors", "metrics.jsonl"] {
            let file = partial.join(file);
            let mut bytes = fs::read(&file).unwrap();
            damage(&mut bytes);
            fs::write(&file, bytes).unwrap();
        }
        let stderr = run(&flags(&base, &data, path, &["--resume"])).stderr;
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(
            stderr.contains("going on from the checkpoint before it"),
            "{name}: {stderr}"
        );
        assert!(adapter_bytes(&whole) == adapter_bytes(&out), "{name}");
        assert_eq!(metric_lines(&whole), metric_lines(&out), "{name}");
        let left = fs::read_dir(out.join("checkpoints")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["last"]);
    }
}

/// Plans that no machine will ever finish begin like any other: nothing is done, or held, for each planned step.
#[test]
fn a_run_without_end_begins_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let endless: [&[&str]; 3] = [
        &["--steps", "1000000000000"],
        &["--epochs", "1e12"],
        &[
            "--epochs",
            "1e12",
            "--batch-tokens",
            "64",
            "--accumulation",
            "7",
        ],
    ];
    for (i, flags) in endless.into_iter().enumerate() {
        let out = dir.path().join(format!("endless{i}"));
        let fixed = ["--base", &base, "--data", &data, "--rank", "4"];
        let more = ["--eval-every", "2", "--out", out.to_str().unwrap()];
        let began = std::time::Instant::now();
        interrupt(&[&fixed[..], &more, flags].concat(), &out, "-INT");
        assert!(began.elapsed().as_secs() < 60, "{flags:?}");
    }
}

#[test]
fn nothing_to_resume_is_a_run_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let out = dir.path().join("out");
    let args = [
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
        "--steps",
        "2",
        "--resume",
    ];
    train(&args);
    assert!(out.join("adapter_model.safetensors").exists());
}

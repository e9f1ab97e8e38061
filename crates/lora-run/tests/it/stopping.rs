//! Failures, gates, interruptions and second runs.
use crate::{House, Said};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

#[test]
fn a_failed_step_stops_the_run_and_says_why_and_where_its_log_is() {
    let house = House::new(
        "version: 1\nsteps:\n  a: { use: lora-fake, in: { base: raw.txt }, with: { lr: 666 } }\n  b: { run: 'true' }\n",
    );
    let said = house.run(&["p.yaml", "--quiet"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(
        said.stderr,
        "error: step a failed with exit code 2 (its log: work/p/a.log)\n\
         cause: loss is not finite\n\
         cause: lr is 666\n\
         hint: lower --lr\n"
    );
    assert!(house.read("work/p/a.log").contains("cause: lr is 666"));
    assert!(!house.path("work/p/b").exists() && !house.path("p.lock").exists());
}

#[test]
fn a_failed_shell_line_leaves_nothing_half_written() {
    let house = House::new(
        "version: 1\nsteps:\n  a: { run: 'echo half > $OUT/made; echo cannot >&2; exit 1' }\n",
    );
    let said = house.run(&["p.yaml", "-q"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(
        said.stderr,
        "error: step a failed with exit code 1 (its log: work/p/a.log)\n\
         cause: cannot\n\
         hint: when its cause is mended, the same command goes on from this step\n"
    );
    let left: Vec<_> = std::fs::read_dir(house.path("work/p"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(
            |name| [".lock", ".pipeline"].contains(&&*name.to_string_lossy())
                || name == "a.log"
                || name == "a.attempt"
        ),
        "{left:?}"
    );
}

#[test]
fn a_gate_that_says_no_stops_the_run_with_exit_code_1_every_time() {
    let gate = "version: 1\nsteps:\n  a: { use: lora-fake, in: { base: raw.txt }, with: { must-pass: true } }\n  b: { run: 'true', needs: [a] }\n";
    let house = House::new(gate);
    for _ in 0..2 {
        let said = house.run(&["p.yaml", "--quiet"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert_eq!(
            said.stderr,
            "no: step a: worse than the base (its log: work/p/a.log)\n"
        );
        assert!(!house.path("work/p/b").exists());
    }
    let said = house.run(&["p.yaml"]);
    assert!(
        said.stderr
            .contains("a: running (the answer was no last time)"),
        "{}",
        said.stderr
    );
}

/// Starts lora-run on a step that sleeps, and waits until the step is running.
fn sleeping(house: &House) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let mut child = house
        .command(&["p.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0);
    }
    (child, stderr)
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_with_130_and_leaves_no_output() {
    let house = House::new(
        "version: 1\nsteps:\n  a: { run: 'echo half > $OUT/made; echo ready; exec sleep 600' }\n",
    );
    let (mut child, _stderr) = sleeping(&house);
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!house.path("work/p/a").exists() && !house.path("work/p/a.partial").exists());
}

#[test]
fn an_interrupted_step_is_continued_if_nothing_changed() {
    let pipeline = "version: 1\nparams: { lr: 13, t: q }\nsteps:\n  a: { use: lora-fake, in: { base: raw.txt }, with: { lr: $lr, targets: $t } }\n";
    let continued = "a: running (first run; continues an interrupted run)";
    let house = House::new(pipeline);
    assert_eq!(house.run(&["p.yaml"]).code, Some(130));
    let said = house.run(&["p.yaml"]);
    assert!(
        said.stderr.contains(continued) && said.stderr.contains("picked up half"),
        "{}",
        said.stderr
    );
    assert!(!house.path("work/p/a.attempt").exists());

    for changed in ["--set=t=v", "--force"] {
        let house = House::new(pipeline);
        assert_eq!(house.run(&["p.yaml"]).code, Some(130));
        let said = house.run(&["p.yaml", changed]);
        assert!(
            said.code == Some(0) && !said.stderr.contains("continues"),
            "{}",
            said.stderr
        );
    }
}

#[cfg(unix)]
#[test]
fn a_second_run_of_the_same_pipeline_is_refused() {
    let house = House::new("version: 1\nsteps:\n  a: { run: 'echo ready; exec sleep 600' }\n");
    let (mut child, _stderr) = sleeping(&house);
    let refused = house.refused(&[]);
    assert_eq!(
        refused,
        "error: another lora-run is running p in work/p\n\
         hint: wait for it, or give this one a folder of its own with --work\n"
    );
    std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    child.wait().unwrap();
}

#[test]
fn an_unwritable_work_folder_is_a_clear_error() {
    let house = House::new("version: 1\nsteps:\n  a: { run: 'true' }\n");
    let said: Said = house.run(&["p.yaml", "--work", "raw.txt"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr
            .starts_with("error: failed to write raw.txt/p/.lock\ncause: "),
        "{}",
        said.stderr
    );
}

#[test]
fn a_shell_line_stops_at_the_first_command_that_fails() {
    let lines = [
        "cp /nonexistent/file $OUT/important; echo done > $OUT/v",
        "echo $NEVER_SET > $OUT/v",
    ];
    for line in lines {
        let house = House::new(&format!("version: 1\nsteps:\n  a: {{ run: '{line}' }}\n"));
        assert_eq!(house.run(&["p.yaml"]).code, Some(2), "{line}");
        assert!(!house.path("work/p/a").exists());
    }
}

#[test]
fn an_interrupted_run_survives_an_attempt_with_other_values() {
    let pipeline = "version: 1\nparams: { lr: 13 }\nsteps:\n  a: { use: lora-fake, in: { base: raw.txt }, with: { lr: $lr } }\n";
    let house = House::new(pipeline);
    assert_eq!(house.run(&["p.yaml"]).code, Some(130));
    let failed = house.run(&["p.yaml", "--set", "lr=666"]);
    assert_eq!(failed.code, Some(2), "{failed:?}");
    let said = house.run(&["p.yaml"]);
    assert!(
        said.code == Some(0) && said.stderr.contains("picked up half"),
        "{}",
        said.stderr
    );
    let left: Vec<_> = std::fs::read_dir(house.path("work/p"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("waiting") || name.contains("attempt"))
        .collect();
    assert_eq!(left, [""; 0], "nothing is left to continue");
}

/// The processes that a line with this mark in it has started.
#[cfg(target_os = "linux")]
fn running(mark: &str) -> usize {
    let lines = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines.filter(|line| line.contains(mark)).count()
}

/// Every signal reaches all that a step has started, and so does the death of lora-run.
#[cfg(target_os = "linux")]
#[test]
fn what_a_step_has_started_ends_with_the_run() {
    for (signal, code) in [
        ("-INT", Some(130)),
        ("-TERM", Some(130)),
        ("-HUP", Some(130)),
        ("-KILL", None),
    ] {
        // Under nohup a run goes on, as it should.
        if signal == "-HUP" && lora_testkit::ignores_hangups() {
            continue;
        }
        let mark = format!(
            "{}",
            60_000_000 + std::process::id() * 10 + signal.len() as u32
        );
        let house = House::new(&format!(
            "version: 1\nsteps:\n  a: {{ run: 'sleep {mark} & echo ready; sleep {mark}; true' }}\n"
        ));
        let (mut child, _stderr) = sleeping(&house);
        let told = std::time::Instant::now();
        std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        while running(&mark) > 0 {
            assert!(told.elapsed().as_secs() < 10, "{signal}: a child is left");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if signal == "-KILL" {
            let said = house.run(&["p.yaml", "--dry-run"]);
            assert_eq!(said.code, Some(0), "{said:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_step_that_outlives_a_killed_run_keeps_others_out() {
    // It hears of nothing, so it is not ended before some time has passed.
    let house = House::new(
        "version: 1\nsteps:\n  a: { run: 'trap \"\" INT TERM HUP; echo ready; sleep 3' }\n",
    );
    let (mut child, _stderr) = sleeping(&house);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(house.refused(&[]).contains("another lora-run is running p"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while house.run(&["p.yaml", "--dry-run"]).code != Some(0)
        || house.run(&["p.yaml"]).code != Some(0)
    {
        assert!(std::time::Instant::now() < until, "it is never let in");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

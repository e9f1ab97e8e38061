//! What was finished is not done again, whatever became of lora-run, its notes and its receipts.
use crate::House;

const STEPS: &str = "version: 1\nparams: { lr: 1 }\nsteps:\n\
    \x20 a: { run: 'echo a > $OUT/made' }\n\
    \x20 b: { use: lora-fake, in: { base: $a/made }, with: { lr: $lr } }\n";

/// Runs when the step of a killed lora-run is at its end.
#[cfg(unix)]
fn after_its_end(house: &House, args: &[&str]) -> crate::Said {
    for _ in 0..200 {
        let said = house.run(args);
        if !said.stderr.contains("another lora-run is running") {
            return said;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the step does not end");
}

#[cfg(unix)]
#[test]
fn a_step_that_finished_under_a_killed_run_is_taken_over_by_its_receipt() {
    let house = House::new(STEPS);
    assert_eq!(house.run(&["p.yaml", "--set", "lr=99"]).code, None);
    assert!(!house.path("work/p/b.step.json").exists());
    let said = after_its_end(&house, &["p.yaml", "--set", "lr=99"]);
    assert!(
        said.stderr
            .contains("b: finished after its run was killed\nb: skipped"),
        "{said:?}"
    );
    // With other values it is another step.
    let house = House::new(STEPS);
    assert_eq!(house.run(&["p.yaml", "--set", "lr=99"]).code, None);
    let said = after_its_end(&house, &["p.yaml"]);
    assert!(
        said.stderr
            .contains("b: running (no record of how the output was made)"),
        "{said:?}"
    );
}

#[test]
fn a_receipt_that_is_damaged_or_gone_heals_and_so_does_its_output() {
    let house = House::new(STEPS);
    house.steps(&[]);
    let receipts = ["work/p/a/receipt.json", "work/p/b/receipt.json"];
    let whole = receipts.map(|path| house.read(path));
    for damage in ["", "{\"version\": 2, \"tool\"", "\0\0\0\0"] {
        for path in receipts {
            house.write(path, damage);
        }
        assert_eq!(house.steps(&[]), ["a: skipped", "b: skipped"], "{damage:?}");
        assert_eq!(receipts.map(|path| house.read(path)), whole);
    }
    for path in receipts {
        std::fs::remove_file(house.path(path)).unwrap();
    }
    assert_eq!(house.steps(&[]), ["a: skipped", "b: skipped"]);
    // Both damaged: made again, and what is not ours is kept.
    house.write("work/p/a/receipt.json", "");
    house.write("work/p/a/made", "forged");
    house.write("work/p/a/note", "mine");
    assert_eq!(
        house.steps(&[]),
        [
            "a: running (output modified (its receipt, too))",
            "b: skipped"
        ]
    );
    assert_eq!(house.read("work/p/a/made"), "a\n");
    assert_eq!(house.read("work/p/a.kept/note"), "mine");
}

#[test]
fn notes_that_are_damaged_are_made_again() {
    let house = House::new(STEPS);
    house.steps(&[]);
    for note in ["b.step.json", ".pipeline", "b.log", "b.attempt"] {
        for damage in ["", "\0\0", "{\"key\": 1}"] {
            house.write(&format!("work/p/{note}"), damage);
            let steps = house.steps(&[]);
            assert_eq!(steps[0], "a: skipped", "{note}");
            assert!(steps[1].starts_with("b: "), "{note}");
        }
    }
}

#[test]
fn the_logs_of_attempts_that_were_continued_are_kept() {
    let house = House::new(STEPS);
    assert_eq!(house.run(&["p.yaml", "--set", "lr=13"]).code, Some(130));
    house.steps(&["--set", "lr=13"]);
    assert!(house.read("work/p/b.log").contains("picked up half"));
    assert!(house.path("work/p/b.log.1").exists());
    house.steps(&["--force", "b"]);
    assert!(!house.path("work/p/b.log.1").exists());
}

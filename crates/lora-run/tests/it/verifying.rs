//! `verify` and `--check`: an output and all that it came from, hashed again.
use crate::House;

const STEPS: &str = "version: 1\nsteps:\n\
    \x20 a: { run: 'cp \"$IN_RAW\" \"$OUT/made\"', in: { raw: raw.txt } }\n\
    \x20 b: { run: 'cat \"$IN_A/made\" > \"$OUT/made\"', in: { a: $a } }\n";

/// What each row says: path and state.
fn rows(stdout: &str) -> Vec<String> {
    stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["event"] == "verified")
        .map(|event| {
            let found = &event["found"];
            format!(
                "{} {}",
                found["path"].as_str().unwrap(),
                found["state"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn everything_that_an_output_came_from_is_looked_at() {
    let house = House::new(STEPS);
    house.steps(&[]);
    let intact = ["work/p/b intact", "work/p/a intact", "raw.txt intact"];
    for args in [&["verify", "work/p/b"][..], &["verify", "work/p/b/made"]] {
        let said = house.run(args);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(rows(&said.stdout)[1..], intact[1..]);
    }
    let said = house.run(&["p.yaml", "--check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        rows(&said.stdout),
        ["work/p/a intact", "raw.txt intact", "work/p/b intact"]
    );
}

#[test]
fn what_is_not_as_it_was_is_named_and_the_answer_is_no() {
    type Harm = fn(&House);
    let harms: [(&str, Harm, &str); 5] = [
        (
            "output",
            |h| h.write("work/p/b/made", "rAw\n"),
            "work/p/b changed",
        ),
        (
            "input's file",
            |h| h.write("work/p/a/made", "rAw\n"),
            "work/p/a changed",
        ),
        (
            "raw file",
            |h| h.write("raw.txt", "rAw\n"),
            "raw.txt changed",
        ),
        (
            "raw file gone",
            |h| std::fs::remove_file(h.path("raw.txt")).unwrap(),
            "raw.txt gone",
        ),
        (
            "input's folder gone",
            |h| std::fs::remove_dir_all(h.path("work/p/a")).unwrap(),
            "work/p/a gone",
        ),
    ];
    for (name, harm, row) in harms {
        let house = House::new(STEPS);
        house.steps(&[]);
        harm(&house);
        for args in [&["verify", "work/p/b"][..], &["p.yaml", "--check"]] {
            let said = house.run(args);
            assert_eq!(said.code, Some(1), "{name}: {said:?}");
            assert!(
                rows(&said.stdout).iter().any(|found| found == row),
                "{name}: {said:?}"
            );
            assert!(said.stderr.starts_with("no: 1 of "), "{name}: {said:?}");
            assert!(
                said.stderr.contains(" is not as it was: "),
                "{name}: {said:?}"
            );
        }
    }
}

#[test]
fn an_input_that_was_made_again_is_told_from_a_damaged_one() {
    let house = House::new(STEPS);
    house.steps(&[]);
    std::fs::rename(house.path("work/p/b"), house.path("b")).unwrap();
    std::fs::remove_file(house.path("work/p/b.step.json")).unwrap();
    house.write("raw.txt", "other\n");
    house.steps(&[]);
    let said = house.run(&["verify", "b"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(
        rows(&said.stdout),
        ["b intact", "work/p/a made-again", "raw.txt intact"]
    );
}

#[test]
fn what_has_no_receipt_is_an_error() {
    let house = House::new(STEPS);
    for path in ["raw.txt", "nowhere"] {
        let said = house.run(&["verify", path]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains("has no receipt"), "{said:?}");
    }
}

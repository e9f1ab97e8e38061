//! A step runs only if something that it depends on has changed, and says what.
use crate::House;

const CHAIN: &str = "\
version: 1
params: { lr: 2e-4, base: raw.txt }
steps:
  prep:  { run: 'cat $IN_RAW > $OUT/made', in: { raw: $base } }
  train: { use: lora-fake, in: { base: $prep }, with: { lr: $lr, targets: [q, v] } }
  eval:  { use: lora-fake, in: { base: $train }, with: { split: valid } }
  merge: { use: lora-fake, in: { base: $train/made }, needs: [eval] }
  other: { run: 'date > $OUT/made' }
";

#[test]
fn a_second_run_skips_every_step() {
    let house = House::new(CHAIN);
    let first = house.steps(&[]);
    assert_eq!(
        first,
        ["prep", "train", "eval", "merge", "other"].map(|s| format!("{s}: running (first run)"))
    );
    assert_eq!(house.read("work/p/merge/made"), "raw\nlr=2e-4\nlr=\n");
    let lock = house.read("p.lock");
    let second = house.steps(&[]);
    assert_eq!(
        second,
        ["prep", "train", "eval", "merge", "other"].map(|s| format!("{s}: skipped"))
    );
    assert_eq!(house.read("p.lock"), lock);
}

#[test]
fn a_changed_flag_reruns_its_step_and_what_depends_on_it_and_nothing_else() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    let steps = house.steps(&["--set", "lr=1e-4"]);
    assert_eq!(
        steps,
        [
            "prep: skipped",
            "train: running (with.lr: 2e-4 → 1e-4)",
            "eval: running (input base changed)",
            "merge: running (input base changed)",
            "other: skipped"
        ]
    );
}

#[test]
fn an_equal_output_stops_the_chain_of_reruns() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    house.write(
        "p.yaml",
        &CHAIN.replace("targets: [q, v]", "targets: [q, v, o]"),
    );
    let steps = house.steps(&[]);
    assert_eq!(steps[1], "train: running (with.targets: q,v → q,v,o)");
    assert_eq!(
        steps[2..],
        ["eval: skipped", "merge: skipped", "other: skipped"]
    );
}

#[test]
fn changed_data_a_new_shell_line_and_a_new_version_are_told_apart() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    house.write("raw.txt", "more\n");
    assert_eq!(
        house.steps(&[])[..2],
        [
            "prep: running (input raw changed)",
            "train: running (input base changed)"
        ]
    );
    house.write("p.yaml", &CHAIN.replace("cat $IN_RAW", "cat   $IN_RAW"));
    assert_eq!(
        house.steps(&[])[..2],
        ["prep: running (run line changed)", "train: skipped"]
    );
    let said = house
        .command(&["p.yaml"])
        .env("FAKE_VERSION", "0.2.0")
        .output()
        .unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert!(
        stderr.contains("train: running (tool version 0.1.0 → 0.2.0)"),
        "{stderr}"
    );
}

#[test]
fn an_output_that_was_touched_is_made_again() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    house.write("work/p/eval/made", "forged");
    assert_eq!(
        house.steps(&[])[2],
        "eval: running (output modified (made was modified))"
    );
    house.write("work/p/eval/note", "mine");
    assert_eq!(house.steps(&[])[2], "eval: skipped");
    assert_eq!(house.read("work/p/eval/note"), "mine");
    std::fs::remove_dir_all(house.path("work/p/eval")).unwrap();
    assert_eq!(house.steps(&[])[2], "eval: running (output is gone)");
    std::fs::remove_file(house.path("work/p/eval.step.json")).unwrap();
    assert_eq!(
        house.steps(&[])[2],
        "eval: running (no record of how the output was made)"
    );
}

#[test]
fn what_a_person_adds_to_an_output_is_kept_when_its_step_runs_again() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    for name in ["prep/.DS_Store", "other/note.txt"] {
        house.write(&format!("work/p/{name}"), "mine");
    }
    assert!(
        house
            .steps(&[])
            .iter()
            .all(|step| step.ends_with(": skipped"))
    );
    let said = house.run(&["p.yaml", "--force"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr
            .contains("held files that no lora tool wrote: they lie in work/p/other.kept now"),
        "{}",
        said.stderr
    );
    assert_eq!(house.read("work/p/other.kept/note.txt"), "mine");
    assert_eq!(house.read("work/p/prep.kept/.DS_Store"), "mine");
}

#[test]
fn an_input_that_the_step_would_replace_is_refused() {
    let house = House::new("version: 1\nsteps:\n  a: { run: 'true', in: { x: work } }\n");
    std::fs::create_dir_all(house.path("work/p/a")).unwrap();
    let refused = house.refused(&[]);
    assert!(
        refused.contains("p.yaml:3:27: steps.a.in.x: the output work/p/a lies in the input work"),
        "{refused}"
    );
}

#[test]
fn an_output_of_another_run_is_not_taken_for_this_one() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    let record = house.read("work/p/train.step.json");
    house.steps(&["--set", "lr=1"]);
    house.write("work/p/train.step.json", &record); // as if the second run had been killed before it took its note
    assert_eq!(
        house.steps(&[])[1],
        "train: running (output modified (another run wrote it))"
    );
}

#[test]
fn force_runs_one_step_or_all() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    let forced = house.steps(&["--force", "eval"]);
    assert_eq!(
        forced,
        [
            "prep: skipped",
            "train: skipped",
            "eval: running (--force)",
            "merge: skipped",
            "other: skipped"
        ]
    );
    assert!(
        house
            .steps(&["--force"])
            .iter()
            .all(|step| step.ends_with("running (--force)"))
    );
    let refused = house.refused(&["--force", "nope"]);
    assert_eq!(
        refused,
        "error: --force nope: there is no such step\nhint: the steps are prep, train, eval, merge, other\n"
    );
}

#[test]
fn a_file_named_under_with_is_read_like_one_under_in() {
    let house = House::new(
        "version: 1\nsteps:\n  a: { use: lora-fake, in: { base: raw.txt }, with: { template: t.jinja } }\n",
    );
    assert!(
        house
            .refused(&[])
            .contains("steps.a.with.template: t.jinja does not exist")
    );
    house.write("t.jinja", "one");
    house.steps(&[]);
    assert_eq!(house.steps(&[]), ["a: skipped"]);
    house.write("t.jinja", "two");
    assert_eq!(house.steps(&[]), ["a: running (input template changed)"]);
}

#[test]
fn a_list_is_not_a_text_with_commas() {
    let pipeline = |x: &str| {
        format!(
            "version: 1\nsteps:\n  a: {{ run: 'printf %s \"$WITH_X\" > $OUT/v', with: {{ x: {x} }} }}\n"
        )
    };
    let house = House::new(&pipeline("\"p,q\""));
    house.steps(&[]);
    house.write("p.yaml", &pipeline("[p, q]"));
    assert_eq!(house.steps(&[]), ["a: running (with.x: p,q → [p, q])"]);
    assert_eq!(house.read("work/p/a/v"), "p q");
}

#[test]
fn a_flag_without_effect_is_no_reason_to_run() {
    let pipeline = |speed: u8| {
        format!(
            "version: 1\nsteps:\n  a: {{ use: lora-fake, in: {{ base: raw.txt }}, with: {{ speed: {speed}, lr: 1 }} }}\n"
        )
    };
    let house = House::new(&pipeline(1));
    house.steps(&[]);
    house.write("p.yaml", &pipeline(2));
    assert_eq!(house.steps(&[]), ["a: skipped"]);
}

#[test]
fn data_that_is_called_like_a_receipt_is_data() {
    let house =
        House::new("version: 1\nsteps:\n  a: { run: 'ls $IN_X > $OUT/v', in: { x: tills } }\n");
    std::fs::create_dir(house.path("tills")).unwrap();
    house.write("tills/receipt.json", "{\"total\": 1}");
    house.steps(&[]);
    house.write("tills/receipt.json", "{\"total\": 2}");
    assert_eq!(house.steps(&[]), ["a: running (input x changed)"]);
}

#[test]
fn the_order_of_keys_and_the_spelling_of_numbers_do_not_matter() {
    let house = House::new(CHAIN);
    house.steps(&[]);
    house.write(
        "p.yaml",
        &CHAIN.replace(
            "with: { lr: $lr, targets: [q, v] }",
            "with: { targets: [q, v], lr: 0.0002 }",
        ),
    );
    assert!(
        house
            .steps(&[])
            .iter()
            .all(|step| step.ends_with(": skipped"))
    );
}

//! `--dry-run` prints what would run, to copy and paste, and touches nothing.
use crate::House;

const PIPELINE: &str = "\
version: 1
params: { lr: 2e-4 }
steps:
  a: { use: lora-fake, in: { raw: raw.txt, base: raw.txt }, with: { lr: $lr, targets: [q, v], must-pass: false } }
  b: { run: 'cat \"$IN_X/made\" > $OUT/made', in: { x: $a }, with: { some-note: it's } }
";

#[test]
fn the_command_lines_are_printed_with_reasons() {
    let house = House::new(PIPELINE);
    let said = house.run(&["p.yaml", "--dry-run"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!house.path("work").exists());
    let events: Vec<serde_json::Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let field = |name: &str| -> Vec<&str> {
        events
            .iter()
            .map(|event| event[name].as_str().unwrap())
            .collect()
    };
    assert_eq!(field("would"), ["run", "run"]);
    assert_eq!(field("reason"), ["first run", "after a"]);
    let argv = "raw.txt --base raw.txt --lr 2e-4 --targets q,v --out work/p/a --force --json";
    assert!(
        field("command")[0].ends_with(&format!("/lora-fake {argv}")),
        "{}",
        field("command")[0]
    );
    let shell = field("command")[1].replace(
        &house.path("").canonicalize().unwrap().display().to_string(),
        "HERE",
    );
    let shell = shell.replace(" -o pipefail", ""); // not every sh has it
    assert_eq!(
        shell,
        r#"mkdir -p work/p/b && IN_X=HERE/work/p/a WITH_SOME_NOTE='it'\''s' OUT=work/p/b sh -eu -c 'cat "$IN_X/made" > $OUT/made'"#
    );
}

#[test]
fn what_is_done_would_be_skipped() {
    let house = House::new(PIPELINE);
    house.steps(&[]);
    let said = house.run(&["p.yaml", "--dry-run", "--set", "lr=1"]);
    assert!(
        said.stdout
            .contains(r#""would":"run","reason":"with.lr: 2e-4 → 1""#),
        "{}",
        said.stdout
    );
    let said = house.run(&["p.yaml", "--dry-run"]);
    assert_eq!(said.stdout.matches(r#""would":"skip""#).count(), 2);
}

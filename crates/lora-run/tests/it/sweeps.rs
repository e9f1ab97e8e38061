//! `matrix:` multiplies the pipeline; what does not depend on it stays one step.
use crate::House;

const SWEEP: &str = "\
version: 1
params: { note: r$rank }
matrix: { lr: [1e-4, 2e-4], rank: [8, 16] }
steps:
  prep:  { run: 'cat $IN_RAW > $OUT/made', in: { raw: raw.txt } }
  a:     { use: lora-fake, in: { base: $prep }, with: { lr: $lr } }
  b:     { run: 'cat $IN_X/made > $OUT/made; echo $WITH_RANK $WITH_NOTE >> $OUT/made', in: { x: $a }, with: { rank: $rank, note: $note } }
";

#[test]
fn equal_steps_are_one() {
    let house = House::new(SWEEP);
    let steps: Vec<String> = house
        .steps(&[])
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        steps,
        [
            "prep",
            "a@lr=1e-4",
            "b@lr=1e-4,rank=8",
            "b@lr=1e-4,rank=16",
            "a@lr=2e-4",
            "b@lr=2e-4,rank=8",
            "b@lr=2e-4,rank=16"
        ]
    );
    assert_eq!(
        house.read("work/p/b@lr=2e-4,rank=16/made"),
        "raw\nlr=2e-4\n16 r16\n"
    );
}

#[test]
fn set_fixes_an_axis() {
    let house = House::new(SWEEP);
    let steps = house.steps(&["--set", "lr=3e-4", "--set", "rank=4"]);
    assert_eq!(
        steps,
        ["prep", "a", "b"].map(|s| format!("{s}: running (first run)"))
    );
    assert_eq!(house.read("work/p/b/made"), "raw\nlr=3e-4\n4 r4\n");
}

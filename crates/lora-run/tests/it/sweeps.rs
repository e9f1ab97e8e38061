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

#[test]
fn a_matrix_value_inside_a_path_counts_in_the_step_s_name() {
    let house = House::new(
        "version: 1\nmatrix: { f: [u, w] }\nsteps:\n  mk: { run: 'echo 1 > $OUT/u; echo 2 > $OUT/w' }\n  \
         s: { run: 'cat $IN_X > $OUT/v', in: { x: $mk/$f } }\n  \
         t: { run: 'cat $IN_X > $OUT/v', in: { x: $s/v } }\n",
    );
    let names: Vec<String> = house
        .steps(&[])
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["mk", "s@f=u", "t@f=u", "s@f=w", "t@f=w"]);
    assert_eq!(house.read("work/p/t@f=w/v"), "2\n");
}

#[test]
fn no_matrix_value_makes_a_step_stand_where_files_of_another_do() {
    let house = House::new(
        "version: 1\nmatrix: { a: [x, x.log, x.partial, x.step.json, x.attempt, y.log, y, x/, x_, X, x.kept-2, x.waiting-0123456789ab, x.log.1] }\n\
         steps:\n  s: { run: 'true', with: { a: $a } }\n",
    );
    for times in ["first run", "skipped"] {
        let steps = house.steps(&[]);
        assert_eq!(steps.len(), 13);
        assert!(steps.iter().all(|step| step.contains(times)), "{steps:?}");
    }
}

#[test]
fn a_name_that_no_file_system_takes_is_shortened() {
    let value = "v".repeat(300);
    let house = House::new(&format!(
        "version: 1\nmatrix: {{ a: [{value}1, {value}2] }}\nsteps:\n  s: {{ run: 'true', with: {{ a: $a }} }}\n"
    ));
    assert_eq!(house.steps(&[]).len(), 2);
    assert!(
        house
            .steps(&[])
            .iter()
            .all(|step| step.ends_with(": skipped"))
    );
}

#[test]
fn a_pipeline_s_name_must_be_one_of_a_folder() {
    let house = House::new("version: 1\nsteps:\n  s: { run: 'true' }\n");
    for name in ["...yaml", ".hidden.yaml"] {
        std::fs::copy(house.path("p.yaml"), house.path(name)).unwrap();
        let said = house.run(&[name]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.stderr.contains("can't name a folder of steps"),
            "{said:?}"
        );
    }
    let long = format!(
        "version: 1\nsteps:\n  {}: {{ run: 'true' }}\n",
        "s".repeat(300)
    );
    house.write("p.yaml", &long);
    assert!(house.refused(&[]).contains("the name is too long"));
}

#[test]
fn two_pipelines_of_one_name_do_not_share_a_folder() {
    let house = House::new("version: 1\nsteps:\n  s: { run: 'true' }\n");
    std::fs::create_dir(house.path("other")).unwrap();
    std::fs::copy(house.path("p.yaml"), house.path("other/p.yaml")).unwrap();
    house.steps(&[]);
    let said = house.run(&["other/p.yaml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr
            .contains("holds the steps of another pipeline of that name"),
        "{said:?}"
    );
    assert_eq!(house.run(&["other/p.yaml", "--work", "w2"]).code, Some(0));
    std::fs::remove_file(house.path("p.yaml")).unwrap();
    assert_eq!(house.run(&["other/p.yaml"]).code, Some(0));
}

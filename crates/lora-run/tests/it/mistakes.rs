//! Mistakes in a pipeline are told with their place, before anything runs.
use crate::House;

/// What is said of a pipeline with these lines under `steps:`, whose first line is line 4.
fn refused(steps: &str) -> String {
    let house = House::new(&format!(
        "version: 1\nparams: {{ lr: 1, list: [a, b] }}\nsteps:\n{steps}"
    ));
    let said = house.refused(&[]);
    assert!(!house.path("work").exists());
    said
}

#[test]
fn keys_that_do_not_exist() {
    assert_eq!(
        refused("  a: { use: lora-fake, wth: { lr: 1 } }\n"),
        "error: p.yaml:4:24: steps.a: unknown key `wth`\nhint: the keys here are `use`, `run`, `in`, `with`, `needs`\n"
    );
    assert_eq!(
        refused("  a: { use: lora-fake, in: { base: raw.txt }, with: { lrr: 1 } }\n"),
        "error: p.yaml:4:55: steps.a.with.lrr: lora-fake has no flag --lrr\nhint: did you mean `lr`?\n"
    );
    assert_eq!(
        refused("  a:\n    use: lora-fake\n    in:\n      bse: raw.txt\n"),
        "error: p.yaml:7:7: steps.a.in.bse: lora-fake has no flag --bse\nhint: did you mean `base`?\n"
    );
    assert_eq!(
        refused("  a: { use: lora-fake, in: { base: raw.txt }, with: { out: x } }\n"),
        "error: p.yaml:4:55: steps.a.with.out: --out is set by lora-run itself\nhint: leave it out: step S of pipeline P writes WORK/P/S\n"
    );
}

#[test]
fn names_that_stand_for_nothing() {
    assert_eq!(
        refused("  a: { run: x, in: { x: $lrr } }\n"),
        "error: p.yaml:4:22: steps.a.in.x: nothing is called `lrr`\nhint: did you mean `lr`?\n"
    );
    assert_eq!(
        refused("  a: { run: x, in: { x: $b } }\n  b: { run: x }\n"),
        "error: p.yaml:4:22: steps.a.in.x: `b` is a step further down\nhint: a step may refer only to steps above it\n"
    );
    assert_eq!(
        refused("  a: { run: x, needs: [a] }\n"),
        "error: p.yaml:4:16: steps.a.needs: `a` can't refer to itself\nhint: a step may refer only to steps above it\n"
    );
    assert_eq!(
        refused("  a: { run: x }\n  b: { run: x, with: { y: $a } }\n"),
        "error: p.yaml:5:24: steps.b.with.y: `$a` is a step, not a param\nhint: a step's output is given under `in`\n"
    );
}

#[test]
fn values_that_a_flag_does_not_take() {
    let with = |with: &str| {
        refused(&format!(
            "  a: {{ use: lora-fake, in: {{ base: raw.txt }}, with: {{ {with} }} }}\n"
        ))
    };
    assert_eq!(
        with("split: tset"),
        "error: p.yaml:4:55: steps.a.with.split: can't be `tset`\nhint: it is one of train, valid\n"
    );
    assert_eq!(
        with("lr: $list"),
        "error: p.yaml:4:55: steps.a.with.lr: --lr takes one value, not 2\nhint: a list of values for one run each goes under `matrix`\n"
    );
    assert_eq!(
        with("must-pass: 3"),
        "error: p.yaml:4:55: steps.a.with.must-pass: --must-pass of lora-fake is either true or false, not 3\nhint: write true or false, or leave it out\n"
    );
    assert_eq!(
        with("lr: "),
        "error: p.yaml:4:55: steps.a.with.lr: has no value\nhint: a value is a text, a number, true, false, or a list of these; `$$` is a plain `$`\n"
    );
}

#[test]
fn steps_that_can_not_be() {
    assert_eq!(
        refused("  a: { use: lora-nope }\n"),
        "error: p.yaml:4:8: steps.a.use: there is no tool `lora-nope`\n\
         hint: tools are looked up beside lora-run and on the PATH; `cargo build --release` builds them\n"
    );
    assert_eq!(
        refused("  a: { use: lora-fake }\n"),
        "error: p.yaml:4:3: steps.a: lora-fake needs `base`, which stands neither under `in` nor under `with`\nhint: lora-fake --help lists its flags\n"
    );
    assert_eq!(
        refused("  a: { use: x, run: y }\n"),
        "error: p.yaml:4:3: steps.a: a step has either `use` or `run`\nhint: `use: lora-prep` calls a tool, `run: 'sort …'` a shell line\n"
    );
    assert_eq!(
        refused("  a: { run: x, in: { raw: gone.txt } }\n"),
        "error: p.yaml:4:22: steps.a.in.raw: gone.txt does not exist\nhint: a path counts from the folder in which lora-run is started\n"
    );
    assert_eq!(
        refused("  a: { run: x }\n  a: { run: y }\n"),
        "error: p.yaml:5:3: steps: `a` stands here twice\nhint: a name stands once: rename or remove one of the two\n"
    );
}

#[test]
fn files_that_are_no_pipelines() {
    let house = House::new("version: 2\nsteps: { a: { run: x } }\n");
    assert_eq!(
        house.refused(&[]),
        "error: p.yaml:1:1: version: this lora-run reads version 1, not 2\n\
         hint: use the release of lora-tools that the pipeline was written for\n"
    );
    for text in [
        "",
        "\u{1}",
        "steps: [",
        "just text",
        "version: 1\nsteps: {}\n",
        "version: 1\n\u{0}",
    ] {
        house.write("p.yaml", text);
        assert!(
            house.refused(&[]).starts_with("error: p.yaml"),
            "{text:?}: {}",
            house.refused(&[])
        );
    }
    std::fs::remove_file(house.path("p.yaml")).unwrap();
    assert_eq!(
        house.refused(&[]),
        "error: failed to read the pipeline p.yaml\ncause: No such file or directory\nhint: check the path: it, or the folder that it should stand in, is not there\n"
    );
}

#[test]
fn a_matrix_of_more_runs_than_anyone_wants() {
    let axes: Vec<_> = (0..12)
        .map(|axis| format!("a{axis}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"))
        .collect();
    let house = House::new(&format!(
        "version: 1\nmatrix: {{ {} }}\nsteps: {{ a: {{ run: x }} }}\n",
        axes.join(", ")
    ));
    assert_eq!(
        house.refused(&[]),
        "error: p.yaml:2:1: matrix: has more than 10000 combinations\nhint: take values out, or split the pipeline\n"
    );
}

#[test]
fn set_of_what_is_no_param() {
    let house = House::new("version: 1\nparams: { lr: 1 }\nsteps: { a: { run: x } }\n");
    assert_eq!(
        house.refused(&["--set", "rl=2"]),
        "error: --set rl: p.yaml has no param `rl`\nhint: its params are lr\n"
    );
}

#[test]
fn one_param_is_set_once() {
    let house = House::new("version: 1\nparams: { lr: 1 }\nsteps: { a: { run: x } }\n");
    assert_eq!(
        house.refused(&["--set", "lr=2", "--set", "lr=3"]),
        "error: --set lr is given twice\nhint: one value counts for the whole run: leave the other out\n"
    );
}

#[test]
fn no_text_makes_it_panic() {
    use clap::Parser as _;
    let text = "version: 1\nparams: { lr: 2e-4, x: $lr }\nmatrix: { m: [1, 2] }\nsteps:\n  a: &a { run: x, with: { y: \"${x}$$\", z: [1, $m] } }\n  b: { run: y, in: { q: $a/f }, needs: [a] }\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let args = lora_run::Args::parse_from([
        "lora-run",
        file.to_str().unwrap(),
        "--dry-run",
        "--work",
        dir.path().to_str().unwrap(),
    ]);
    let run = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        lora_run::run(args.clone(), &lora_cli::Ui::silent()).is_ok()
    };
    assert!(run(text.as_bytes()));
    let mut survived = 0;
    for at in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        for byte in *b"\0:${[&*\xff" {
            bytes[at] = byte;
            survived += usize::from(run(&bytes));
        }
        run(&text.as_bytes()[..at]);
    }
    assert!(survived > 0);
}

#[test]
fn what_a_pipeline_can_be_made_to_cost_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let step =
        |x: &str| format!("version: 1\nsteps:\n  s: {{ run: 'true', with: {{ x: {x} }} }}\n");
    let mut bomb = "version: 1\nparams:\n  a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let one = format!("*a{}", i - 1);
        bomb += &format!("  a{i}: &a{i} [{}]\n", vec![one; 8].join(", "));
    }
    let refused = [
        (step(&nested(200_000)), "brackets are nested too deeply"),
        (step(&nested(900)), "recursion limit exceeded"),
        (
            bomb + "steps:\n  s: { run: 'true' }\n",
            "repetition limit exceeded",
        ),
    ];
    for (text, why) in refused {
        let began = std::time::Instant::now();
        let house = House::new(&text);
        let refused = house.refused(&[]);
        assert!(refused.contains(why), "{refused}");
        assert!(began.elapsed().as_secs() < 10);
    }
    let mut many = "version: 1\nsteps:\n  s0: { run: 'true' }\n".to_owned();
    for i in 1..20_000 {
        many += &format!("  s{i}: {{ run: 'true', needs: [s{}] }}\n", i - 1);
    }
    let house = House::new(&many);
    let began = std::time::Instant::now();
    assert_eq!(house.run(&["p.yaml", "--dry-run", "-q"]).code, Some(0));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

//! Advice in four situations, conflicts, budgets, and the pipelines that were written.
use crate::house::{House, base};
use clap::Parser;
use lora_cli::LoraArgs;
use lora_cli::Ui;
use lora_plan::Command as Planned;
use lora_plan::{
    Args, Card, DataFacts, Known, Plan, Rows, Shape, Situation, Speed, Strength, Task, advise,
    advise_on, run,
};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine of 100 GFLOP/s.
const SPEED: Speed = Speed {
    gemm_peak: 1e11,
    rate: 6e10,
    per_batch: 0.0,
    measured: false,
};

/// A described situation: so many rows of 200 tokens, half supervised.
fn situation(model: &str, rows: usize, task: Task, base_loss: Option<f64>) -> Situation {
    let shape = Shape::known(&Known::named(model).unwrap());
    let data = DataFacts {
        path: PathBuf::from("data"),
        rows,
        tokens: rows * 200,
        supervised: rows * 100,
        has_valid: true,
        has_prompts: true,
        own_template: Some(true),
        ..DataFacts::of_rows(Rows::alike(rows, 200, 0.5))
    };
    Situation {
        model: PathBuf::from(model),
        parameters: 1_000_000_000,
        data,
        task,
        strength: Strength::Normal,
        base_loss: base_loss.map(|loss| (loss, 0.5)),
        threads: 2,
        lora: LoraArgs::default(),
        shape,
    }
}

fn plan(situation: &Situation) -> Plan {
    advise(situation, None, None, &SPEED).unwrap()
}

#[test]
fn four_situations() {
    let format = plan(&situation("llama-3-8b", 3000, Task::Format, None));
    assert_eq!(
        (format.rank, format.targets, format.dropout),
        (8, "attention", 0.0)
    );
    let style = plan(&situation("llama-3-8b", 1000, Task::Style, None));
    assert_eq!(
        (style.rank, style.alpha, style.targets, style.dropout),
        (16, 16.0, "full-attention", 0.0)
    );
    let domain = plan(&situation("llama-3-8b", 10_000, Task::Domain, None));
    assert_eq!(
        (domain.rank, domain.targets, domain.epochs),
        (32, "all", 3.0)
    );
    let behaviour = plan(&situation("llama-3-8b", 10_000, Task::Behaviour, None));
    assert_eq!(
        (behaviour.rank, behaviour.alpha, behaviour.rslora),
        (64, 64.0, false)
    );
    for plan in [format, style, domain, behaviour] {
        assert!(plan.conflicts.is_empty() && plan.cost.fits, "{plan:?}");
        let set: Vec<&str> = plan.choices.iter().map(|choice| &choice.what[..]).collect();
        for what in [
            "rank", "alpha", "targets", "dropout", "lr", "epochs", "batch", "length", "base",
        ] {
            assert_eq!(
                set.iter().filter(|s| **s == what).count(),
                1,
                "{what} in {set:?}"
            );
        }
        assert!(
            plan.choices
                .iter()
                .all(|c| !c.reason.is_empty() && !c.source.is_empty()),
            "{plan:?}"
        );
    }
}

#[test]
fn conflicts_are_told_and_settled() {
    let few = plan(&situation("llama-3-8b", 200, Task::Behaviour, None));
    assert_eq!((few.rank, few.dropout), (8, 0.05));
    assert_eq!(few.conflicts.len(), 1, "{few:?}");
    assert!(
        few.conflicts[0].one.contains("rank 64") && few.conflicts[0].other.contains("200 rows"),
        "{few:?}"
    );
    let new = plan(&situation("llama-3-8b", 3000, Task::Format, Some(9.0)));
    assert_eq!(new.targets, "all");
    assert_eq!(new.conflicts.len(), 1, "{new:?}");
}

/// The rules of rank: what the task asks, what the rows allow, and where both agree.
#[test]
fn ranks() {
    use Task::{Behaviour, Domain, Format, Style};
    for (task, rows, rank, conflicts) in [
        (Format, 100, 8, 0),
        (Format, 20_000, 8, 0),
        (Style, 499, 8, 1),
        (Style, 500, 16, 0),
        (Domain, 499, 8, 1),
        (Domain, 500, 16, 0), // 16 to 32 is asked, 16 is safe: both rules hold
        (Domain, 2000, 16, 0),
        (Domain, 2001, 32, 0),
        (Behaviour, 2000, 16, 1),
        (Behaviour, 2001, 64, 0),
    ] {
        let found = plan(&situation("llama-3-8b", rows, task, None));
        assert_eq!(
            (found.rank, found.conflicts.len()),
            (rank, conflicts),
            "{task:?} {rows}: {found:?}"
        );
        assert_eq!(found.dropout > 0.0, rows < 500, "{task:?} {rows}");
    }
}

/// 64 or more: as much as the answers tell the base, at 2 bits a parameter; above 64 scaled by α/√r.
#[test]
fn a_rank_that_holds_the_answers() {
    let rank = |rows, loss| {
        let found = plan(&situation(
            "smollm2-135m",
            rows,
            Task::Behaviour,
            Some(loss),
        ));
        assert_eq!(found.rslora, found.rank > 64, "{found:?}");
        found.rank
    };
    // Rank 64 trains 19.5 M parameters, which hold 39 Mbit; a token of 2 nats tells 2.9 bits, a row has 100 of them.
    assert_eq!(
        [
            rank(10_000, 2.0),
            rank(130_000, 2.0),
            rank(140_000, 2.0),
            rank(400_000, 2.0)
        ],
        [64, 64, 128, 256]
    );
    assert_eq!(rank(140_000, 1.0), 64);
}

#[test]
fn alpha_follows_the_strength() {
    for (strength, alpha) in [
        (Strength::Gentle, 8.0),
        (Strength::Normal, 16.0),
        (Strength::Strong, 32.0),
    ] {
        let situation = Situation {
            strength,
            ..situation("llama-3-8b", 1000, Task::Style, None)
        };
        assert_eq!(plan(&situation).alpha, alpha);
    }
}

#[test]
fn budgets_are_kept_or_the_plan_says_no() {
    let situation = situation("llama-3-8b", 3000, Task::Domain, None);
    let free = plan(&situation);
    let most = free.cost.memory / 2;
    let small = advise(&situation, Some(most), None, &SPEED).unwrap();
    assert!(small.cost.fits && small.cost.memory <= most, "{small:?}");
    assert_eq!(small.batch * small.accumulation, free.batch);
    let short = advise(&situation, None, Some(free.cost.seconds / 2.0), &SPEED).unwrap();
    assert!(
        short.cost.fits && short.epochs < free.epochs && !short.conflicts.is_empty(),
        "{short:?}"
    );
    assert!(
        !advise(&situation, Some(1 << 20), None, &SPEED)
            .unwrap()
            .cost
            .fits
    );
}

/// The tools stand beside the folder of the tests.
fn tool(name: &str) -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join(name)
}

#[test]
fn a_name_has_no_weights_to_write_a_pipeline_for() {
    let house = House::new();
    let (data, path) = (house.tasks(20), house.text("x.yaml"));
    let words = [
        "lora-plan",
        "advise",
        "--model",
        "llama-3-8b",
        "--data",
        &data,
        "--task",
        "style",
    ];
    let plain = Args::try_parse_from(words).unwrap();
    run(plain, &Ui::silent()).unwrap_or_else(|e| panic!("{}", e.render(str::to_owned)));
    let args = Args::try_parse_from(words.iter().chain(&["--write", &path])).unwrap();
    let error = run(args, &Ui::silent()).unwrap_err().render(str::to_owned);
    assert!(
        error.contains("needs the weights of llama-3-8b") && error.contains("hint:"),
        "{error}"
    );
    assert!(!house.path("x.yaml").exists());
}

pub(crate) fn write(house: &House, data: &str, file: &str, flags: &[&str]) -> PathBuf {
    let (base, path) = (base(), house.path(file));
    let text = path.display().to_string();
    let words = [
        "lora-plan",
        "advise",
        "--model",
        &base,
        "--data",
        data,
        "--threads",
        "1",
        "--write",
        &text,
    ];
    let args = Args::try_parse_from(words.iter().chain(flags)).unwrap();
    run(args, &Ui::silent()).unwrap_or_else(|e| panic!("{}", e.render(str::to_owned)));
    path
}

pub(crate) fn lora_run(
    house: &House,
    pipeline: &PathBuf,
    flags: &[&str],
) -> Vec<serde_json::Value> {
    let mut command = Command::new(tool("lora-run"));
    command
        .arg(pipeline)
        .args(flags)
        .current_dir(house.path(""));
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("lora-run: {e}; cargo test --workspace builds it"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn written_pipelines_are_right() {
    let house = House::new();
    let data = house.tasks(120);
    for (task, strength) in [
        ("format", "gentle"),
        ("style", "normal"),
        ("domain", "strong"),
        ("behaviour", "normal"),
    ] {
        let file = format!("{task}.yaml");
        let pipeline = write(
            &house,
            &data,
            &file,
            &["--task", task, "--strength", strength],
        );
        let steps = lora_run(&house, &pipeline, &["--dry-run"]);
        let names: Vec<&str> = steps
            .iter()
            .map(|step| step["step"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["prep", "train", "eval", "merge", "export"],
            "{task}"
        );
    }
    let again = ["--task", "style", "--write", &house.text("style.yaml")].map(str::to_owned);
    let words = ["lora-plan", "advise", "--model", &base(), "--data", &data].map(str::to_owned);
    let args = Args::try_parse_from(words.iter().chain(&again)).unwrap();
    assert!(
        run(args, &Ui::silent())
            .unwrap_err()
            .render(str::to_owned)
            .contains("--force")
    );
}

/// A base that is too wide for the memory is stored in 8-bit blocks first, and all that follows stands on those.
#[test]
fn a_pipeline_on_a_smaller_base_runs_as_it_is() {
    let house = House::new();
    let data = house.tasks(120);
    let words = ["lora-plan", "memory", "--model", &base(), "--data", &data].map(str::to_owned);
    let Planned::Memory(args) = Args::try_parse_from(words).unwrap().command else {
        panic!("no memory")
    };
    let lengths = Rows::read(Path::new(&data)).unwrap();
    let shape = args.cost.workloads().unwrap().0;
    let facts = DataFacts {
        rows: 108,
        has_valid: true,
        ..DataFacts::of_rows(lengths)
    };
    let here = Situation {
        parameters: shape.total_parameters(),
        data: facts,
        shape,
        ..situation("llama-3-8b", 108, Task::Behaviour, None)
    };
    let own = plan(&here);
    let fits = |most: &u64| {
        let found = advise(&here, Some(*most), None, &SPEED).unwrap();
        found.quantise && found.cost.fits && found.targets == own.targets
    };
    let most = (1..1000)
        .map(|step| own.cost.memory - 50_000 * step)
        .find(fits)
        .unwrap();
    let flags = [
        "--task",
        "behaviour",
        "--memory",
        &most.to_string(),
        "--no-measure",
    ];
    let pipeline = write(&house, &data, "small.yaml", &flags);
    lora_run(&house, &pipeline, &[]);
    let work = house.path("work").join(pipeline.file_stem().unwrap());
    assert!(
        work.join("quantised/model.gguf").is_file() && work.join("export/model.gguf").is_file()
    );
}

#[test]
fn a_written_pipeline_runs_as_it_is() {
    let house = House::new();
    // Without its raw records the dataset itself is the input.
    let data = house.edited(150, |_, _| {});
    let pipeline = write(&house, &data, "mine.yaml", &["--task", "behaviour"]);
    lora_run(&house, &pipeline, &[]);
    assert!(house.path("work/mine/export/model.gguf").is_file());
    let report = std::fs::read_to_string(house.path("work/mine/eval/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["passed"], true);
}

#[test]
fn a_gpu_gets_the_base_and_batch_that_fit_it() {
    let situation = situation("llama-3-8b", 3000, Task::Domain, None);
    let on = |card: &str| {
        let card: Card = card.parse().unwrap();
        advise_on(&situation, card, None, None).unwrap()
    };
    let base = |plan: &Plan| {
        let base = plan.choices.iter().find(|choice| choice.what == "base");
        base.unwrap().value.clone()
    };
    let (large, small) = (on("h100"), on("cuda:10GB"));
    assert_eq!((&base(&large)[..], large.batch), ("bf16", 8));
    assert_eq!(base(&small), "q4_k");
    assert_eq!(small.batch * small.accumulation, large.batch);
    assert!(small.cost.fits && small.cost.memory <= 10_000_000_000);
    assert!(large.cost.seconds.is_finite() && small.cost.seconds.is_nan());
    assert!(!on("cuda:2GB").cost.fits);
    assert!(lora_plan::pipeline(&situation, &small).contains(", device: cuda"));
}

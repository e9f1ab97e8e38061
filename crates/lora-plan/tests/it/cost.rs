//! Predictions: against what then happens, against known figures, and against each other.
use crate::house::{House, base};
use lora_core::{LoraConfig, Targets};
use lora_plan::{
    BaseType, Card, Carried, Keep, Known, Memory, Rows, Shape, Speed, Workload, memory, on_card,
    time, time_on_card,
};
use lora_training::Batching;
use std::path::Path;
use std::process::Command;

fn shape(name: &str) -> Shape {
    Shape::known(&Known::named(name).unwrap())
}

fn work(shape: &Shape, rows: &Rows, rank: usize, batch: usize, base: BaseType) -> Workload {
    let modules = lora_model::spec::modules(&shape.config);
    let all = "all".parse::<Targets>().unwrap().resolve(&modules).unwrap();
    let carried = Carried::of(shape, LoraConfig::new(rank, 1.0, all)).unwrap();
    let batching = Batching::of_examples(batch);
    Workload::new(shape, &carried, "all", rows, batching, base)
}

/// The trainer as a process of its own, so that its peak is its own.
fn peak_of_training(flags: &[&str]) -> f64 {
    let here = std::env::current_exe().unwrap();
    let tool = here.parent().unwrap().parent().unwrap().join("lora-train");
    let output = Command::new(&tool)
        .args(flags)
        .args(["--quiet", "--json"])
        .output();
    let output = output
        .unwrap_or_else(|e| panic!("{}: {e}; cargo test --workspace builds it", tool.display()));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let receipt: serde_json::Value = serde_json::from_str(
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .last()
            .unwrap(),
    )
    .unwrap();
    receipt["peak_rss_bytes"].as_f64().unwrap()
}

/// Plans a run with `lora-plan memory` on its own flags.
fn predicted(data: &str, rank: &str, batch: &str, dropout: bool) -> Memory {
    use clap::Parser;
    let base = base();
    let mut words = vec![
        "lora-plan",
        "memory",
        "--model",
        &base,
        "--data",
        data,
        "--rank",
        rank,
        "--batch",
        batch,
    ];
    if dropout {
        words.push("--dropout");
    }
    let lora_plan::Command::Memory(args) = lora_plan::Args::parse_from(words).command else {
        panic!("no memory")
    };
    let (shape, workloads) = args.cost.workloads().unwrap();
    memory(&shape, &workloads[0])
}

#[test]
fn memory_is_what_then_happens() {
    let house = House::new();
    let (data, base) = (house.tasks(400), base());
    for (number, (rank, batch, dropout)) in
        [("16", "8", false), ("64", "64", false), ("8", "128", true)]
            .iter()
            .enumerate()
    {
        let out = house.text(&format!("run{number}"));
        let p = if *dropout { "0.1" } else { "0" };
        let flags = [
            "--base",
            &base,
            "--data",
            &data,
            "--rank",
            rank,
            "--batch",
            batch,
            "--dropout",
            p,
            "--out",
            &out,
        ];
        let found = peak_of_training(
            &[
                &flags[..],
                &["--epochs", "1", "--eval-every", "1000", "--lr", "5e-3"],
            ]
            .concat(),
        );
        let expected = predicted(&data, rank, batch, *dropout).total as f64;
        let off = expected / found - 1.0;
        assert!(
            off.abs() < 0.15,
            "rank {rank}, batch {batch}: {expected:.3e} predicted, {found:.3e} measured ({off:+.2})"
        );
    }
}

/// Operations a token as they are known for these models (r 16 on all seven, 1024 tokens in a row).
#[test]
fn operations_are_the_known_ones() {
    let speed = Speed {
        gemm_peak: 1.0,
        rate: 1.0,
        per_batch: 0.0,
        measured: false,
    };
    for (name, supervised, flops) in [
        ("smollm2-135m", 1.0, 691e6),
        ("smollm2-135m", 0.25, 606e6),
        ("llama-2-7b", 1.0, 27.6e9),
        ("llama-2-7b", 0.25, 27.2e9),
    ] {
        let shape = shape(name);
        let work = work(
            &shape,
            &Rows::alike(10, 1024, supervised),
            16,
            1,
            BaseType::Bf16,
        );
        let a_token = time(&shape, &work, &speed).epoch / work.tokens as f64;
        assert!(
            (a_token / flops - 1.0).abs() < 0.01,
            "{name} {supervised}: {a_token:.3e}, not {flops:.3e}"
        );
    }
}

#[test]
fn more_costs_more() {
    let rows = Rows::alike(64, 256, 0.5);
    for known in &Known::all() {
        let shape = Shape::known(known);
        let peak =
            |rank, batch, base| memory(&shape, &work(&shape, &rows, rank, batch, base)).total;
        let of_base: Vec<u64> = [
            BaseType::Q4_0,
            BaseType::Q8_0,
            BaseType::Bf16,
            BaseType::F32,
        ]
        .map(|b| peak(16, 4, b))
        .into();
        assert!(
            of_base.is_sorted() && peak(16, 4, BaseType::Q4_0) < peak(16, 8, BaseType::Q4_0),
            "{}",
            known.name
        );
        assert!(
            peak(8, 4, BaseType::Bf16) < peak(64, 4, BaseType::Bf16),
            "{}",
            known.name
        );
        let all = memory(&shape, &work(&shape, &rows, 16, 4, BaseType::Bf16));
        assert_eq!(
            all.total,
            all.base + all.activations + all.scratch + all.adapter + all.process
        );
        assert!(
            all.total < all.peft && all.total < all.full,
            "{}: {all:?}",
            known.name
        );
    }
}

/// Saved activations a token without recomputing, as counted by hand.
#[test]
fn activations_a_token_are_the_known_ones() {
    for (name, bytes) in [("smollm2-135m", 0.71e6), ("llama-2-7b", 6.0e6)] {
        let shape = shape(name);
        let work = work(&shape, &Rows::alike(4, 512, 0.5), 16, 1, BaseType::Q4_0);
        let a_token = memory(&shape, &work).activations as f64 / 512.0;
        assert!(
            (a_token / bytes - 1.0).abs() < 0.05,
            "{name}: {a_token:.3e}, not {bytes:.3e}"
        );
    }
}

#[test]
fn padding_is_what_the_peer_pays() {
    let house = House::new();
    let rows = Rows::read(Path::new(&house.tasks(100))).unwrap();
    let shape = shape("smollm2-135m");
    let work = work(&shape, &rows, 16, 8, BaseType::Bf16);
    assert!(
        work.padded.0 > work.tokens && work.most_tokens <= work.padded.1,
        "{work:?}"
    );
    assert_eq!(work.steps, work.rows.div_ceil(8));
    let speed = Speed {
        gemm_peak: 1e11,
        rate: 0.9e11,
        per_batch: 0.0,
        measured: false,
    };
    let found = time(&shape, &work, &speed);
    assert!(found.peft_epoch > found.epoch, "{found:?}");
}

/// Lines are named by what tells them apart; what all have in common stands in the title.
#[test]
fn memory_by_batch_as_svg() {
    use clap::Parser;
    let house = House::new();
    let file = house.text("memory.svg");
    let draw = |more: &[&str]| {
        let words = [
            "lora-plan",
            "memory",
            "--model",
            "smollm2-135m",
            "--batch",
            "1,2,4",
            "--svg",
            &file,
        ];
        let args = lora_plan::Args::parse_from(words.iter().chain(more));
        lora_plan::run(args, &lora_cli::Ui::silent())
            .unwrap_or_else(|e| panic!("{}", e.render(str::to_owned)));
        std::fs::read_to_string(&file).unwrap()
    };
    let svg = draw(&["--rank", "8,64", "--keep", "all,input"]);
    for words in [
        ">predicted peak memory: all, base bf16, 256 tokens<",
        ">r 8, keep all<",
        ">r 64, keep input<",
        ">PEFT (f32)<",
        ">full fine-tuning (f32)<",
    ] {
        assert_eq!(svg.matches(words).count(), 1, "{words}: {svg}");
    }
    assert_eq!(svg.matches("<polyline").count(), 6);
    let svg = draw(&[]);
    assert!(
        svg.contains(">lora-train<")
            && svg.contains(": all, r 16, base bf16, 256 tokens, keep all<"),
        "{svg}"
    );
}

/// What an H100 held and planned for one row of 2,048 supervised tokens, rank 16 on all seven modules; tokens a second there.
const ON_H100: [(&str, f64, f64, f64); 3] = [
    ("smollm2-135m", 0.999e9, 1.509e9, 83.9e3),
    ("llama-3.2-1b", 3.300e9, 3.256e9, 54.0e3),
    ("llama-3.1-8b", 17.021e9, 11.381e9, 13.0e3),
];

#[test]
fn on_a_gpu_it_is_what_was_measured() {
    let card: Card = "h100".parse().unwrap();
    for (name, held, step, speed) in ON_H100 {
        let shape = shape(name);
        let rows = Rows::alike(100, 2048, 1.0);
        let work = work(&shape, &rows, 16, 1, BaseType::Bf16);
        let found = on_card(&shape, &work, None, &card);
        let near = |found: u64, measured: f64| (found as f64 / measured - 1.0).abs() < 0.05;
        assert!(
            near(found.driver + found.weights, held),
            "{name}: {found:?}"
        );
        assert!(near(found.adapter + found.step, step), "{name}: {found:?}");
        assert!(found.fits && found.again == 0, "{name}: {found:?}");
        let time = time_on_card(&shape, &work, &found, card.rates.unwrap());
        let [slow, fast] = time.tokens_per_s;
        assert!(
            slow < 1.05 * speed && speed < fast && fast < 3.0 * slow,
            "{name}: {time:?}"
        );
    }
}

#[test]
fn on_a_smaller_gpu_layers_are_computed_again_and_smaller_bases_fit() {
    let shape = shape("llama-3.1-8b");
    let rows = Rows::alike(100, 2048, 1.0);
    let on = |base, card: &str, keep| {
        let work = work(&shape, &rows, 16, 1, base);
        let work = Workload { keep, ..work };
        on_card(&shape, &work, None, &card.parse().unwrap())
    };
    let (bf16, q4_k) = (BaseType::Bf16, BaseType::Q4K);
    assert!(!on(bf16, "cuda:12GB", Keep::All).fits);
    let small = on(q4_k, "cuda:12GB", Keep::All);
    assert!(small.fits && small.again > 0, "{small:?}");
    assert!(small.total <= 12_000_000_000, "{small:?}");
    let large = on(q4_k, "rtx-3090", Keep::All);
    assert!(large.fits && large.again == 0, "{large:?}");
    let lean = on(q4_k, "rtx-3090", Keep::Input);
    assert_eq!((lean.again, lean.layers), (31, 31));
    assert!(lean.total < small.total && lean.full > 100_000_000_000);
}

//! What trains beside plain factors is counted as a run counts it: lora-train and lora-plan are given the same flags.
use crate::advise;
use crate::house::{House, base, prep, root, train};
use clap::Parser as _;
use lora_core::Adapter;
use lora_gpu::{Gpu, OnCpu, Precision};
use lora_model::{Adding, Base, OnGpu, Opened, open_for};
use lora_plan::{Args, Card, Command, Memory, Shape, Workload, memory, on_card};
use std::path::Path;

/// Flags that both tools take.
const WAYS: [&[&str]; 9] = [
    &[],
    &["--modules-to-save", "embed_tokens,lm_head"],
    &["--modules-to-save", "norm,k_proj,down_proj"],
    &["--bias", "lora_only"],
    &["--lora-bias"],
    &["--dora", "--exclude", "gate_proj,up_proj"],
    &["--rank-pattern", "q_proj=4", "--layers", "1"],
    &["--init", "pissa"],
    &[
        "--init",
        "olora",
        "--dora",
        "--modules-to-save",
        "embed_tokens",
    ],
];

/// What `lora-plan memory` plans for.
fn planned(data: &str, flags: &[&str]) -> (Shape, Workload) {
    let base = base();
    let words = [
        "lora-plan",
        "memory",
        "--model",
        &base,
        "--data",
        data,
        "--batch",
        "4",
        "--rank",
        "8",
    ];
    let words = words.iter().chain(flags);
    let Command::Memory(args) = Args::parse_from(words).command else {
        panic!("no memory")
    };
    let (shape, mut all) = args.cost.workloads().unwrap();
    (shape, all.remove(0))
}

/// A run of one step with the same flags: the parameters that its receipt says, and its folder.
fn run(house: &House, data: &str, name: &str, flags: &[&str]) -> (u64, String) {
    let (base, out) = (base(), house.text(name));
    let words = [
        "--base", &base, "--data", data, "--batch", "4", "--rank", "8", "--steps", "1", "--out",
        &out,
    ];
    train(&[&words[..], flags].concat());
    let receipt = std::fs::read_to_string(Path::new(&out).join("receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    let count = receipt["results"]["trainable_parameters"].as_u64();
    (count.unwrap(), out)
}

/// A card with room for everything.
fn card() -> Card {
    "cuda:24GB".parse().unwrap()
}

/// What a run on a GPU that has this adapter would take, beside what a plan for one says.
fn check_on_card(base: &Base, adapter: &Adapter, (shape, work): &(Shape, Workload), what: &str) {
    let gpu = Gpu::new(OnCpu::new(Precision::Bf16), Precision::Bf16);
    let mut route = OnGpu::new(base, gpu, Some(adapter)).unwrap();
    let batch = work.largest[usize::from(work.dropout)];
    let fitted = route.fit(batch, adapter.params.len(), work.dropout, None);
    let fitted = fitted.unwrap();
    let found = on_card(shape, work, Some(base), &card());
    assert_eq!(found.again, fitted.recomputed_layers, "{what}");
    assert_eq!(found.adapter + found.step, fitted.step_bytes, "{what}");
}

#[test]
fn a_plan_counts_what_a_run_with_the_same_flags_trains() {
    let house = House::new();
    let data = house.tasks(24);
    let opened = Base::open(base().as_ref()).unwrap();
    let plain = planned(&data, &[]).1.trainable;
    for (number, flags) in WAYS.iter().enumerate() {
        let what = flags.join(" ");
        let planned = planned(&data, flags);
        let (trained, out) = run(&house, &data, &format!("run{number}"), flags);
        assert_eq!(planned.1.trainable, trained, "{what}");
        let is_plain = ["", "--bias lora_only", "--init pissa"].contains(&&what[..]); // it has no biases
        assert_eq!(planned.1.trainable == plain, is_plain, "{what}");
        let adapter = match what.contains("--init") {
            // It is written as another adapter, of twice the rank.
            true => Adapter::init(planned.1.carried.config.clone(), &opened, 0).unwrap(),
            false => Adapter::load(out.as_ref(), &opened).unwrap().0,
        };
        check_on_card(&opened, &adapter, &planned, &what);
    }
}

#[test]
fn rows_of_added_tokens_are_counted() {
    let house = House::new();
    let (raw, data) = (root("data/tasks.jsonl"), house.text("data"));
    let base = base();
    prep(&[
        &raw,
        "--base",
        &base,
        "--limit",
        "24",
        "--seed",
        "7",
        "--add-tokens",
        "<|call|>,<|result|>",
        "--out",
        &data,
    ]);
    for flags in [&[][..], &["--modules-to-save", "norm"]] {
        let what = flags.join(" ");
        let planned = planned(&data, flags);
        let (trained, out) = run(&house, &data, &format!("run{}", flags.len()), flags);
        assert_eq!(planned.1.trainable, trained, "{what}");
        assert!(!planned.1.carried.layout.rows.is_empty());
        let tokenizer = Path::new(&data).join("tokenizer");
        let adding = Adding {
            dataset: Some(&tokenizer),
            ..Adding::default()
        };
        let Opened { base, .. } = open_for(base.as_ref(), adding).unwrap();
        let adapter = Adapter::load(out.as_ref(), &base).unwrap().0;
        check_on_card(&base, &adapter, &planned, &what);
    }
}

/// What trains takes memory on the CPU, too: the parameters, their gradients and moments; of PiSSA and OLoRA also what they began
/// as.
#[test]
fn on_the_cpu_what_trains_takes_memory() {
    let house = House::new();
    let data = house.tasks(24);
    let of = |flags: &[&str]| -> (u64, Memory) {
        let (shape, work) = planned(&data, flags);
        (work.trainable, memory(&shape, &work))
    };
    let (few, plain) = of(&[]);
    let (many, saved) = of(&["--modules-to-save", "embed_tokens,lm_head"]);
    assert!(many > few);
    assert_eq!(saved.adapter * few, plain.adapter * many);
    let (count, pissa) = of(&["--init", "pissa"]);
    assert_eq!(count, few);
    assert_eq!(pissa.adapter, plain.adapter + 3 * 4 * few);
    let (_, below) = of(&["--layers", "1"]);
    let (_, all) = of(&["--layers", "1", "--modules-to-save", "embed_tokens"]);
    assert!(
        all.activations > below.activations,
        "every layer needs a gradient"
    );
}

/// What is asked of the adapter goes into the pipeline as it was said, and lora-train takes it.
#[test]
fn advice_keeps_what_is_asked_of_the_adapter() {
    let house = House::new();
    let data = house.tasks(24);
    let flags = [
        "--task",
        "format",
        "--no-measure",
        "--dora",
        "--modules-to-save",
        "norm,k_proj",
        "--rank-pattern",
        "q_proj=4",
        "--rank-pattern",
        "v_proj=2",
    ];
    let pipeline = advise::write(&house, &data, "mine.yaml", &flags);
    let text = std::fs::read_to_string(&pipeline).unwrap();
    let train = text.lines().find(|line| line.contains("rank-pattern"));
    let train = train.unwrap();
    for said in [
        "modules-to-save: \"norm,k_proj\"",
        "rank-pattern: [\"q_proj=4\", \"v_proj=2\"]",
        "dora: true",
    ] {
        assert!(train.contains(said), "{train}");
    }
    advise::lora_run(&house, &pipeline, &["--dry-run"]);
}

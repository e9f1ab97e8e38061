//! What the tools say when all goes well: plans, tables, receipts, a pipeline.
use crate::assert_snapshot;
use crate::session::Session;

#[test]
fn plans() {
    let mut session = Session::new();
    session.run("lora-plan params --model model --rank 16");
    session.run("lora-plan params --model model --rank 8 --targets q_proj,v_proj --json");
    session.run("lora-plan explain --model model --rank 16");
    assert_snapshot("plans", &session.transcript());
}

#[test]
fn the_whole_way() {
    let mut session = Session::new();
    let train = "lora-train --base model --data data --out adapter --rank 2 --steps 2 --batch 4 --threads 1 --seed 7";
    session.run("lora-prep rows.jsonl --base model --out data --valid 0.2 --seed 7");
    session.run(&format!("{train} --quiet"));
    session.run("lora-eval --base model --data data --adapter adapter --out report --generate 2 --max-new-tokens 4 --threads 1 --quiet");
    session.run("lora-merge --base model --adapter adapter --out merged --threads 1 --quiet");
    session.run("lora-export --model merged --format gguf --dtype q8_0 --out merged.gguf --quiet");
    session
        .run("lora-export --base model --adapter adapter --format gguf --out adapter.gguf --quiet");
    session.run(train);
    assert_snapshot("the-whole-way", &session.transcript());
}

#[test]
fn a_pipeline() {
    let mut session = Session::new();
    session.write(
        "small.yaml",
        "version: 1
params: { base: model, rank: 2 }
steps:
  prep: { use: lora-prep, in: { raw: rows.jsonl, base: $base }, with: { valid: 0.2, seed: 7 } }
  train: { use: lora-train, in: { base: $base, data: $prep }, with: { rank: $rank, steps: 2, threads: 1, seed: 7 } }
  merge: { use: lora-merge, in: { base: $base, adapter: $train } }
",
    );
    session.run("lora-run small.yaml --dry-run");
    session.run("lora-run small.yaml --dry-run --set rank=4 --json");
    assert_snapshot("a-pipeline", &session.transcript());
}

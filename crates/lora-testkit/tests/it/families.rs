//! Every tool does its work on every family with its default flags: what a user names is a model and some rows.
use crate::session::tool;
use lora_testkit::{FAMILIES, json, repository, stderr, write_family};
use std::path::Path;
use std::process::{Command, Output};

/// The whole way from rows to files that are served, and back from them. Only what makes it short is set: rows, steps.
const WAY: [&str; 17] = [
    "lora-prep rows.jsonl --base model --out data",
    "lora-prep show data",
    "lora-plan params --model model",
    "lora-plan memory --model model",
    "lora-plan memory --model model --data data --device cuda:24GB",
    "lora-plan advise --model model --data data --task format --no-measure",
    "lora-train --base model --data data --out adapter --steps 2",
    "lora-eval --base model --data data --adapter adapter --out report --generate 2 --max-new-tokens 4",
    "lora-merge --base model --adapter adapter --out merged",
    "lora-merge --to-adapter --base model --adapter adapter --out copied",
    "lora-merge --diff adapter copied",
    "lora-export --model merged --out merged.gguf",
    "lora-export --model merged --out served --modelfile",
    "lora-export --adapter adapter --base model --out adapter.gguf",
    "lora-export --adapter adapter --base model --format mlx --out mlx",
    "lora-eval --base merged.gguf --data data --out of-gguf",
    "lora-train --base merged.gguf --data data --out onto-gguf --steps 2",
];

/// Families whose adapters have no place in mlx-lm's format.
const NOT_FOR_MLX: [&str; 1] = ["falcon_h1"];

#[test]
fn every_tool_on_every_family_with_default_flags() {
    let rows = std::fs::read_to_string(repository("data/tasks.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(40).collect();
    std::thread::scope(|scope| {
        for (family, case) in FAMILIES {
            let rows = &rows;
            scope.spawn(move || the_whole_way(family, case, rows));
        }
    });
}

fn the_whole_way(family: &str, case: &str, rows: &str) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_family(case, &dir.join("model"));
    assert_eq!(json(&dir.join("model/config.json"))["model_type"], family);
    std::fs::write(dir.join("rows.jsonl"), rows).unwrap();
    for line in WAY {
        match line.contains("--format mlx") && NOT_FOR_MLX.contains(&family) {
            true => refused(dir, line, "no adapter of mlx-lm fits this base"),
            false => run(dir, family, line),
        }
    }
}

fn output(dir: &Path, line: &str) -> Output {
    let mut words = line.split_whitespace();
    Command::new(tool(words.next().unwrap()))
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn refused(dir: &Path, line: &str, named: &str) {
    let output = output(dir, line);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{line}: {said}");
    assert!(said.contains(named), "{said}");
}

fn run(dir: &Path, family: &str, line: &str) {
    let output = output(dir, line);
    assert!(
        output.status.success(),
        "{family}: {line}: {}",
        stderr(&output)
    );
}

/// Beside experts, too, whatever of them trains, and with the loss for their balance.
#[test]
fn a_plan_for_a_gpu_is_made_for_what_trains_there() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let model = dir.join("model");
    write_family("qwen3_moe_experts", &model);
    let line = "lora-plan memory --model model --device cuda:24GB";
    run(dir, "qwen3_moe", line);
    run(
        dir,
        "qwen3_moe",
        &format!("{line} --target-parameters experts,router"),
    );
    run(
        dir,
        "qwen3_moe",
        &format!("{line} --targets q_proj+embed_tokens+lm_head"),
    );
    let mut config = json(&model.join("config.json"));
    config["output_router_logits"] = true.into();
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    run(dir, "qwen3_moe", line);
}

//! What a tool reads is what its maker wrote: one flipped bit anywhere is refused, with the file's name.
use crate::session::tool;
use lora_testkit::{assert_code, piped, repository, stderr, tiny_chat};
use std::path::Path;
use std::process::{Command, Output};

/// What is made first.
const MADE: [&str; 5] = [
    "lora-prep rows.jsonl --base BASE --out data",
    "lora-train --base BASE --data data --out adapter --steps 2",
    "lora-merge --base BASE --adapter adapter --out merged",
    "lora-export --model merged --out merged.gguf",
    "lora-eval --base BASE --data data --adapter adapter --out report --generate 0",
];

/// A file, and what reads it.
const READERS: [(&str, &[&str]); 7] = [
    (
        "data/train.parquet",
        &[
            "lora-prep show data",
            "lora-train --base BASE --data data --out o --steps 2",
            "lora-train --base BASE --data data/train.parquet --out o --steps 2",
            "lora-plan memory --model BASE --data data",
            "lora-plan advise --model BASE --data data --task format --no-measure",
            "lora-export --model BASE --out o --verify data",
        ],
    ),
    (
        "data/valid.parquet",
        &[
            "lora-eval --base BASE --data data --out o",
            "lora-eval --base BASE --data data/valid.parquet --out o",
            "lora-eval --base BASE --data data/train.parquet --adapter adapter --guard data --out o",
        ],
    ),
    (
        "adapter/adapter_model.safetensors",
        &[
            "lora-train --base BASE --data data --adapter adapter --out o --steps 2",
            "lora-eval --base BASE --data data --adapter adapter --out o",
            "lora-merge --base BASE --adapter adapter --out o",
            "lora-merge --diff adapter adapter",
            "lora-export --adapter adapter --base BASE --out o",
            "lora-chat --base BASE --adapter adapter",
        ],
    ),
    (
        "adapter/adapter_config.json",
        &["lora-merge --base BASE --adapter adapter --out o"],
    ),
    (
        "adapter/receipt.json",
        &["lora-merge --base BASE --adapter adapter --out o"],
    ),
    (
        "merged/model.safetensors",
        &[
            "lora-prep rows.jsonl --base merged --out o",
            "lora-train --base merged --data data --out o --steps 2",
            "lora-eval --base merged --data data --out o",
            "lora-export --model merged --out o",
            "lora-plan params --model merged",
            "lora-chat --base merged",
        ],
    ),
    (
        "merged.gguf",
        &[
            "lora-eval --base merged.gguf --data data --out o",
            "lora-train --base merged.gguf --data data --out o --steps 2",
        ],
    ),
];

fn run(dir: &Path, line: &str) -> Output {
    let base = tiny_chat();
    let mut words = line.split_whitespace().map(|word| match word {
        "BASE" => base.as_os_str(),
        word => word.as_ref(),
    });
    let mut command = Command::new(tool(words.next().unwrap().to_str().unwrap()));
    piped(command.args(words).current_dir(dir), b"hello\n")
}

fn made(dir: &Path) {
    let rows = std::fs::read_to_string(repository("data/tasks.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(60).collect();
    std::fs::write(dir.join("rows.jsonl"), rows).unwrap();
    for line in MADE {
        assert_code(&run(dir, line), 0);
    }
}

#[test]
fn one_flipped_bit_is_refused_by_every_reader_and_allowed_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    made(dir);
    for (file, readers) in READERS {
        let path = dir.join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut harmed = whole.clone();
        match file.ends_with("receipt.json") {
            true => harmed.truncate(whole.len() / 2),
            false => harmed[whole.len() / 2] ^= 1,
        }
        std::fs::write(&path, harmed).unwrap();
        for line in readers {
            let refused = run(dir, line);
            assert_code(&refused, 2);
            let said = stderr(&refused);
            assert!(said.contains(file), "{line}: {said}");
            assert!(said.contains("\nhint: "), "{line}: {said}");
            assert!(!dir.join("o").exists(), "{line}");
        }
        std::fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_change_that_is_meant_is_read_and_notes_beside_it_are_nobody_s_matter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    made(dir);
    let card = dir.join("adapter/README.md");
    std::fs::write(card, "my notes").unwrap();
    let merge = "lora-merge --base BASE --adapter adapter --out o --force";
    assert_code(&run(dir, merge), 0);
    let config = dir.join("adapter/adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, text + "\n").unwrap();
    assert_code(&run(dir, merge), 2);
    assert_code(&run(dir, &format!("{merge} --allow-changed")), 0);
}

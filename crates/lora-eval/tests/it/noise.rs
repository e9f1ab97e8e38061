//! No metric of answers may certify noise: labels that have nothing to do with the prompts, empty answers, answers that
//! begin with special tokens or consist of them.
use crate::harness::{CASES, assert_code, base_with_tokenizer, case, dataset, eval, json, stderr};
use lora_checkpoint::Checkpoint;
use lora_core::Adapter;
use lora_data::{Example, IGNORE};
use lora_model::{Base, Fused, Generate as _};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Token that ends the rows.
const END: u32 = 2;

/// A base whose tokenizer knows these ids as special tokens, beside its end token.
fn base_with_specials(dir: &Path, specials: &[u32]) -> PathBuf {
    let base = base_with_tokenizer(dir, CASES[0]);
    let path = base.join("tokenizer.json");
    let mut tokenizer = json(&path);
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    for id in specials {
        let mut token = added[0].clone();
        token["id"] = json!(id);
        token["content"] = json!(format!("w{id}"));
        added.push(token);
    }
    std::fs::write(path, tokenizer.to_string()).unwrap();
    base
}

/// The adapter that is measured, and what it answers, `length` tokens a prompt.
fn answers(base: &Path, prompts: &[Vec<u32>], length: usize) -> Vec<Vec<u32>> {
    let base = Base::open(base).unwrap();
    let (adapter, _) = Adapter::load(&adapter(), &base).unwrap();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    Fused::new(&base, 1)
        .unwrap()
        .generate(Some(&adapter), &prompts, length, &[END])
        .unwrap()
}

fn adapter() -> PathBuf {
    case(CASES[0]).join("adapter_trained")
}

fn prompts() -> Vec<Vec<u32>> {
    (0..8)
        .map(|row| (0..4).map(|at| 10 + row * 7 + at).collect())
        .collect()
}

fn row(prompt: &[u32], completion: &[u32]) -> Example {
    let input_ids: Vec<u32> = prompt
        .iter()
        .chain(completion)
        .copied()
        .chain([END])
        .collect();
    let label = |(at, &id): (usize, &u32)| if at < prompt.len() { IGNORE } else { id as i32 };
    let labels = input_ids.iter().enumerate().map(label).collect();
    let prompt = format!("{prompt:?}");
    Example {
        labels,
        input_ids,
        id: String::new(),
        group: prompt.clone(),
        prompt,
        completion: format!("{completion:?}"),
    }
}

struct Measured {
    code: Option<i32>,
    said: String,
    matched: u64,
    lines: Vec<Value>,
}

/// Measures the adapter on rows with a gate that one exact answer in a hundred would pass.
fn measure(dir: &Path, base: &Path, rows: Vec<Example>) -> Measured {
    let sha256 = Checkpoint::open(base).unwrap().tokenizer().unwrap().sha256;
    let data = dataset(dir, rows, Some(&sha256));
    let adapter = adapter();
    let flags = [
        "--adapter",
        adapter.to_str().unwrap(),
        "--generate",
        "all",
        "--min-exact-match",
        "0.01",
    ];
    let output = eval(dir, base, &data, &flags);
    let out = dir.join("out");
    let text = std::fs::read_to_string(out.join("predictions.jsonl")).unwrap();
    Measured {
        code: output.status.code(),
        said: stderr(&output),
        matched: json(&out.join("report.json"))["models"][1]["exact_match"]["matched"]
            .as_u64()
            .unwrap(),
        lines: text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    }
}

#[test]
fn another_rows_answer_is_not_exact_though_both_begin_with_a_special_token() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let said = answers(&base, &prompts(), 5);
    let first: Vec<u32> = said.iter().map(|answer| answer[0]).collect();
    let base = base_with_specials(dir.path(), &first);
    let rows = prompts()
        .iter()
        .zip(&said)
        .map(|(prompt, answer)| row(prompt, &[&answer[..1], &[90, 91, 92, 93]].concat()))
        .collect();
    let noise = measure(dir.path(), &base, rows);
    assert_eq!((noise.code, noise.matched), (Some(1), 0), "{}", noise.said);
    for (line, answer) in noise.lines.iter().zip(&said) {
        let text = line["models"]["adapter_trained"]["text"].as_str().unwrap();
        assert!(
            text.starts_with(&format!("w{}", answer[0])),
            "special tokens are content: {text}"
        );
    }
}

#[test]
fn an_answer_of_special_tokens_is_exact_only_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let said = answers(&base, &prompts(), 3);
    let all: Vec<u32> = said.iter().flatten().copied().collect();
    let base = base_with_specials(dir.path(), &all);
    let rows = |completion: fn(&[u32]) -> Vec<u32>| -> Vec<Example> {
        let pairs = prompts().into_iter().zip(&said);
        pairs
            .map(|(prompt, answer)| row(&prompt, &completion(answer)))
            .collect()
    };
    let shorter = measure(dir.path(), &base, rows(|answer| answer[..2].to_vec()));
    assert_eq!(shorter.matched, 0, "{}", shorter.said);

    std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    let sha256 = Checkpoint::open(&base).unwrap().tokenizer().unwrap().sha256;
    let data = dataset(dir.path(), rows(<[u32]>::to_vec), Some(&sha256));
    let adapter = adapter();
    let flags = [
        "--adapter",
        adapter.to_str().unwrap(),
        "--max-new-tokens",
        "3",
    ];
    assert_code(&eval(dir.path(), &base, &data, &flags), 0);
    let report = json(&dir.path().join("out/report.json"));
    assert_eq!(report["models"][1]["exact_match"]["rate"], 1.0);
}

#[test]
fn a_gate_on_one_row_says_how_little_it_proves() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let prompt = &prompts()[..1];
    let said = answers(&base, prompt, 3);
    let first = base_with_specials(dir.path(), &said[0]);
    let sha256 = Checkpoint::open(&first)
        .unwrap()
        .tokenizer()
        .unwrap()
        .sha256;
    let data = dataset(dir.path(), vec![row(&prompt[0], &said[0])], Some(&sha256));
    let adapter = adapter();
    let flags = [
        "--adapter",
        adapter.to_str().unwrap(),
        "--max-new-tokens",
        "3",
        "--min-exact-match",
        "0.9",
    ];
    assert_code(&eval(dir.path(), &first, &data, &flags), 0);
    let gate = &json(&dir.path().join("out/report.json"))["gates"][0];
    let reason = gate["reason"].as_str().unwrap();
    assert!(
        reason.contains("95 % interval 2.5 to 100.0 %") && reason.contains("next to nothing"),
        "{reason}"
    );
}

#[test]
fn empty_expectations_are_never_met_and_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let first: Vec<u32> = answers(&base, &prompts(), 1).concat();
    // Whatever the model would say first ends its answer: every answer is empty, as every expectation is.
    let config = base.join("config.json");
    let mut value = json(&config);
    value["eos_token_id"] = json!([&[END], &first[..]].concat());
    std::fs::write(config, value.to_string()).unwrap();
    let rows = prompts().iter().map(|prompt| row(prompt, &[])).collect();
    let empty = measure(dir.path(), &base, rows);
    for line in &empty.lines {
        let text = &line["models"]["adapter_trained"]["text"];
        assert_eq!((text, &line["expected"]), (&json!(""), &json!("")));
    }
    assert_eq!((empty.code, empty.matched), (Some(1), 0), "{}", empty.said);
    assert!(
        empty.said.contains("8 of 8 rows expect an empty answer"),
        "{}",
        empty.said
    );
}

#[test]
fn the_answers_of_other_prompts_are_not_exact() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let said = answers(&base, &prompts(), 4);
    let others = said.iter().cycle().skip(1);
    let rows = prompts()
        .iter()
        .zip(others)
        .map(|(prompt, answer)| row(prompt, answer))
        .collect();
    let shuffled = measure(dir.path(), &base, rows);
    let equal = said
        .iter()
        .zip(said.iter().cycle().skip(1))
        .filter(|(a, b)| a == b)
        .count();
    assert_eq!(shuffled.matched as usize, equal);
    assert_eq!(equal, 0, "the model must tell its prompts apart");
    assert_eq!(shuffled.code, Some(1));
}

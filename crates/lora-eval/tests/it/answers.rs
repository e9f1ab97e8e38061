//! Greedy answers, and which of them are exact.
use crate::harness::{
    CASES, assert_code, base_with_tokenizer, case, dataset, eval, examples, json,
};
use lora_checkpoint::Checkpoint;
use lora_core::Adapter;
use lora_data::{Example, IGNORE};
use lora_model::{Base, Composite, Packed, Route};
use serde_json::Value;
use std::path::Path;

/// The argmax of the whole sequence's logits, again and again: greedy decoding without a cache, on the other route.
fn continue_slowly(
    base: &Base,
    adapter: Option<&Adapter>,
    prompt: &[u32],
    tokens: usize,
) -> Vec<u32> {
    let mut route = Composite::new(base).unwrap();
    let mut ids = prompt.to_vec();
    for _ in 0..tokens {
        let labels = vec![IGNORE; ids.len()];
        let logits = route
            .logits(
                adapter,
                &Packed::from_rows([(ids.as_slice(), labels.as_slice())]),
            )
            .unwrap();
        let last = &logits[logits.len() - logits.len() / ids.len()..];
        let best = (0..last.len())
            .max_by(|&a, &b| last[a].total_cmp(&last[b]))
            .unwrap() as u32;
        if best == 2 {
            break;
        }
        ids.push(best);
    }
    ids.split_off(prompt.len())
}

/// A row whose completion is what the model says, and its end token.
fn row(prompt: &[u32], completion: &[u32]) -> Example {
    let words = |ids: &[u32]| {
        ids.iter()
            .map(|id| format!("w{id}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let ids: Vec<u32> = prompt
        .iter()
        .chain(completion)
        .copied()
        .chain([2])
        .collect();
    let labels = ids
        .iter()
        .enumerate()
        .map(|(i, &id)| if i < prompt.len() { IGNORE } else { id as i32 });
    Example {
        labels: labels.collect(),
        input_ids: ids,
        id: String::new(),
        group: words(prompt),
        prompt: words(prompt),
        completion: words(completion) + " <end>",
    }
}

fn predictions(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("out/predictions.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn greedy_answers_are_the_other_routes_and_exact_ones_are_counted() {
    for name in CASES {
        let dir = tempfile::tempdir().unwrap();
        let base_path = base_with_tokenizer(dir.path(), name);
        let base = Base::open(&base_path).unwrap();
        let adapter_path = case(name).join("adapter_trained");
        let (adapter, _) = Adapter::load(&adapter_path, &base).unwrap();
        let prompts: Vec<Vec<u32>> = examples(name)
            .iter()
            .map(|row| row.input_ids[..4].to_vec())
            .collect();
        let answers: Vec<_> = prompts
            .iter()
            .map(|p| continue_slowly(&base, Some(&adapter), p, 6))
            .collect();
        let mut rows: Vec<_> = prompts
            .iter()
            .zip(&answers)
            .map(|(prompt, answer)| row(prompt, answer))
            .collect();
        rows.push(row(&prompts[0], &[5, 6]));

        let sha256 = Checkpoint::open(&base_path)
            .unwrap()
            .tokenizer()
            .unwrap()
            .sha256;
        let data = dataset(dir.path(), rows, Some(&sha256));
        let more = [
            "--adapter",
            adapter_path.to_str().unwrap(),
            "--max-new-tokens",
            "6",
        ];
        assert_code(&eval(dir.path(), &base_path, &data, &more), 0);

        let lines = predictions(dir.path());
        assert_eq!(lines.len(), 4);
        for (line, answer) in lines.iter().zip(&answers) {
            let ours = &line["models"]["adapter_trained"];
            assert_eq!(ours["ids"], Value::from(answer.clone()), "{name}");
            assert_eq!(ours["text"], line["expected"], "{name}");
            assert_eq!(ours["exact"], true, "{name}");
        }
        let report = json(&dir.path().join("out/report.json"));
        let exact = &report["models"][1]["exact_match"];
        assert_eq!(
            (exact["matched"].as_u64(), exact["rows"].as_u64()),
            (Some(3), Some(4)),
            "{report}"
        );
        assert_eq!(
            report["generation"]["prompts"], 3,
            "equal prompts are answered once"
        );
    }
}

#[test]
fn generate_limits_the_rows_that_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let data = dataset(
        dir.path(),
        vec![row(&[5, 6, 7], &[8, 9]), row(&[7, 6, 5], &[9, 8])],
        None,
    );
    assert_code(&eval(dir.path(), &base, &data, &["--generate", "1"]), 0);
    let lines = predictions(dir.path());
    assert!(
        lines[0]["models"]["base"]["text"].is_string()
            && lines[1]["models"]["base"]["text"].is_null()
    );
    assert!(
        lines[1]["models"]["base"]["nll"].as_f64().unwrap() > 0.0,
        "every row has its loss"
    );
}

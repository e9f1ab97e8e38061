//! Laws that hold for all inputs: orders, batches, files that are read as they were written.
use lora_data::{
    Example, Format, IGNORE, RawRows, Record, Split, batches, epoch_order, group_by_length,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Any text: letters, quotes, separators, line breaks, and characters of several bytes.
const TEXT: &str = "[a-c \",;\t\n\u{e9}\u{1f602}\u{2028}]{0,8}";

fn row() -> impl Strategy<Value = Example> {
    (vec(0u32..1000, 2..20), 0usize..19, TEXT, TEXT).prop_map(|(input_ids, prompt, text, id)| {
        let prompt = prompt.min(input_ids.len() - 1); // the last token is learned; the first never is
        let label = |(at, &id): (usize, &u32)| if at < prompt { IGNORE } else { id as i32 };
        Example {
            labels: input_ids.iter().enumerate().map(label).collect(),
            input_ids,
            group: format!("{id} of {text}"),
            id,
            prompt: text.clone(),
            completion: text,
        }
    })
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        TEXT.prop_map(Value::from),
        "user|assistant|system|tool|human|gpt".prop_map(Value::from),
    ];
    let key = "messages|conversations|role|content|from|value|prompt|completion|text|tools|weight|system|input|output";
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let object = vec((key, inner.clone()), 0..5)
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()));
        prop_oneof![vec(inner, 0..4).prop_map(Value::from), object]
    })
}

proptest! {
    #[test]
    fn an_epoch_has_every_row_once(rows in 0usize..300, seed: u64, epoch in 0u64..50) {
        let mut order = epoch_order(rows, seed, epoch);
        order.sort_unstable();
        prop_assert_eq!(order, (0..rows).collect::<Vec<_>>());
    }

    #[test]
    fn batches_keep_every_row_and_the_order_and_stay_in_their_bounds(
        lengths in vec(1usize..50, 0..60),
        most_rows in proptest::option::of(1usize..9),
        most_tokens in proptest::option::of(1usize..120),
        stretch in 1usize..20,
    ) {
        let mut order = epoch_order(lengths.len(), 3, 1);
        group_by_length(&mut order, &lengths, stretch);
        let batches = batches(&order, &lengths, most_rows, most_tokens);
        prop_assert_eq!(batches.concat(), order);
        for batch in batches {
            let tokens: usize = batch.iter().map(|&row| lengths[row]).sum();
            prop_assert!(batch.len() <= most_rows.unwrap_or(usize::MAX));
            prop_assert!(batch.len() == 1 || tokens <= most_tokens.unwrap_or(usize::MAX));
        }
    }

    #[test]
    fn any_json_is_a_record_or_a_fault(row in json()) {
        let _ = Record::from_json(&row);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))] // each writes a file

    #[test]
    fn a_split_is_read_as_it_was_written(examples in vec(row(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let split = Split {
            examples,
            tokenizer_sha256: Some("t".into()),
            template_sha256: None,
            chat: Some(lora_checkpoint::Chat::default()),
        };
        split.write(&folder.path().join("train.parquet")).unwrap();
        prop_assert_eq!(Split::read(folder.path(), "train").unwrap(), split);
    }

    #[test]
    fn a_table_is_read_as_it_was_written(rows in vec((TEXT, TEXT), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let lines = rows.iter().map(|(a, b)| format!("{},{}\n", cell(a), cell(b)));
        std::fs::write(&path, format!("a,b\n{}", lines.collect::<String>())).unwrap();
        let read: Vec<Value> = RawRows::open(&path, Format::default()).unwrap().map(|row| row.unwrap().value).collect();
        let written: Vec<Value> = rows
            .iter()
            .map(|(a, b)| serde_json::json!({"a": a, "b": b}))
            .collect();
        prop_assert_eq!(read, written);
    }
}

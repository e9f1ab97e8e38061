//! Rows are recognised by their keys.
use lora_data::{Content, Conversation, Fault, Record, Refusal};
use serde_json::{Value, json};

fn content(row: Value) -> Content {
    Record::from_json(&row).unwrap().content
}

fn conversation(row: Value) -> Conversation {
    match content(row) {
        Content::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

fn refused(row: Value) -> Refusal {
    match Record::from_json(&row) {
        Err(Fault::Refused(refusal)) => refusal,
        other => panic!("{row} gave {other:?}"),
    }
}

fn pair(system: Option<&str>, prompt: &str, completion: &str) -> Content {
    Content::Pair {
        system: system.map(str::to_owned),
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    }
}

#[test]
fn pairs_and_alpaca_rows() {
    assert_eq!(
        content(json!({"prompt": "p", "completion": "c", "extra": 1})),
        pair(None, "p", "c")
    );
    assert_eq!(
        content(json!({"instruction": "i", "input": "x", "output": "o"})),
        pair(None, "i\n\nx", "o")
    );
    for input in [json!(""), json!(" "), Value::Null] {
        assert_eq!(
            content(json!({"instruction": "i", "input": input, "output": "o"})),
            pair(None, "i", "o")
        );
    }
    assert_eq!(
        content(json!({"instruction": "i", "output": "o", "system": "s"})),
        pair(Some("s"), "i", "o")
    );
    assert_eq!(content(json!({"text": "t"})), Content::Text("t".into()));
    assert_eq!(
        content(json!({"text": "t", "prompt": "p", "completion": "c"})),
        pair(None, "p", "c")
    );
}

#[test]
fn chats_are_read_from_every_form() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let rows = json!({"messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d"), turn("user", "e")]});
    let chat = conversation(rows);
    assert_eq!(
        (chat.messages.len(), chat.completion, chat.tools),
        (5, None, None)
    );
    assert_eq!(chat.messages[3]["content"], "d");

    let share_gpt = json!({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]});
    let as_messages =
        json!({"messages": [turn("system", "s"), turn("user", "a"), turn("assistant", "b")]});
    assert_eq!(content(share_gpt), content(as_messages));

    let trl = json!({"prompt": [turn("user", "a")], "completion": [turn("assistant", "b")]});
    let trl = conversation(trl);
    assert_eq!(trl.completion, Some(1));
    assert_eq!(
        trl.messages,
        conversation(json!({"messages": [turn("user", "a"), turn("assistant", "b")]})).messages
    );
    let text = json!({"messages": serde_json::to_string(&[turn("user", "a"), turn("assistant", "b")]).unwrap()});
    assert_eq!(
        content(text),
        content(json!({"messages": [turn("user", "a"), turn("assistant", "b")]}))
    );
    let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, turn("assistant", "b")]});
    assert_eq!(
        content(parts),
        content(json!({"messages": [turn("user", "a"), turn("assistant", "b")]}))
    );
}

#[test]
fn rows_without_known_keys_name_those_they_have() {
    let shape = |row: Value| match Record::from_json(&row) {
        Err(Fault::Shape(mistake)) => {
            format!("{} ({})", mistake.message, mistake.hint.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    let named = shape(json!({"headline": 1, "body": 2}));
    assert!(named.starts_with(
        "the row lacks the needed keys; it has 'headline', 'body' (known are messages"
    ));
    assert!(
        named.contains("--columns prompt=KEY,completion=KEY"),
        "{named}"
    );
    assert!(shape(json!({})).starts_with("the row lacks the needed keys; it has none"));
    assert!(shape(json!({"prompt": "p"})).contains("'prompt'"));
    for row in [json!(1), json!([1]), json!("x"), Value::Null] {
        assert!(shape(row).starts_with("a row must be an object with keys, but this is"));
    }
}

#[test]
fn unusable_rows_are_refused_by_reason() {
    let user = json!({"role": "user", "content": "a"});
    let cases = [
        (
            json!({"prompt": 1, "completion": "c"}),
            Refusal::NotText("prompt"),
        ),
        (
            json!({"prompt": "p", "completion": null}),
            Refusal::NotText("completion"),
        ),
        (
            json!({"prompt": "p", "completion": " \n"}),
            Refusal::EmptyCompletion,
        ),
        (
            json!({"instruction": "p", "output": ""}),
            Refusal::EmptyCompletion,
        ),
        (json!({"text": ""}), Refusal::EmptyCompletion),
        (
            json!({"messages": "hello"}),
            Refusal::NotMessages("messages"),
        ),
        (json!({"messages": [1]}), Refusal::NotMessages("messages")),
        (json!({"messages": []}), Refusal::NoAssistant),
        (json!({"messages": [user]}), Refusal::NoAssistant),
        (
            json!({"messages": [{"role": "assistant", "content": "a"}]}),
            Refusal::EmptyPrompt,
        ),
        (
            json!({"messages": [user, {"role": "assistant", "content": ""}]}),
            Refusal::EmptyCompletion,
        ),
        (
            json!({"messages": [user, {"role": "bot", "content": "b"}]}),
            Refusal::UnknownRole("bot".into()),
        ),
        (
            json!({"messages": [user, {"role": "assistant", "content": 3}]}),
            Refusal::NotText("content"),
        ),
        (
            json!({"messages": [user, {"role": "assistant"}]}),
            Refusal::NotText("content"),
        ),
        (
            json!({"conversations": [{"from": "alien", "value": "b"}]}),
            Refusal::UnknownRole("alien".into()),
        ),
        (
            json!({"prompt": [user], "completion": [user]}),
            Refusal::NoAssistant,
        ),
    ];
    for (row, expected) in cases {
        assert_eq!(refused(row.clone()), expected, "{row}");
    }
}

#[test]
fn the_id_depends_on_the_record_and_not_on_its_spacing() {
    let id = |text: &str| {
        Record::from_json(&serde_json::from_str(text).unwrap())
            .unwrap()
            .id
    };
    assert_eq!(id(r#"{"text":"a"}"#), id(r#" { "text" : "a" } "#));
    assert_ne!(id(r#"{"text":"a"}"#), id(r#"{"text":"b"}"#));
    assert_eq!(id(r#"{"text":"a"}"#).len(), 16);
}

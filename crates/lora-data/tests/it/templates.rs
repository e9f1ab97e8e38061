//! Templates render as transformers renders them (fixtures by tests/oracle/make_template_fixtures.py).
use crate::Noise;
use lora_data::{ChatTemplate, Message};
use serde_json::{Value, json};
use std::path::Path;

fn fixtures() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/templates"
    ))
}

fn read_json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
}

fn messages(value: &Value) -> Vec<Message> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message.as_object().unwrap().clone())
        .collect()
}

#[test]
fn renderings_equal_those_of_transformers() {
    let (chats, expected) = (read_json("chats.json"), read_json("expected.json"));
    let mut checked = 0;
    for (key, expected) in expected.as_object().unwrap() {
        let parts: Vec<&str> = key.split('/').collect();
        let source =
            std::fs::read_to_string(fixtures().join(format!("{}.jinja", parts[0]))).unwrap();
        let template = ChatTemplate::new(&source, Some("<s>"), Some("</s>")).unwrap();
        let chat = &chats[parts[1].parse::<usize>().unwrap()];
        let made = template.render(
            &messages(&chat["messages"]),
            chat.get("tools"),
            parts[2] == "True",
        );
        match expected {
            Value::String(text) => assert_eq!(made.as_ref(), Ok(text), "{key}"),
            fault => assert!(
                made.unwrap_err()
                    .starts_with(fault["message"].as_str().unwrap()),
                "{key}"
            ),
        }
        checked += 1;
    }
    assert_eq!(checked, 40);
}

#[test]
fn a_wrong_template_says_where() {
    let error = ChatTemplate::new("fine\n{% if x %}", None, None).unwrap_err();
    assert!(error.contains("(chat template, line 2)"), "{error}");
    let template = ChatTemplate::new("\n{{ strftime_now('%d') }}", None, None).unwrap();
    let error = template.render(&[], None, false).unwrap_err();
    assert!(
        error.contains("strftime_now") && error.contains("line 2"),
        "{error}"
    );
}

#[test]
fn the_last_newline_of_a_source_is_no_part_of_it() {
    let sha256 = |source: &str| {
        ChatTemplate::new(source, None, None)
            .unwrap()
            .sha256()
            .to_owned()
    };
    assert_eq!(sha256("{{ 1 }}\n"), sha256("{{ 1 }}"));
    assert_ne!(sha256("{{ 1 }}\n\n"), sha256("{{ 1 }}"));
}

#[test]
fn hostile_sources_are_errors_and_never_panics() {
    let pieces = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " for x in messages ",
        " if ",
        "endif",
        " endfor ",
        "messages",
        "[",
        "]",
        "(",
        ")",
        "|",
        "tojson",
        "'",
        "generation",
        "endgeneration",
        "-",
        "ü",
        "\n",
        " set a = ",
        "1",
        ".x",
        "~",
        ",",
    ];
    let mut noise = Noise(5);
    let chat = messages(&json!([{"role": "user", "content": "a"}]));
    for _ in 0..3000 {
        let source: String = (0..noise.next() % 24)
            .map(|_| pieces[noise.next() as usize % pieces.len()])
            .collect();
        if let Ok(template) = ChatTemplate::new(&source, None, None) {
            let _ = template.render(&chat, None, true);
        }
    }
}

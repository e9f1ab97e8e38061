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
    assert_eq!(checked, 50);
}

#[test]
fn a_wrong_template_says_where() {
    let template = ChatTemplate::new("{{ tools.x | tojson }}", None, None).unwrap();
    let error = template.render(&[], Some(&json!({})), false).unwrap_err();
    assert!(error.contains("tojson of what is not there"), "{error}");
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

#[test]
fn hostile_templates_end_in_an_error_within_a_second() {
    let started = std::time::Instant::now();
    let grows = |how: &str| {
        format!(
            "{{% set ns = namespace(x='aaaa') %}}{{% for i in range(60) %}}{{% set ns.x = {how} %}}{{% endfor %}}{{{{ ns.x }}}}"
        )
    };
    let nests = |how: &str| {
        format!(
            "{{% set ns = namespace(x=none) %}}{{% for j in range(100) %}}{{% for i in range(10000) %}}{{% set ns.x = {how} %}}{{% endfor %}}{{% endfor %}}"
        )
    };
    let sources = [
        grows("ns.x ~ ns.x"),
        grows("ns.x + ns.x"),
        grows("[ns.x, ns.x]|join"),
        nests("[ns.x]"),
        nests("{'a': ns.x}"),
        nests("namespace(x=ns.x)"),
        r#"{{ "{:9999999999}".format("x") }}"#.to_owned(),
        r#"{{ "{:{}}".format("x", 1000000000) }}"#.to_owned(),
        "{{ '%1000000000d'|format(1) }}".to_owned(),
        "{{ '%.1000000000f'|format(1.5) }}".to_owned(),
        "{{ 'x' * 1000000000 }}".to_owned(),
        "{{ [1] * 1000000000 }}".to_owned(),
        "{{ \"a\nb\"|indent(4000000000) }}".to_owned(),
        "{% for i in range(1000000000000) %}{% endfor %}".to_owned(),
        "{{ range(1000000000000)|list }}".to_owned(),
        "{% for i in range(10000) %}{% for j in range(10000) %}{% for k in range(10000) %}{% endfor %}{% endfor %}{% endfor %}x".to_owned(),
        r#"{{ ("a"*100000).replace("a","b"*100000) }}"#.to_owned(),
        r#"{{ "a".ljust(9999999999) }}"#.to_owned(),
        r#"{{ "a".ljust(100000, "b" * 1000000) }}"#.to_owned(),
        r#"{{ "a".center(999999999999, "bc") }}"#.to_owned(),
        r#"{{ "a".center(999999999999, "b") }}"#.to_owned(),
        r#"{{ "1".zfill(999999999999) }}"#.to_owned(),
        format!("{{{{ {} 1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 'a'{} }}}}", "|string".repeat(200_000)),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{% include 'chat_template' %}".to_owned(),
        "{% extends 'chat_template' %}".to_owned(),
        "{% block a %}{{ self.a() }}{% endblock %}".to_owned(),
    ];
    for source in &sources {
        let made = ChatTemplate::new(source, None, None).and_then(|t| t.render(&[], None, false));
        let error = made.expect_err("must not be written");
        assert!(error.len() < 300, "{error}");
    }
    let seconds = started.elapsed().as_secs_f64();
    assert!(seconds < sources.len() as f64, "{seconds} s");
    // What is nested as deep as the limits let it be.
    for (open, close) in [
        ("not ", ""),
        ("-", ""),
        ("(", ")"),
        ("[", "]"),
        ("{'a':", "}"),
    ] {
        let times = 32_000 / (open.len() + close.len());
        let source = format!("{{{{ {}1{} }}}}", open.repeat(times), close.repeat(times));
        let _ = ChatTemplate::new(&source, None, None).map(|t| t.render(&[], None, false));
    }
}

/// What Python's Jinja2 and json write, checked by hand with transformers 5.
#[test]
fn python_ways() {
    let chat = messages(
        &json!([{"role": "user", "content": "a", "x": {"f": 1e-05, "g": 1e16, "h": 31.245270191439438, "i": [1.0, true, null]},
            "big": 12345678901234567890u64}]),
    );
    for (source, expected) in [
        (
            "{{ messages[0].x }}",
            "{'f': 1e-05, 'g': 1e+16, 'h': 31.245270191439438, 'i': [1.0, True, None]}",
        ),
        (
            "{{ messages[0].x | string }}",
            "{'f': 1e-05, 'g': 1e+16, 'h': 31.245270191439438, 'i': [1.0, True, None]}",
        ),
        (
            "{{ messages[0].x | tojson }}",
            "{\"f\": 1e-05, \"g\": 1e+16, \"h\": 31.245270191439438, \"i\": [1.0, true, null]}",
        ),
        (
            "{{ messages[0].big | tojson }}{{ messages[0].big }}",
            "1234567890123456789012345678901234567890",
        ),
        (
            "{{ messages[0].x.i | tojson(separators=(',', ':')) }}",
            "[1.0,true,null]",
        ),
        (
            "{{ {'b': 'é', 'a': []} | tojson(ensure_ascii=true, indent=2, sort_keys=true) }}",
            "{\n  \"a\": [],\n  \"b\": \"\\u00e9\"\n}",
        ),
        ("a\r\n{{ 1 }}\rb", "a\n1\nb"),
        ("{{ none is iterable }} {{ 'a' is iterable }}", "False True"),
        (
            "{{ '7'.zfill(3) }}{{ '-7'.zfill(3) }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}|{{ 'ab'.center(5, '*') }}",
            "007-07|a  |..a|**ab*",
        ),
        (
            "{{ 'a.b.c'.rsplit('.', 1) }}{{ 'a.b'.partition('.') | list }}{{ 'xay'.removeprefix('x').removesuffix('y') }}",
            "['a.b', 'c']['a', '.', 'b']a",
        ),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m }}{% endfor %}",
            "",
        ),
    ] {
        let template = ChatTemplate::new(source, None, None).unwrap();
        assert_eq!(
            template.render(&chat, None, false).as_deref(),
            Ok(expected),
            "{source}"
        );
    }
}

/// Templates that begin in all ways, with and without system messages of their own.
const SOURCES: [&str; 5] = [
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    "\n  {% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}",
    "  {%- for m in messages -%} {{ m['role'] }}: {{ m['content'] }}\n{%- endfor %}",
    "{% macro show(m) %}[{{ m.role }}|{{ m.content }}]{% endmacro %}{% for m in messages[0:] %}{{ show(m) }}{% endfor %}",
    "{% if think is defined and think is false %}quiet{% endif %} {% for m in messages %}{{ m.content }}{{ think | default('?') }}{% endfor %}",
];

#[test]
fn a_template_puts_system_messages_into_the_users_first_as_rows_are_written() {
    let of = |all: &[(&str, &str)]| {
        let all = all
            .iter()
            .map(|(role, content)| json!({"role": role, "content": content}));
        messages(&Value::Array(all.collect()))
    };
    let turns = [("user", "q"), ("assistant", "a"), ("user", "r")];
    let mut folded = turns;
    folded[0].1 = "s {{ x }}\n\nq";
    for source in SOURCES {
        let own = ChatTemplate::new(source, None, None).unwrap();
        let with = ChatTemplate::new(&lora_data::system_into_user(source), None, None).unwrap();
        let mut chat = vec![("system", "s {{ x }}")];
        chat.extend(turns);
        assert_eq!(
            with.render(&of(&chat), None, true),
            own.render(&of(&folded), None, true),
            "{source}"
        );
        assert_eq!(
            with.render(&of(&turns), None, false),
            own.render(&of(&turns), None, false),
            "{source}"
        );
    }
}

#[test]
fn a_template_has_what_all_rows_give_it() {
    let chat = messages(&json!([{"role": "user", "content": "q"}]));
    let arguments = json!({"think": false, "depth": 3, "name": "a b", "nothing": null});
    let arguments = arguments.as_object().unwrap();
    for source in SOURCES {
        let own = ChatTemplate::new(source, None, None).unwrap();
        let with = lora_data::with_defaults(source, arguments).unwrap();
        let with = ChatTemplate::new(&with, None, None).unwrap();
        assert_eq!(
            with.render(&chat, None, true),
            own.render_with(&chat, None, arguments, true),
            "{source}"
        );
        let other = json!({"think": "deep"});
        let other = other.as_object().unwrap();
        assert_eq!(
            with.render_with(&chat, None, other, true),
            own.render_with(&chat, None, other, true),
            "{source}"
        );
    }
    for unfit in [
        json!({"a": [1]}),
        json!({"a-b": 1}),
        json!({"a": "it's"}),
        json!({"none": 1}),
    ] {
        assert_eq!(
            lora_data::with_defaults("", unfit.as_object().unwrap()),
            None
        );
    }
}

#[test]
fn a_row_gives_its_template_arguments() {
    let template = ChatTemplate::new("{{ thinking }}{{ messages | length }}", None, None).unwrap();
    let given = |value: Value| template.render_with(&[], None, value.as_object().unwrap(), false);
    assert_eq!(given(json!({"thinking": "yes"})).unwrap(), "yes0");
    assert!(
        given(json!({"messages": []}))
            .unwrap_err()
            .contains("'messages' can't be given")
    );
}

#[test]
fn reasoning_is_found_under_the_name_that_a_template_reads() {
    for key in ["reasoning_content", "thinking", "reasoning"] {
        let chat = messages(&json!([{"role": "assistant", "content": "a", (key): "r"}]));
        for read in ["thinking", "reasoning_content"] {
            let source = format!("{{% for m in messages %}}{{{{ m.{read} }}}}{{% endfor %}}");
            let template = ChatTemplate::new(&source, None, None).unwrap();
            assert_eq!(template.render(&chat, None, false).unwrap(), "r", "{key}");
        }
    }
}

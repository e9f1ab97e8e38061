//! Every key of a row is read, refused by name, or named as not read: the layouts that people have.
use lora_data::{Content, Conversation, Fault, Reading, Record};
use serde_json::{Value, json};

fn record(row: &Value) -> Result<Record, String> {
    read(row, &Reading::default())
}

fn read(row: &Value, reading: &Reading) -> Result<Record, String> {
    Record::read(row, reading).map_err(|fault| match fault {
        Fault::Refused(refusal) => refusal.to_string(),
        Fault::Shape(mistake) => mistake.message,
    })
}

/// A chat as `role: text` lines; a call as its JSON.
fn lines(chat: &Conversation) -> Vec<String> {
    let line = |message: &serde_json::Map<String, Value>| {
        let text = message["content"].as_str().unwrap();
        let calls = message
            .get("tool_calls")
            .filter(|calls| **calls != json!([]));
        let calls = calls.map(Value::to_string).unwrap_or_default();
        format!("{}: {text}{calls}", message["role"].as_str().unwrap())
    };
    chat.messages.iter().map(line).collect()
}

fn chat(row: &Value) -> Conversation {
    match record(row)
        .unwrap_or_else(|fault| panic!("{row}: {fault}"))
        .content
    {
        Content::Chat(chat) => chat,
        other => panic!("{row}: {other:?}"),
    }
}

#[test]
fn chats_of_every_layout() {
    let ask = json!([{"from": "human", "value": "Peru?"}, {"from": "gpt", "value": "Lima"}]);
    let call = r#"{"name": "f", "arguments": "{\"x\": 1.5}"}"#;
    let called =
        r#"assistant: [{"type":"function","function":{"name":"f","arguments":{"x":1.5}}}]"#;
    let cases = [
        (
            json!({"system": "Brief.", "conversations": ask}),
            vec!["system: Brief.", "user: Peru?", "assistant: Lima"],
        ),
        (
            json!({"system_prompt": "Brief.", "conversation": ask}),
            vec!["system: Brief.", "user: Peru?", "assistant: Lima"],
        ),
        (
            json!({"system": "", "messages": ask}),
            vec!["user: Peru?", "assistant: Lima"],
        ),
        (
            json!({"messages": [{"role": "System", "content": "S"}, {"role": "prompter", "content": "a"}, {"role": "model", "content": "b"}]}),
            vec!["system: S", "user: a", "assistant: b"],
        ),
        (
            json!({"instruction": "Chile?", "input": "now", "output": "Santiago", "system": "Brief.", "history": [["Peru?", "Lima"]]}),
            vec![
                "system: Brief.",
                "user: Peru?",
                "assistant: Lima",
                "user: Chile?\n\nnow",
                "assistant: Santiago",
            ],
        ),
        (
            json!({"query": "Chile?", "response": "Santiago", "history": "[[\"Peru?\", \"Lima\"]]"}),
            vec![
                "user: Peru?",
                "assistant: Lima",
                "user: Chile?",
                "assistant: Santiago",
            ],
        ),
        (
            json!({"prompt": [{"role": "user", "content": "a"}], "completion": "b"}),
            vec!["user: a", "assistant: b"],
        ),
        (
            json!({"data": ["a", "b", "c", "d"]}),
            vec!["user: a", "assistant: b", "user: c", "assistant: d"],
        ),
        (
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": call},
                {"from": "observation", "value": "r"}, {"from": "gpt", "value": "a"}]}),
            vec!["user: q", &called, "tool: r", "assistant: a"],
        ),
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\": 1.5}"}},
                {"role": "function", "name": "f", "content": "r"}, {"role": "assistant", "content": "a", "tool_calls": null}]}),
            vec!["user: q", &called, "tool: r", "assistant: a"],
        ),
    ];
    for (row, expected) in cases {
        assert_eq!(lines(&chat(&row)), expected, "{row}");
        assert!(record(&row).unwrap().unused.is_empty(), "{row}");
    }
}

#[test]
fn pairs_of_every_layout_and_keys_that_are_not_read() {
    let cases = [
        (
            json!({"instruction": "i", "context": "c", "response": "r", "category": "qa"}),
            "i\n\nc",
            "r",
            vec!["category"],
        ),
        (
            json!({"instruction": "i", "context": "", "response": "r"}),
            "i",
            "r",
            vec![],
        ),
        (json!({"query": "q", "response": "r"}), "q", "r", vec![]),
        (
            json!({"question": "q", "answer": "r", "id": 3, "none": null}),
            "q",
            "r",
            vec!["id"],
        ),
        (json!({"prompt": "q", "response": "r"}), "q", "r", vec![]),
        (json!({"input": "q", "output": "r"}), "q", "r", vec![]),
        (
            json!({"prompt": "q", "completion": "r", "text": "q r", "label": true}),
            "q",
            "r",
            vec!["text"],
        ),
        (
            json!({"prompt": "q", "completion": "r", "label": 3}),
            "q",
            "r",
            vec!["label"],
        ),
    ];
    for (row, prompt, completion, unused) in cases {
        let record = record(&row).unwrap_or_else(|fault| panic!("{row}: {fault}"));
        let Content::Pair {
            prompt: own,
            completion: learned,
            ..
        } = record.content
        else {
            panic!("{row}");
        };
        assert_eq!(
            (own.as_str(), learned.as_str()),
            (prompt, completion),
            "{row}"
        );
        assert_eq!(record.unused, unused, "{row}");
    }
}

#[test]
fn what_means_something_else_is_refused_by_name() {
    let asked = json!({"role": "user", "content": "q"});
    let answer = |more: Value| {
        let mut message = json!({"role": "assistant", "content": "a"});
        message
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"messages": [asked, message]})
    };
    let cases = [
        (
            json!({"message_id": "1", "parent_id": null, "text": "q", "role": "prompter"}),
            "'message_id' is a message of a tree",
        ),
        (
            json!({"message_id": "2", "parent_id": "1", "text": "q", "role": "assistant"}),
            "'parent_id' is a message of a tree",
        ),
        (
            json!({"text": "q", "role": "user"}),
            "'role' is the key of another layout beside 'text'",
        ),
        (
            json!({"text": "q", "output": "a"}),
            "'output' is the key of another layout",
        ),
        (
            json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
            "'chosen' is a preference",
        ),
        (
            json!({"prompt": "q", "completion": "a", "label": false}),
            "'label' is false",
        ),
        (
            json!({"prompt": "q", "completion": "a", "label": "False"}),
            "'label' is false",
        ),
        (
            json!({"messages": [asked, {"role": "assistant", "content": "a"}], "label": false}),
            "'label' is false",
        ),
        (
            json!({"question": "q", "context": "c", "answer": "a"}),
            "'context' is part of what is asked",
        ),
        (
            json!({"question": "q", "choices": ["a", "b"], "answer": "a"}),
            "'choices' is part of what is asked",
        ),
        (
            json!({"prompt": "q", "input": "i", "completion": "a"}),
            "'input' is part of what is asked",
        ),
        (
            json!({"messages": [asked, {"role": "assistant", "content": "a"}], "images": ["x.png"]}),
            "'images' is an image",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            "part of type 'image_url'",
        ),
        (
            json!({"messages": [asked, {"role": "critic", "content": "a"}]}),
            "unknown role \"critic\"",
        ),
        (
            json!({"system": "A", "messages": [{"role": "system", "content": "B"}, asked]}),
            "'system' stands beside a system message",
        ),
        (
            answer(json!({"weight": 0.5})),
            "a message's 'weight' is 0.5",
        ),
        (
            answer(json!({"weight": 0, "train": true})),
            "a message's 'train' is another",
        ),
        (
            answer(json!({"tool_calls": [{"function": {"name": "f", "arguments": "x: 1"}}]})),
            "a call of a tool is not a name with arguments",
        ),
        (
            answer(
                json!({"tool_calls": [{"function": {"name": "f", "arguments": "{\"n\": 12345678901234567890123}"}}]}),
            ),
            "the number 12345678901234567890123 is beyond 64 bits",
        ),
        (
            json!({"tools": "[{", "messages": [asked]}),
            "'tools' is not the JSON text",
        ),
        (
            json!({"tools": {"name": "f"}, "messages": [asked]}),
            "'tools' is not a list of tools",
        ),
        (
            json!({"history": [["q"]], "query": "q", "response": "a"}),
            "'history' is not a list of messages",
        ),
    ];
    for (row, expected) in cases {
        let fault = record(&row).expect_err("must be refused");
        assert!(fault.contains(expected), "{row}: {fault}");
    }
    let semicolons = json!({"prompt;completion": "q;a"});
    let Err(Fault::Shape(mistake)) = Record::from_json(&semicolons) else {
        panic!();
    };
    assert!(mistake.hint.unwrap().contains("separated by \";\""));
}

#[test]
fn tools_and_marks_are_read() {
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0, "loss": null},
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "b", "train": true}]);
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    for tools in [
        json!([tool]),
        json!(json!([tool]).to_string()),
        json!([tool.to_string()]),
    ] {
        let chat =
            chat(&json!({"messages": messages, "tools": tools, "parallel_tool_calls": false}));
        assert_eq!(chat.tools, Some(json!([tool])));
        assert_eq!(chat.marks, [None, Some(false), None, Some(true)]);
        assert!(chat.messages.iter().all(|message| message.len() == 2));
    }
    let older = chat(&json!({"messages": messages, "functions": [tool["function"]]}));
    assert_eq!(older.tools, Some(json!([tool])));
    assert_eq!(
        chat(&json!({"messages": messages, "tools": []})).tools,
        None
    );
    let given = chat(
        &json!({"messages": messages, "chat_template_kwargs": "{\"enable_thinking\": false}"}),
    );
    assert_eq!(given.arguments["enable_thinking"], false);
}

#[test]
fn columns_of_other_names() {
    let reading = |columns: &[(&str, &str)], prompt: Option<&str>, ignored: &[&str]| Reading {
        columns: columns
            .iter()
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect(),
        prompt: prompt.map(|text| text.parse().unwrap()),
        ignored: ignored.iter().map(|key| key.to_string()).collect(),
    };
    let row = json!({"frage": "q", "antwort": "a", "text": "t", "n": 1});
    let made = read(
        &row,
        &reading(
            &[("prompt", "frage"), ("completion", "antwort")],
            None,
            &["text"],
        ),
    )
    .unwrap();
    let pair = |prompt: &str| Content::Pair {
        system: None,
        prompt: prompt.into(),
        completion: "a".into(),
    };
    assert_eq!(
        (made.content, made.unused),
        (pair("q"), vec!["n".to_owned()])
    );
    let made = read(
        &row,
        &reading(
            &[("completion", "antwort")],
            Some("{text}: {frage} {n}"),
            &[],
        ),
    )
    .unwrap();
    assert_eq!((made.content, made.unused), (pair("t: q 1"), vec![]));
    let fault = read(&row, &reading(&[("prompt", "fragen")], None, &[])).unwrap_err();
    assert!(
        fault.contains("no key 'fragen' of --columns; it has 'frage'"),
        "{fault}"
    );
    // A key that a flag names is read, or the row is refused: no other layout is taken in its place.
    let asked = json!({"question": "q", "answer": "a", "better": "b"});
    for columns in [[("completion", "better")], [("prompt", "better")]] {
        let fault = read(&asked, &reading(&columns, None, &[])).unwrap_err();
        assert!(
            fault.contains("would be read as question + answer"),
            "{fault}"
        );
    }
    let fault = read(&asked, &reading(&[], Some("say {question}"), &[])).unwrap_err();
    assert!(fault.contains("the row lacks the needed keys"), "{fault}");
    let both = [("prompt", "question"), ("completion", "better")];
    let made = read(&asked, &reading(&both, None, &[])).unwrap();
    assert!(matches!(made.content, Content::Pair { completion, .. } if completion == "b"));
    let chat = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "q": "Q", "a": "A"});
    let made = read(
        &chat,
        &reading(&[("prompt", "q"), ("completion", "a")], None, &[]),
    )
    .unwrap();
    assert!(matches!(made.content, Content::Pair { completion, .. } if completion == "A"));
    let reasoned = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning": "r"}]});
    let made = read(&reasoned, &reading(&[], None, &["reasoning"])).unwrap();
    let Content::Chat(chat) = made.content else {
        panic!()
    };
    assert!(!chat.messages[1].contains_key("reasoning"));
}

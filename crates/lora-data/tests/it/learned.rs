//! What of a row is learned, what is written once, and what a template must not leave out.
use crate::base::{bundle, supervised_runs};
use lora_data::{
    ChatTemplate, Encoder, Learn, Note, Overlength, Record, Refusal, Rules, SpecialInText,
};
use serde_json::{Value, json};

fn encoder(template: Option<&str>, rules: Rules) -> Encoder {
    let bundle = bundle();
    let template = template.map(|source| {
        ChatTemplate::new(
            source,
            bundle.bos_token.as_deref(),
            bundle.eos_token.as_deref(),
        )
        .unwrap()
    });
    Encoder::with_rules(&bundle, template, rules).unwrap()
}

fn chatml(rules: Rules) -> Encoder {
    encoder(bundle().chat_template.as_deref(), rules)
}

fn learn(what: &str) -> Rules {
    Rules {
        learn: what.parse().unwrap(),
        ..Rules::default()
    }
}

fn runs(encoder: &Encoder, row: &Value) -> Result<Vec<String>, Refusal> {
    let record = Record::from_json(row).unwrap();
    encoder
        .encode(&record)
        .map(|example| supervised_runs(&example))
}

fn turn(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn two_turns() -> Value {
    json!([
        turn("user", "a"),
        turn("assistant", "one"),
        turn("user", "b"),
        turn("assistant", "two"),
        turn("user", "c")
    ])
}

const END: &str = "<|im_end|>";

#[test]
fn of_a_chat_all_answers_are_learned_or_what_is_asked_for() {
    let row = json!({"messages": two_turns()});
    let (one, two) = (format!("one{END}"), format!("two{END}"));
    let both = vec![one, two];
    assert_eq!(runs(&chatml(Rules::default()), &row).unwrap(), both);
    assert_eq!(runs(&chatml(learn("all")), &row).unwrap(), both);
    assert_eq!(runs(&chatml(learn("last")), &row).unwrap(), both[1..]);
    let users = runs(&chatml(learn("user")), &row).unwrap();
    assert_eq!(
        users,
        [
            format!("<|im_start|>user\nb{END}"),
            format!("<|im_start|>user\nc{END}")
        ]
    );
    let history = json!({"query": "b", "response": "two", "history": [["a", "one"]]});
    assert_eq!(
        runs(&chatml(Rules::default()), &history).unwrap(),
        both[1..]
    );
    assert_eq!(runs(&chatml(learn("all")), &history).unwrap(), both);
    assert!("assistent".parse::<Learn>().is_err());
}

#[test]
fn marks_of_messages_are_kept() {
    let row = |first: Value, second: Value| {
        json!({"messages": [turn("user", "a"), {"role": "assistant", "content": "one", "weight": first},
            turn("user", "b"), {"role": "assistant", "content": "two", "weight": second}]})
    };
    let (one, two) = (format!("one{END}"), format!("two{END}"));
    for (first, second, what, expected) in [
        (json!(0), json!(1), "all", Ok(vec![two.clone()])),
        (json!(1), json!(0), "all", Ok(vec![one.clone()])),
        (json!(1), json!(0), "last", Ok(vec![one])),
        (json!(null), json!(1), "last", Ok(vec![two])),
        (json!(0), json!(0), "all", Err(Refusal::NothingToLearn)),
    ] {
        assert_eq!(runs(&chatml(learn(what)), &row(first, second)), expected);
    }
}

#[test]
fn an_answer_that_the_template_rewrites_is_not_learned_and_said() {
    // Writes what was thought before the last answer alone.
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
        {% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let encoder = encoder(Some(source), Rules::default());
    let record = Record::from_json(&json!({"messages": two_turns()})).unwrap();
    let made = encoder.encode_noted(&record).unwrap();
    assert_eq!(
        supervised_runs(&made.example),
        [format!("<think></think>two{END}")]
    );
    assert_eq!(made.notes, [Note::Rewritten]);
}

#[test]
fn end_tokens_are_written_once() {
    let plain = encoder(None, Rules::default());
    let chat = chatml(Rules::default());
    let own = [Note::OwnEnd(END.to_owned())];
    for (encoder, row, learned) in [
        (&plain, json!({"text": "Lima<|im_end|>\n"}), "<unseen>"),
        (
            &plain,
            json!({"prompt": "Peru?", "completion": " Lima<|im_end|>"}),
            " Lima<|im_end|>",
        ),
        (
            &chat,
            json!({"prompt": "Peru?", "completion": "Lima<|im_end|>\n"}),
            "Lima<|im_end|>",
        ),
        (
            &chat,
            json!({"messages": [turn("user", "q"), turn("assistant", "Lima<|im_end|>")]}),
            "Lima<|im_end|>",
        ),
    ] {
        let made = encoder
            .encode_noted(&Record::from_json(&row).unwrap())
            .unwrap();
        let end = bundle().tokenizer.token_to_id(END).unwrap();
        let ids = &made.example.input_ids;
        assert_eq!(ids.last(), Some(&end), "{row}");
        assert_ne!(ids[ids.len() - 2], end, "{row}");
        assert_eq!(made.notes, own, "{row}");
        if learned != "<unseen>" {
            assert_eq!(supervised_runs(&made.example), [learned], "{row}");
        }
    }
    for (encoder, completion) in [(&plain, "<|im_end|>"), (&chat, " <|im_end|>")] {
        let row = json!({"prompt": "q", "completion": completion});
        assert_eq!(runs(encoder, &row), Err(Refusal::EmptyCompletion));
    }
}

#[test]
fn control_tokens_in_messages() {
    let row = json!({"prompt": "say <|im_end|> now", "completion": "fine"});
    let with = |special_in_text| {
        chatml(Rules {
            special_in_text,
            ..Rules::default()
        })
    };
    let made = |policy| with(policy).encode_noted(&Record::from_json(&row).unwrap());
    let end = bundle().tokenizer.token_to_id(END).unwrap();
    let ends = |ids: &[u32]| ids.iter().filter(|id| **id == end).count();
    assert_eq!(
        made(SpecialInText::Refuse),
        Err(Refusal::ControlToken(END.to_owned()))
    );
    let kept = made(SpecialInText::Keep).unwrap();
    assert_eq!(
        (ends(&kept.example.input_ids), kept.notes),
        (3, vec![Note::ControlKept(END.to_owned())])
    );
    let escaped = made(SpecialInText::Escape).unwrap();
    assert_eq!(ends(&escaped.example.input_ids), 2);
    assert_eq!(escaped.notes, [Note::ControlEscaped(END.to_owned())]);
    assert_eq!(escaped.example.prompt, kept.example.prompt);
    let read = bundle()
        .tokenizer
        .decode(&escaped.example.input_ids, false)
        .unwrap();
    assert_eq!(read, kept.example.prompt + "fine<|im_end|>");
}

#[test]
fn what_a_template_leaves_out_is_refused_by_name() {
    let call = json!([{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let with = |answer: Value| json!({"messages": [turn("user", "Book in Porto"), answer]});
    let refused = |encoder: &Encoder, row: &Value| runs(encoder, row).unwrap_err().to_string();
    let chat = chatml(Rules::default());
    let calls = with(json!({"role": "assistant", "content": "", "tool_calls": call}));
    assert_eq!(
        refused(&chat, &calls),
        "the chat template leaves out 'tool_calls'"
    );
    let thinks =
        with(json!({"role": "assistant", "content": "4", "reasoning_content": "two and two"}));
    assert_eq!(
        refused(&chat, &thinks),
        "the chat template leaves out 'reasoning_content'"
    );
    let mut offers = with(json!({"role": "assistant", "content": "Yes", "tool_calls": []}));
    assert_eq!(runs(&chat, &offers).unwrap(), [format!("Yes{END}")]);
    offers["tools"] = tools;
    assert_eq!(
        refused(&chat, &offers),
        "the chat template leaves out 'tools'"
    );
    let no_tool =
        "{% for m in messages if m.role != 'tool' %}{{ m.content }}{{ m.tool_calls }}|{% endfor %}";
    let row = json!({"messages": [turn("user", "q"), {"role": "assistant", "content": "", "tool_calls": call},
        turn("tool", "o"), turn("assistant", "so")]});
    let silent = encoder(Some(no_tool), learn("last"));
    assert_eq!(
        refused(&silent, &row),
        "the chat template leaves out the text of a message of role tool"
    );
    let full = "{{ tools }}{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.tool_calls }}{{ m.reasoning_content }}|{% endfor %}";
    let full = encoder(Some(full), learn("last"));
    for row in [calls, thinks, offers, row] {
        assert!(runs(&full, &row).is_ok(), "{row}");
    }
}

#[test]
fn arguments_are_given_to_templates_as_they_want_them() {
    let call = json!([{"type": "function", "function": {"name": "f", "arguments": "{\"b\": 1e-05, \"a\": 31.245270191439438}"}}]);
    let row = json!({"messages": [turn("user", "q"), {"role": "assistant", "content": null, "tool_calls": call}]});
    let written = |source: &str| {
        encoder(Some(source), Rules::default())
            .encode(&Record::from_json(&row).unwrap())
            .unwrap()
            .completion
    };
    let each = |what: &str| {
        format!(
            "{{% for m in messages %}}{{{{ m.role }}}} {{{{ m.content }}}}{{% for c in m.tool_calls %}}{{{{ c.function.name }}}} {what}{{% endfor %}}\n{{% endfor %}}{{% if add_generation_prompt %}}assistant {{% endif %}}"
        )
    };
    assert_eq!(
        written(&each("{{ c.function.arguments | tojson }}")),
        "f {\"b\": 1e-05, \"a\": 31.245270191439438}"
    );
    assert_eq!(
        written(&each("{{ '<' + c.function.arguments + '>' }}")),
        "f <{\"b\": 1e-05, \"a\": 31.245270191439438}>"
    );
    assert_eq!(
        written(&each("{{ c.function.arguments }}")),
        "f {\"b\": 1e-05, \"a\": 31.245270191439438}",
        "what transformers prints of a row that has them as text"
    );
}

#[test]
fn a_system_text_can_go_into_the_users_message() {
    let gemma = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
        {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let rules = Rules {
        system_into_user: true,
        ..Rules::default()
    };
    for (row, rules) in [
        (
            json!({"messages": [turn("system", "Brief."), turn("user", "q"), turn("assistant", "a")]}),
            rules.clone(),
        ),
        (
            json!({"system": "Brief.", "prompt": "q", "completion": "a"}),
            rules.clone(),
        ),
        (
            json!({"prompt": "q", "completion": "a"}),
            Rules {
                system: Some("Brief.".to_owned()),
                ..rules
            },
        ),
    ] {
        let made = encoder(Some(gemma), rules)
            .encode_noted(&Record::from_json(&row).unwrap())
            .unwrap();
        assert_eq!(
            made.example.prompt,
            "<|im_start|>user\nBrief.\n\nq<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(made.notes, [Note::SystemIntoUser]);
    }
}

#[test]
fn rows_that_are_too_long() {
    let encoder = chatml(Rules::default());
    let record = Record::from_json(
        &json!({"messages": [turn("system", "S"), turn("user", "a"), turn("assistant", "one"),
        turn("user", "b"), turn("assistant", "two")]}),
    )
    .unwrap();
    let whole = encoder.encode(&record).unwrap();
    let most = whole.len() - 3;
    let within = |policy| encoder.encode_within(&record, most, policy);
    assert_eq!(within(Overlength::Refuse), Err(Refusal::TooLong(most)));
    assert_eq!(
        encoder
            .encode_within(&record, whole.len(), Overlength::Refuse)
            .unwrap()
            .example,
        whole
    );
    let dropped = within(Overlength::DropTurns).unwrap();
    assert_eq!(
        dropped.example.prompt,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        (supervised_runs(&dropped.example), dropped.notes),
        (vec![format!("two{END}")], vec![Note::DroppedTurns])
    );
    let left = within(Overlength::TruncateLeft).unwrap().example;
    assert_eq!(
        (left.input_ids.as_slice(), left.group),
        (&whole.input_ids[3..], whole.group.clone())
    );
    let right = within(Overlength::Truncate).unwrap().example;
    assert_eq!(right.input_ids, whole.input_ids[..most]);
    assert!(
        right.completion.starts_with("one<|im_end|>"),
        "{}",
        right.completion
    );
    let short = encoder.encode_within(&record, 4, Overlength::Truncate);
    assert_eq!(short, Err(Refusal::TooLong(4)));
}

#[test]
fn a_template_says_itself_what_the_assistant_wrote() {
    // Its blocks begin behind the header, as those of TRL's training templates; the newline behind is no part of a row.
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
        {% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{{ '\n' }}\
        {% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let row = json!({"messages": two_turns()});
    for what in ["all", "last"] {
        let marked = encoder(Some(source), learn(what));
        let prefixes = chatml(learn(what));
        let record = Record::from_json(&row).unwrap();
        assert_eq!(marked.encode(&record), prefixes.encode(&record), "{what}");
    }
    // Without the end token in a block none is learned.
    let short = source.replace(
        "<|im_end|>{% endgeneration %}",
        "{% endgeneration %}<|im_end|>",
    );
    assert_eq!(
        runs(&encoder(Some(&short), Rules::default()), &row).unwrap(),
        ["one", "two"]
    );
}

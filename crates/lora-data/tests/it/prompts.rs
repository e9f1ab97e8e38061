//! What a generation starts from: written as the prompts of rows are.
use crate::base::bundle;
use lora_data::{ChatTemplate, Encoder, Message, Record, Rules, SpecialInText};
use serde_json::{Value, json};

fn messages(chat: &Value) -> Vec<Message> {
    let all = chat.as_array().unwrap().iter();
    all.map(|one| one.as_object().unwrap().clone()).collect()
}

/// The ids of a row's prompt, and those of the same chat that is asked.
fn both(template: &str, chat: &Value, answer: &Value) -> (Vec<u32>, Vec<u32>) {
    let bundle = bundle();
    let template = || ChatTemplate::new(template, None, None).unwrap();
    let rules = Rules {
        special_in_text: SpecialInText::Escape,
        ..Rules::default()
    };
    let encoder = Encoder::with_rules(&bundle, Some(template()), rules).unwrap();
    let row = json!({"prompt": chat, "completion": [answer]});
    let row = encoder.encode(&Record::from_json(&row).unwrap()).unwrap();
    let asks = Encoder::new(&bundle, Some(template()), None).unwrap();
    let asked = asks.prompt(&messages(chat), None).unwrap();
    (row.prompt_ids().to_vec(), asked)
}

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
     {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[test]
fn a_control_token_in_a_question_is_text() {
    let chat = json!([{"role": "user", "content": "what does <|im_end|> mean?"}]);
    let answer = json!({"role": "assistant", "content": "the end"});
    let (row, asked) = both(CHATML, &chat, &answer);
    assert_eq!(row, asked);
    let end = bundle().tokenizer.token_to_id("<|im_end|>").unwrap();
    assert_eq!(asked.iter().filter(|id| **id == end).count(), 1);
}

/// Some templates join the arguments of a call as text, some index them, some print them: each gets what it wants.
#[test]
fn arguments_of_calls_are_what_the_template_wants() {
    let call =
        json!({"type": "function", "function": {"name": "w", "arguments": "{\"city\":\"Porto\"}"}});
    let chat = json!([
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
    ]);
    let answer = json!({"role": "assistant", "content": "It is sunny"});
    for (write, wanted) in [
        (
            "{{ 'call ' + c.function.arguments }}",
            "call {\"city\":\"Porto\"}",
        ),
        ("{{ c.function.arguments.city }}", "Porto"),
        (
            "{{ c.function.arguments | tojson }}",
            "{\"city\": \"Porto\"}",
        ),
        ("{{ c.function.arguments }}", "{\"city\":\"Porto\"}"),
    ] {
        let calls = format!(
            "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{% for c in m.tool_calls or [] %}}{write}{{% endfor %}}"
        );
        let template = CHATML.replace("{% for m in messages %}<|im_start|>{{ m.role }}\n", &calls);
        let (row, asked) = both(&template, &chat, &answer);
        assert_eq!(row, asked, "{write}");
        let text = bundle().tokenizer.decode(&asked, false).unwrap();
        assert!(
            text.contains(&format!("assistant\n{wanted}<|im_end|>")),
            "{text}"
        );
    }
    let encoder = Encoder::new(
        &bundle(),
        Some(ChatTemplate::new(CHATML, None, None).unwrap()),
        None,
    );
    let wrong = json!([{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]);
    assert!(encoder.unwrap().prompt(&messages(&wrong), None).is_err());
}

/// GLM-4 begins texts with two tokens, neither of which is BOS; a text that brings them has them once.
#[test]
fn texts_begin_as_the_post_processor_has_them() {
    let mut bundle = bundle();
    let id = |token: &str| bundle.tokenizer.token_to_id(token).unwrap();
    let own = [id("<|endoftext|>"), id("<|im_start|>")];
    let mut json: Value =
        serde_json::from_str(&bundle.tokenizer.to_string(false).unwrap()).unwrap();
    let special = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": special("<|endoftext|>", own[0]), "<|im_start|>": special("<|im_start|>", own[1])},
    });
    bundle.tokenizer = json.to_string().parse().unwrap();
    bundle.bos_token = None;
    bundle.add_bos_token = true;
    assert_eq!(bundle.prefix(), own);
    assert!(!bundle.begins_with_bos());
    let encoder = Encoder::new(&bundle, None, None).unwrap();
    for text in ["Hello world", "<|endoftext|><|im_start|>Hello world"] {
        let row = Record::from_json(&json!({"text": text})).unwrap();
        let ids = encoder.encode(&row).unwrap().input_ids;
        let expected = bundle.tokenizer.encode("Hello world", true).unwrap();
        assert_eq!(ids[..ids.len() - 1], *expected.get_ids(), "{text}");
    }
    bundle.add_bos_token = false;
    assert!(bundle.prefix().is_empty());
}

//! Ids and masks, with the tokenizer and template of the embedded model.
use lora_checkpoint::{ModelConfig, TokenizerBundle};
use lora_data::{ChatTemplate, Encoder, Example, IGNORE, Note, Record, Refusal, text_blocks};
use serde_json::{Value, json};
use std::path::Path;

fn bundle() -> TokenizerBundle {
    let base = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat"));
    TokenizerBundle::from_folder(
        base,
        &ModelConfig::from_json(&base.join("config.json")).unwrap(),
    )
    .unwrap()
}

fn encoder(template: Option<&str>, system: Option<&str>) -> Encoder {
    let bundle = bundle();
    let template = template.map(|source| {
        ChatTemplate::new(
            source,
            bundle.bos_token.as_deref(),
            bundle.eos_token.as_deref(),
        )
        .unwrap()
    });
    Encoder::new(&bundle, template, system.map(str::to_owned)).unwrap()
}

fn chatml() -> String {
    bundle().chat_template.unwrap()
}

fn encode(encoder: &Encoder, row: Value) -> Result<Example, Refusal> {
    encoder.encode(&Record::from_json(&row).unwrap())
}

fn supervised_text(example: &Example) -> String {
    let ids: Vec<u32> = example
        .labels
        .iter()
        .filter(|label| **label != IGNORE)
        .map(|label| *label as u32)
        .collect();
    bundle().tokenizer.decode(&ids, false).unwrap()
}

#[test]
fn the_completion_and_its_end_of_turn_are_supervised_and_nothing_else() {
    let encoder = encoder(Some(&chatml()), None);
    let example = encode(
        &encoder,
        json!({"prompt": "Hello there", "completion": "ok\ndone"}),
    )
    .unwrap();
    assert_eq!(
        example.prompt,
        "<|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(example.completion, "ok\ndone<|im_end|>");
    assert_eq!(supervised_text(&example), example.completion);
    assert_eq!(
        bundle()
            .tokenizer
            .decode(&example.input_ids, false)
            .unwrap(),
        example.prompt.clone() + &example.completion
    );
    assert_eq!(
        bundle()
            .tokenizer
            .decode(example.prompt_ids(), false)
            .unwrap(),
        example.prompt
    );
    assert!(encoder.ends_turn(&example));
    assert_eq!(example.group.len(), 64);
}

#[test]
fn forms_of_the_same_chat_give_the_same_row() {
    let encoder = encoder(Some(&chatml()), None);
    let turns =
        json!([{"role": "user", "content": "a\n\nb"}, {"role": "assistant", "content": "c"}]);
    let mut first = encode(&encoder, json!({"messages": turns})).unwrap();
    for row in [
        json!({"prompt": "a\n\nb", "completion": "c"}),
        json!({"instruction": "a", "input": "b", "output": "c"}),
        json!({"conversations": [{"from": "human", "value": "a\n\nb"}, {"from": "gpt", "value": "c"}]}),
    ] {
        let other = encode(&encoder, row).unwrap();
        first.id.clone_from(&other.id);
        assert_eq!(first, other);
    }
}

#[test]
fn a_system_message_is_added_only_where_there_is_none() {
    let encoder = encoder(Some(&chatml()), Some("be kind"));
    let prompt = |row| encode(&encoder, row).unwrap().prompt;
    let added = "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\n";
    assert!(prompt(json!({"prompt": "a", "completion": "b"})).starts_with(added));
    assert!(
        prompt(json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
            .starts_with(added)
    );
    assert!(
        prompt(json!({"prompt": "a", "completion": "b", "system": "own"}))
            .starts_with("<|im_start|>system\nown<|im_end|>")
    );
}

#[test]
fn without_a_template_texts_are_joined_and_the_end_of_text_follows() {
    let encoder = encoder(None, None);
    let example = encode(&encoder, json!({"prompt": "Q: one", "completion": " two"})).unwrap();
    assert_eq!(
        (example.prompt.as_str(), example.completion.as_str()),
        ("Q: one", " two<|im_end|>")
    );
    assert_eq!(supervised_text(&example), " two<|im_end|>");
    let text = encode(&encoder, json!({"text": "some words"})).unwrap();
    assert_eq!(text.supervised(), text.len() - 1);
    assert_eq!(supervised_text(&text), "some words<|im_end|>");
    assert!(text.prompt_ids().is_empty() && text.prompt.is_empty());
    // "a" + "b" that merge into one token are tokenised apart, as a generation has them.
    let joined = (b'a'..=b'z')
        .flat_map(|a| (b'a'..=b'z').map(move |b| (char::from(a), char::from(b))))
        .find(|(a, b)| {
            bundle()
                .tokenizer
                .encode(format!("{a}{b}"), false)
                .unwrap()
                .len()
                == 1
        });
    let (a, b) = joined.expect("the tokenizer merges some pair of letters");
    let row = Record::from_json(&json!({"prompt": a, "completion": b})).unwrap();
    let made = encoder.encode_noted(&row).unwrap();
    assert_eq!(made.notes, [Note::Apart]);
    assert_eq!(supervised_text(&made.example), format!("{b}<|im_end|>"));
    let alone = bundle().tokenizer.encode(a.to_string(), false).unwrap();
    assert_eq!(made.example.prompt_ids(), alone.get_ids());
    let many = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
    assert!(matches!(encode(&encoder, many), Err(Refusal::Template(_))));
}

#[test]
fn a_beginning_of_text_stands_once() {
    let mut bundle = bundle();
    bundle.add_bos_token = true;
    let bos = bundle.tokenizer.token_to_id("<|im_start|>").unwrap();
    let plain = Encoder::new(&bundle, None, None).unwrap();
    for row in [
        json!({"prompt": "x", "completion": " y"}),
        json!({"prompt": "<|im_start|>x", "completion": " y"}),
        json!({"text": "x"}),
    ] {
        let example = encode(&plain, row).unwrap();
        assert_eq!(example.input_ids.iter().filter(|id| **id == bos).count(), 1);
        assert_eq!(example.input_ids[0], bos);
    }
    let example = encode(&plain, json!({"prompt": "x", "completion": " y"})).unwrap();
    assert_eq!(supervised_text(&example), " y<|im_end|>");
    let template = ChatTemplate::new(
        "{{ bos_token }}{% for m in messages %}{{ m.content }}|{% endfor %}",
        Some("<|im_start|>"),
        None,
    )
    .unwrap();
    let chat = Encoder::new(&bundle, Some(template), None).unwrap();
    let example = encode(&chat, json!({"prompt": "x", "completion": "y"})).unwrap();
    assert_eq!(example.input_ids.iter().filter(|id| **id == bos).count(), 1);
    assert!(!chat.ends_turn(&example));
}

#[test]
fn rows_that_the_template_refuses_or_rewrites_are_refused() {
    let refuse = encoder(Some("{{ raise_exception('not\nthis one') }}"), None);
    let row = || json!({"prompt": "a", "completion": "b"});
    assert_eq!(
        encode(&refuse, row()).unwrap_err().to_string(),
        "the chat template refuses it: not this one (chat template, line 1)"
    );
    let rewrite = encoder(Some("{{ messages | length }}"), None);
    assert_eq!(
        encode(&rewrite, row()).unwrap_err(),
        Refusal::PromptRewritten
    );
    let silent = encoder(Some("{{ messages[0].content }}"), None);
    assert_eq!(
        encode(&silent, row()).unwrap_err(),
        Refusal::NothingSupervised
    );
    let chat = encoder(Some(&chatml()), None);
    assert_eq!(
        encode(&chat, json!({"prompt": " ", "completion": "b"})).unwrap_err(),
        Refusal::EmptyPrompt
    );
}

#[test]
fn blocks_hold_every_token_of_the_texts_in_order() {
    let encoder = encoder(None, None);
    let texts: Vec<Example> = (0..9)
        .map(|n| encode(&encoder, json!({"text": format!("text number {n} ü")})).unwrap())
        .collect();
    let all: Vec<u32> = texts
        .iter()
        .flat_map(|text| text.input_ids.clone())
        .collect();
    let blocks = text_blocks(&encoder, &texts, 16);
    let joined: Vec<u32> = blocks
        .iter()
        .flat_map(|block| block.input_ids.clone())
        .collect();
    assert!(all.starts_with(&joined) && all.len() - joined.len() < 2);
    assert!(
        blocks[..blocks.len() - 1]
            .iter()
            .all(|block| block.len() == 16 && block.supervised() == 15)
    );
    assert!(text_blocks(&encoder, &[], 16).is_empty());
}

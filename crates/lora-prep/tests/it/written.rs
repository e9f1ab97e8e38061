//! Templates and system texts that rows are written with.
use crate::harness::{BASE, Folder, lines, pairs};
use serde_json::json;

#[test]
fn another_template_another_system_and_no_template() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    folder.write("t.jinja", "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}");
    folder.prep(
        "raw.jsonl",
        "a",
        &["--template", "t.jinja", "--system", "s"],
    );
    let row = &folder.split("a", "train").examples[0];
    assert_eq!(
        row.prompt,
        "[system]\ns<|im_end|>[user]\nwhat is 0<|im_end|>[assistant]\n"
    );
    assert_eq!(row.completion, "it is 0<|im_end|>");
    let chat = folder.split("a", "valid").chat.unwrap();
    let source = std::fs::read_to_string(folder.path("t.jinja")).unwrap();
    assert_eq!(chat.template, Some(source), "to the byte");
    assert_eq!(chat.system.as_deref(), Some("s"));
    assert_eq!(folder.manifest("a").system.as_deref(), Some("s"));
    folder.prep("raw.jsonl", "b", &["--no-chat-template"]);
    let split = folder.split("b", "train");
    assert_eq!(
        (split.examples[0].prompt.as_str(), split.template_sha256),
        ("what is 0", None)
    );
    assert_eq!(split.chat, Some(lora_checkpoint::Chat::default()));
}

#[test]
fn the_system_text_of_all_rows_is_that_of_the_dataset() {
    let folder = Folder::new();
    let row = |system: &str, n: usize| {
        format!(
            "{{\"system\": {system:?}, \"prompt\": \"what is {n}\", \"completion\": \"it is {n}\"}}\n"
        )
    };
    let same: String = (0..30).map(|n| row("Count.", n)).collect();
    folder.write("same.jsonl", &same);
    folder.prep("same.jsonl", "same", &[]);
    assert_eq!(folder.manifest("same").system.as_deref(), Some("Count."));
    folder.write("two.jsonl", same + &row("Sing.", 30));
    folder.prep("two.jsonl", "two", &[]);
    assert_eq!(folder.manifest("two").system, None);
}

#[test]
fn rows_without_the_system_text_of_their_base_are_warned_of() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    std::fs::create_dir(folder.path("shape")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    std::fs::write(folder.path("shape/SYSTEM_PROMPT.txt"), "Count.").unwrap();
    let warned = |more: &[&str]| {
        let args = ["raw.jsonl", "--base", "shape", "--out", "a", "--force"];
        let answer = folder.run(&[&args[..], more].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer
            .stderr
            .contains("was trained with the system text \"Count.\"")
    };
    assert!(warned(&[]) && warned(&["--system", "Sing."]));
    assert!(!warned(&["--system", "Count."]));
}

#[test]
fn a_base_needs_no_weights() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("shape")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    folder.write("raw.jsonl", pairs(30, 1));
    folder.prep("raw.jsonl", "a", &[]);
    let answer = folder.run(&["raw.jsonl", "--base", "shape", "--out", "b"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(folder.split("a", "train"), folder.split("b", "train"));
}

#[test]
fn a_base_without_a_template_is_said() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("shape")).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    folder.write("raw.jsonl", pairs(30, 1));
    let said = |flags: &[&str]| {
        let args = ["raw.jsonl", "--base", "shape", "--out", "b", "--force"];
        let answer = folder.run(&[&args[..], flags].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stderr.contains("this base has no chat template")
    };
    assert!(said(&[]) && !said(&["--no-chat-template"]));
}

/// Of a base with named templates each chat is written with the one that transformers takes, or refused by name.
#[test]
fn named_templates_are_chosen_as_transformers_does() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("shape/additional_chat_templates")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    let own = std::fs::read_to_string(format!("{BASE}/chat_template.jinja")).unwrap();
    folder.write(
        "shape/additional_chat_templates/tool_use.jinja",
        "{{ tools }}".to_owned() + &own,
    );
    let row = |n: usize| json!({"prompt": format!("what is {n}"), "completion": "it"});
    let offers = json!({"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "call it"}, {"role": "assistant", "content": "so"}]});
    folder.write("raw.jsonl", lines((0..30).map(row).chain([offers])));
    let prep = |flags: &[&str]| {
        let args = ["raw.jsonl", "--base", "shape", "--out", "b", "--force"];
        folder.run(&[&args[..], flags].concat())
    };
    assert_eq!(prep(&[]).code, 0);
    let refused = folder.manifest("b").refused;
    assert_eq!(
        refused["it offers tools, for which the base has the chat template 'tool_use'"],
        1
    );
    assert_eq!(prep(&["--template-name", "tool_use"]).code, 0);
    assert_eq!(folder.manifest("b").refused.len(), 0);
    let answer = prep(&["--template-name", "rag"]);
    assert!(
        answer.stderr.contains("no chat template called 'rag'")
            && answer.stderr.contains("hint: it has tool_use"),
        "{}",
        answer.stderr
    );
}

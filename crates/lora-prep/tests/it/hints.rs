//! Hints, read as their victims would: followed, they help, and cost neither held-out rows nor a template.
use crate::bad_input::refuses;
use crate::harness::{BASE, Folder, pairs};

/// The hint of a run that is refused.
fn hint(folder: &Folder, args: &[&str]) -> String {
    let answer = folder.run(args);
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    let line = answer
        .stderr
        .lines()
        .find(|line| line.starts_with("hint: "));
    line.unwrap_or_default().to_owned()
}

/// A folder whose files don't say what they are for: the hint keeps held-out rows out of the training.
#[test]
fn a_folder_is_not_poured_together() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("own")).unwrap();
    for name in ["train", "rows"] {
        folder.write(&format!("own/{name}.jsonl"), pairs(20, 1));
    }
    let hint = hint(&folder, &["own", "--base", BASE, "--out", "d"]);
    assert!(
        hint.contains("own/rows.jsonl says no split by its name: name the files to train on"),
        "{hint}"
    );
    let args = [
        "own/train.jsonl",
        "--valid-file",
        "own/rows.jsonl",
        "--base",
        BASE,
        "--out",
        "d",
    ];
    refuses(&folder, &args, b"", "no row of the files for valid is left");
}

/// An instruct model keeps its template: no hint about rows says --no-chat-template.
#[test]
fn a_refused_system_message_costs_no_template() {
    let folder = Folder::new();
    folder.write(
        "gemma.jinja",
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
         {% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    );
    folder.write(
        "raw.jsonl",
        r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#,
    );
    let own = [
        "raw.jsonl",
        "--base",
        BASE,
        "--out",
        "d",
        "--template",
        "gemma.jinja",
    ];
    let said = hint(&folder, &own);
    assert!(
        said.contains("--system-into-user puts its text at the start of the first user message"),
        "{said}"
    );
    folder.write("pairs.jsonl", pairs(4, 1));
    let flag = [
        "pairs.jsonl",
        "--base",
        BASE,
        "--out",
        "d",
        "--template",
        "gemma.jinja",
        "--system",
        "s",
    ];
    let said = hint(&folder, &flag);
    assert!(
        said.contains("leave --system out") && !said.contains("no-chat-template"),
        "{said}"
    );
    assert_eq!(
        folder.run(&[&flag[..7], &["--valid", "0"]].concat()).code,
        0
    );
}

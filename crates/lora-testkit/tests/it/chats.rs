//! The chat template at the end of the whole way is the one at its start, byte for byte.
use crate::session::tool;
use lora_testkit::{assert_code, json, repository, tiny_chat};
use std::path::Path;
use std::process::Command;

/// Templates of several kinds, none of them the embedded model's.
const TEMPLATES: [&str; 3] = [
    // Turns with words in brackets; a newline at the end of the source is no part of a template, and of its bytes.
    "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}\
     [assistant]\n{% endif %}\n",
    // Markdown with letters of several bytes, and no newline at its end.
    "{%- for m in messages -%}## {{ '🦀' if m.role == 'assistant' else 'Ü' }} {{ m.role }}\n\n{{ m.content }}{{ eos_token }}\
     \n{%- endfor -%}{%- if add_generation_prompt -%}## 🦀 assistant\n\n{% endif -%}",
    // Lines that end as on Windows.
    "{% for m in messages %}\r\n<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}\r\n{% if add_generation_prompt %}\
     <assistant>{% endif %}",
];

fn run(dir: &Path, line: &str) {
    let mut words = line.split_whitespace();
    let output = Command::new(tool(words.next().unwrap()))
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap();
    assert_code(&output, 0);
}

/// The text under a key of a GGUF file: key, type 8, length, bytes.
fn gguf_text(path: &Path, key: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes
        .windows(key.len())
        .position(|part| part == key.as_bytes());
    let rest = &bytes[at.unwrap() + key.len()..];
    assert_eq!(rest[..4], 8u32.to_le_bytes(), "a text");
    let length = u64::from_le_bytes(rest[4..12].try_into().unwrap());
    rest[12..][..length as usize].to_vec()
}

#[test]
fn the_template_and_the_system_text_travel_the_whole_way() {
    let rows = std::fs::read_to_string(repository("data/tasks.jsonl")).unwrap();
    let rows: String = rows.split_inclusive('\n').take(30).collect();
    for (number, template) in TEMPLATES.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("rows.jsonl"), &rows).unwrap();
        std::fs::write(dir.join("t.jinja"), template).unwrap();
        let base = tiny_chat().display().to_string();
        run(
            dir,
            &format!(
                "lora-prep rows.jsonl --base {base} --template t.jinja --system Briefly. --out data --valid 0"
            ),
        );
        run(
            dir,
            &format!(
                "lora-train --base {base} --data data --out adapter --rank 2 --steps 2 --batch 2 --threads 1"
            ),
        );
        run(
            dir,
            &format!("lora-merge --base {base} --adapter adapter --out merged --check-rows 0"),
        );
        run(dir, "lora-export --model merged --out m.gguf");
        run(dir, "lora-export --model m.gguf --format hf --out hf");
        run(
            dir,
            &format!("lora-export --adapter adapter --base {base} --out a.gguf"),
        );
        for folder in ["adapter", "merged", "hf"] {
            let read = |name: &str| std::fs::read(dir.join(folder).join(name)).unwrap();
            assert_eq!(
                read("chat_template.jinja"),
                template.as_bytes(),
                "{number} {folder}"
            );
            assert_eq!(read("SYSTEM_PROMPT.txt"), b"Briefly.", "{number} {folder}");
            let settings = json(&dir.join(folder).join("tokenizer_config.json"));
            assert!(settings.get("chat_template").is_none(), "{number} {folder}");
        }
        for file in ["m.gguf", "a.gguf"] {
            let text = |key: &str| gguf_text(&dir.join(file), key);
            assert_eq!(
                text("tokenizer.chat_template"),
                template.as_bytes(),
                "{number} {file}"
            );
            assert_eq!(text("lora.system_prompt"), b"Briefly.", "{number} {file}");
        }
        let receipts =
            ["data", "adapter", "merged", "hf"].map(|of| json(&dir.join(of).join("receipt.json")));
        let [data, others @ ..] = &receipts;
        for receipt in others {
            let chat = &receipt["results"]["chat"];
            assert_eq!(chat["template_sha256"], data["results"]["template_sha256"]);
            assert_eq!(chat["system"], "Briefly.");
        }
        if number == 0 {
            run(dir, "lora-export --model m.gguf --modelfile --out ollama");
            let text = std::fs::read_to_string(dir.join("ollama/Modelfile")).unwrap();
            assert!(
                text.contains("[user]\n") && text.contains("\nSYSTEM \"\"\"Briefly.\"\"\"\n"),
                "{text}"
            );
        }
    }
}

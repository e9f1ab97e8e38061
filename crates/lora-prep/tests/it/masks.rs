//! What is learned equals TRL's masks (fixture by tests/oracle/masks.py with data/tiny-chat's tokenizer).
use crate::harness::{BASE, Folder};
use lora_data::IGNORE;
use serde_json::Value;

#[test]
fn masks_are_those_of_trl() {
    let layouts: Vec<Value> = serde_json::from_str(include_str!("../fixtures/masks.json")).unwrap();
    assert_eq!(layouts.len(), 6);
    for layout in &layouts {
        let name = layout["name"].as_str().unwrap();
        let folder = Folder::new();
        let rows = layout["rows"].as_array().unwrap();
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        folder.write("rows.jsonl", lines);
        let mut args = vec!["--valid", "0"];
        match layout["template"].as_str() {
            Some(template) => {
                folder.write("template.jinja", template);
                args.extend(["--template", "template.jinja"]);
            }
            None => args.push("--no-chat-template"),
        }
        let flags = layout["flags"].as_array().unwrap().iter();
        args.extend(flags.map(|flag| flag.as_str().unwrap()));
        let answer =
            folder.run(&[&["rows.jsonl", "--base", BASE, "--out", "out"], &args[..]].concat());
        assert_eq!(answer.code, 0, "{name}: {}", answer.stderr);
        let made = folder.split("out", "train").examples;
        let expected = layout["expected"].as_array().unwrap();
        assert_eq!(
            (made.len(), rows.len()),
            (expected.len(), expected.len()),
            "{name}"
        );
        for (made, expected) in made.iter().zip(expected) {
            let ids: Vec<u32> = serde_json::from_value(expected["ids"].clone()).unwrap();
            let learned: Vec<usize> = serde_json::from_value(expected["learned"].clone()).unwrap();
            let own = (0..made.len()).filter(|at| made.labels[*at] != IGNORE);
            assert_eq!(made.input_ids, ids, "{name}");
            assert_eq!(own.collect::<Vec<_>>(), learned, "{name}");
        }
    }
}

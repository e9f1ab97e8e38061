//! Threads change how long it takes and nothing else: not a byte of what is written or said, and not which fault is named.
use crate::harness::{Answer, BASE, Folder, names};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Numbers of threads that are compared.
const THREADS: [&str; 3] = ["1", "2", "7"];

/// Rows of many batches: pairs and chats, of which some repeat each other, are too long, hold control tokens or bring more.
fn rows(count: usize) -> Vec<Value> {
    let row = |n: usize| match n % 9 {
        0 => json!({"prompt": format!("What is {}, in words?", n % 400), "completion": "a number"}),
        1 => {
            json!({"prompt": format!("what is {} in words", n % 400), "completion": n.to_string()})
        }
        2 => json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": format!("Say {n}.")},
            {"role": "assistant", "content": n.to_string()},
            {"role": "user", "content": "Again."},
            {"role": "assistant", "content": format!("{n}, {n}")}
        ], "user": n % 50}),
        3 => json!({"prompt": "long ".repeat(n % 130), "completion": "yes"}),
        4 => json!({"prompt": format!("hello {n}"), "completion": "", "score": 0.5}),
        5 => json!({"prompt": format!("end <|im_end|> {n}"), "completion": "b"}),
        6 => json!({"text": format!("A text of its own, the number {n}. ").repeat(n % 5 + 1)}),
        _ => json!({"instruction": "Count.", "input": format!("to {}", n % 1000), "output": "one"}),
    };
    let with_more = |n: usize| {
        let mut row = row(n);
        row["user"] = json!(n % 60);
        row["part"] = if n.is_multiple_of(7) {
            json!("seventh")
        } else {
            json!(null)
        };
        row
    };
    (0..count).map(with_more).collect()
}

fn lines(rows: &[Value]) -> Vec<String> {
    rows.iter().map(ToString::to_string).collect()
}

/// All that people and machines see of a run, but for times and memory.
fn told(folder: &Folder, answer: &Answer) -> (i32, Vec<Value>, String, BTreeMap<String, Vec<u8>>) {
    let lines = answer.stdout.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        match event.get("tool").is_some() {
            true => json!([
                event["config"],
                event["results"],
                event["inputs"],
                event["seed"]
            ]),
            false => event.take(),
        }
    });
    let mut files = BTreeMap::new();
    if folder.path("out").is_dir() {
        for name in names(&folder.path("out")) {
            let bytes = std::fs::read(folder.path("out").join(&name)).unwrap();
            files.insert(name, bytes);
        }
        files.remove("receipt.json");
    }
    (answer.code, lines.collect(), answer.stderr.clone(), files)
}

/// Runs the same with each number of threads, and returns the exit code and what was said.
fn same(folder: &Folder, args: &[&str]) -> (i32, String) {
    let run = |threads| {
        let answer = folder.prep(
            "raw.jsonl",
            "out",
            &[args, &["--force", "--threads", threads]].concat(),
        );
        told(folder, &answer)
    };
    let first = run(THREADS[0]);
    for threads in &THREADS[1..] {
        let other = run(threads);
        assert_eq!(first.0, other.0, "{threads} threads: {}", other.2);
        assert_eq!(first.1, other.1, "{args:?}, {threads} threads: stdout");
        assert_eq!(first.2, other.2, "{args:?}, {threads} threads: stderr");
        assert!(first.3 == other.3, "{args:?}, {threads} threads: files");
    }
    (first.0, first.2)
}

#[test]
fn threads_change_no_byte() {
    let folder = Folder::new();
    folder.write("raw.jsonl", lines(&rows(900)).join("\n"));
    folder.write("more.jsonl", lines(&rows(1300)[800..]).join("\n"));
    for args in [
        ["--test", "0.1", "--keep", "part", "--keep", "user"].as_slice(),
        &[
            "--near",
            "0.8",
            "--group",
            "user",
            "--special-in-text",
            "escape",
            "--valid",
            "0",
        ],
        &[
            "more.jsonl",
            "--weight",
            "raw.jsonl=0.6",
            "--weight",
            "more.jsonl=0.4",
            "--seed",
            "3",
        ],
        &[
            "more.jsonl",
            "--take",
            "more.jsonl=100",
            "--keep-duplicates",
        ],
        &[
            "--valid-file",
            "more.jsonl",
            "--overlength",
            "truncate",
            "--max-length",
            "64",
        ],
        &["--text-block", "48", "--valid", "0.2", "--learn", "last"],
        &["--no-chat-template", "--limit", "777"],
    ] {
        let (code, said) = same(&folder, args);
        assert_eq!(code, 0, "{args:?}: {said}");
    }
}

#[test]
fn the_first_fault_of_the_file_is_the_one_that_is_named() {
    let folder = Folder::new();
    let bad = |n: usize| ("{\"prompt\": ".to_owned(), n);
    let shapeless = |n: usize| (json!({"what": n}).to_string(), n);
    for (faults, args, expected) in [
        (vec![bad(700), shapeless(1150)], [].as_slice(), "line 701"),
        (vec![shapeless(700), bad(701)], &[], "line 701"),
        (vec![bad(3), bad(1100)], &["--limit", "900"], "line 4"),
        (
            vec![bad(5), shapeless(1100)],
            &["--group", "nothing"],
            "line 1: the row has no key",
        ),
        (
            vec![],
            &["--overlength", "error", "--max-length", "100"],
            "longer than --max-length",
        ),
    ] {
        let mut lines = lines(&rows(1200));
        faults.into_iter().for_each(|(line, at)| lines[at] = line);
        folder.write("raw.jsonl", lines.join("\n"));
        let (code, said) = same(&folder, args);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
        assert!(!folder.path("out").exists() && !folder.path("out.partial").exists());
    }
    let mut lines = lines(&rows(1200));
    for at in [0, 9, 402, 1199] {
        lines[at] = ["{", "[1, 2]", "\u{0}", "{\"what\": 1}"][at % 4].to_owned();
    }
    folder.write("raw.jsonl", lines.join("\n"));
    let (code, said) = same(&folder, &["--on-bad-line", "skip"]);
    assert_eq!(code, 0, "{said}");
    let refused = folder.manifest("out").refused;
    let skipped = ["a line that can't be read", "a row of no known layout"].map(|why| refused[why]);
    assert_eq!(skipped.iter().sum::<usize>(), 4);
}

/// A template that can't end for one row ends the run at that row, whoever meets it.
#[test]
fn a_template_that_takes_too_much_is_given_up_at_the_row_where_it_does() {
    let folder = Folder::new();
    let nine = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(99) %}x{% endfor %}{% endfor %}{% endfor %}";
    let template = format!(
        "{{% for m in messages %}}{{% if m.content.endswith('42') %}}{nine}{{% endif %}}{{{{ m.role }}}}: {{{{ m.content }}}}\n{{% endfor %}}\
         {{% if add_generation_prompt %}}assistant: {{% endif %}}"
    );
    folder.write("t.jinja", template);
    let row = |n: usize| json!({"prompt": format!("q{n}"), "completion": "a b c d e f g"});
    let many: Vec<Value> = (0..1100).map(row).collect();
    folder.write("raw.jsonl", lines(&many).join("\n"));
    let (code, said) = same(&folder, &["--template", "t.jinja"]);
    assert_eq!(code, 2, "{said}");
    let ends = (0..1100).filter(|n| n.to_string().ends_with("42"));
    let places: Vec<String> = ends.map(|n| format!("line {}:", n + 1)).collect();
    assert!(places.iter().any(|place| said.contains(place)), "{said}");
}

/// What a killed run leaves is in nobody's way.
#[test]
#[cfg(unix)]
fn a_kill_leaves_nothing_in_the_way() {
    let folder = Folder::new();
    folder.write("raw.jsonl", lines(&rows(20_000)).join("\n"));
    let partial = folder.path("out.partial");
    let mut run = Command::new(env!("CARGO_BIN_EXE_lora-prep"))
        .args([
            "raw.jsonl",
            "--base",
            BASE,
            "--out",
            "out",
            "--keep-duplicates",
        ])
        .current_dir(folder.path("."))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !partial.is_dir() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(partial.is_dir(), "it was killed on its way");
    assert!(names(&partial).is_empty(), "what waits has no name");
    folder.write("raw.jsonl", lines(&rows(100)).join("\n"));
    let answer = folder.prep("raw.jsonl", "out", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(folder.names(), ["out", "raw.jsonl"]);
}

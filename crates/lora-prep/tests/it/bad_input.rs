//! Bad input as a user meets it: exit 2, one clear line, a hint, nothing half written.
use crate::harness::{BASE, Folder, pairs};

/// Runs with the embedded model and checks the error; afterwards only the inputs are there.
pub fn refuses(folder: &Folder, args: &[&str], stdin: &[u8], expected: &str) {
    let before = folder.names();
    let answer = folder.pipe(args, stdin);
    assert_eq!(answer.code, 2, "{args:?}: {}", answer.stderr);
    let first = answer
        .stderr
        .lines()
        .find(|line| !line.starts_with("preparing"))
        .unwrap_or_default();
    assert!(
        first.starts_with("error: ") && first.contains(expected),
        "{args:?}: {first:?} lacks {expected:?}"
    );
    assert!(
        !answer.stderr.contains("panicked") && !answer.stderr.contains("internal error"),
        "{}",
        answer.stderr
    );
    assert_eq!(folder.names(), before, "{args:?} left something behind");
}

fn refuses_rows(rows: impl AsRef<[u8]>, expected: &str) {
    let folder = Folder::new();
    folder.write("raw.jsonl", rows);
    refuses(
        &folder,
        &["raw.jsonl", "--base", BASE, "--out", "out"],
        b"",
        expected,
    );
}

#[test]
fn rows() {
    refuses_rows("", "raw.jsonl: the file is empty");
    refuses_rows("\n\n", "there is no row to prepare");
    refuses_rows(
        pairs(3, 1) + "{\"prompt\": \"x\"",
        "raw.jsonl: line 4, column 14: not JSON: EOF",
    );
    refuses_rows(
        pairs(3, 1) + "hello\n",
        "raw.jsonl: line 4, column 1: not JSON: expected value",
    );
    refuses_rows(
        pairs(3, 1) + "[1]\n",
        "raw.jsonl: line 4: a row must be an object with keys, but this is a list",
    );
    refuses_rows(
        pairs(3, 1) + "{\"headline\": \"x\", \"body\": \"y\"}",
        "raw.jsonl: line 4: the row lacks the needed keys; it has 'headline', 'body'",
    );
    refuses_rows(
        [pairs(2, 1).as_bytes(), b"{\"prompt\": \"\xff\"}"].concat(),
        "raw.jsonl: line 3: not UTF-8",
    );
    refuses_rows(
        "{\"prompt\": \"a\", \"completion\": \"\"}",
        "all 1 rows were refused: the completion is empty (1)",
    );
    refuses_rows(b"\x1f\x8b\x08\0", "raw.jsonl: it can't be unpacked");
    refuses_rows([0u8; 100], "raw.jsonl: line 1, column 1: not JSON");
}

#[test]
fn splits_that_stay_empty() {
    refuses_rows(
        pairs(1, 3),
        "no row fell into the valid split: 3 rows are too few for --valid 0.1",
    );
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(1, 3));
    refuses(
        &folder,
        &[
            "raw.jsonl",
            "--base",
            BASE,
            "--out",
            "out",
            "--valid",
            "0.999999",
        ],
        b"",
        "no row is left to train on",
    );
    let mut short = vec![
        "raw.jsonl",
        "--base",
        BASE,
        "--out",
        "out",
        "--valid",
        "0",
        "--max-length",
        "5",
    ];
    refuses(
        &folder,
        &short,
        b"",
        "all 3 rows were refused: longer than --max-length 5 (3)",
    );
    short.truncate(7);
    assert_eq!(folder.run(&short).code, 0);
}

#[test]
fn files_and_folders() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(20, 1));
    folder.write("empty.gguf", "");
    folder.write("cut.gguf", b"GGUF\x03\0\0\0\x01");
    folder.write("file", "x");
    std::fs::create_dir(folder.path("nothing")).unwrap();
    for (raw, base, out, expected) in [
        ("none.jsonl", BASE, "out", "failed to open none.jsonl"),
        ("nothing", BASE, "out", "nothing: this is a folder"),
        ("raw.jsonl", "none", "out", "none"),
        ("raw.jsonl", "nothing", "out", "nothing"),
        ("raw.jsonl", "empty.gguf", "out", "empty.gguf"),
        ("raw.jsonl", "cut.gguf", "out", "cut.gguf"),
        ("raw.jsonl", "raw.jsonl", "out", "raw.jsonl"),
        ("raw.jsonl", BASE, "file", "file"),
        ("raw.jsonl", BASE, "file/out", "file"),
        ("raw.jsonl", BASE, "nothing", "nothing"),
    ] {
        refuses(&folder, &[raw, "--base", base, "--out", out], b"", expected);
    }
    assert!(
        std::fs::read_dir(folder.path("nothing"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn an_existing_output_is_replaced_only_with_force() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(20, 1));
    assert_eq!(folder.prep("raw.jsonl", "out", &[]).code, 0);
    let answer = folder.prep("raw.jsonl", "out", &[]);
    assert_eq!(
        (answer.code, answer.stderr.contains("--force")),
        (2, true),
        "{}",
        answer.stderr
    );
    folder.write("bad.jsonl", "x");
    assert_eq!(folder.prep("bad.jsonl", "out", &["--force"]).code, 2);
    assert_eq!(
        folder.manifest("out").rows_read,
        20,
        "a failed run must leave the old output alone"
    );
    assert_eq!(
        folder
            .prep("raw.jsonl", "out", &["--force", "--limit", "15"])
            .code,
        0
    );
    assert_eq!(folder.manifest("out").rows_read, 15);
}

#[test]
fn flags() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(20, 1));
    folder.write("bad.jinja", "{% if %}");
    folder.write("no.jinja", "{{ raise_exception('only tools') }}");
    for (flags, expected) in [
        (&["--valid", "1"][..], "expected a number from 0 to below 1"),
        (&["--valid", "-0.1"], "expected a number from 0 to below 1"),
        (&["--valid", "nan"], "expected a number from 0 to below 1"),
        (
            &["--valid", "0.5", "--test", "0.5"],
            "leave nothing to train on",
        ),
        (
            &["--max-length", "1"],
            "expected a whole number from 2 to 1048576",
        ),
        (
            &["--max-length", "x"],
            "expected a whole number from 2 to 1048576",
        ),
        (
            &["--text-block", "512", "--max-length", "64"],
            "--text-block 512 is more than --max-length 64",
        ),
        (&["--seed", "-1"], "--seed"),
        (
            &["--template", "bad.jinja"],
            "the chat template of bad.jinja can't be used",
        ),
        (
            &["--template", "no.jinja"],
            "all 20 rows were refused: the chat template refuses it: only tools (chat template, line 1) (20)",
        ),
        (&["--template", "none.jinja"], "none.jinja"),
        (
            &["--template", "bad.jinja", "--no-chat-template"],
            "cannot be used with",
        ),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["-"], "there is no row"),
    ] {
        if flags == ["-"] {
            refuses(
                &folder,
                &["-", "--base", BASE, "--out", "out"],
                b"\n",
                expected,
            );
            refuses(
                &folder,
                &["-", "--base", BASE, "--out", "out"],
                b"",
                "stdin: the file is empty",
            );
            refuses(
                &folder,
                &["-", "--base", "-", "--out", "out"],
                b"",
                "only one input can be `-`",
            );
        } else {
            refuses(
                &folder,
                &[&["raw.jsonl", "--base", BASE, "--out", "out"], flags].concat(),
                b"",
                expected,
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let folder = Folder::new();
    let path = folder.write("raw.jsonl", pairs(20, 1));
    let raw = path.to_str().unwrap();
    let answer = folder.run(&[raw, "--base", BASE, "--out", "/proc/out"]);
    assert_eq!(
        (answer.code, answer.stderr.starts_with("error: ")),
        (2, true),
        "{}",
        answer.stderr
    );
    assert_eq!(folder.names(), ["raw.jsonl"]);
}

#[test]
fn random_rows_end_with_an_answer_and_never_with_a_panic() {
    let folder = Folder::new();
    let pieces = [
        "{",
        "}",
        "\"prompt\"",
        "\"completion\"",
        "\"messages\"",
        ":",
        ",",
        "[",
        "]",
        "\"a\"",
        "null",
        "1",
        "\n",
        "\\",
        "\"\u{1f980}\"",
        "\"role\"",
    ];
    let mut state = 3u64;
    for _ in 0..60 {
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize
        };
        let rows: String = (0..next() % 40)
            .map(|_| pieces[next() % pieces.len()])
            .collect();
        folder.write("raw.jsonl", rows);
        let answer = folder.prep("raw.jsonl", "out", &["--force", "--valid", "0"]);
        assert!(answer.code == 0 || answer.code == 2, "{}", answer.stderr);
        assert!(
            !answer.stderr.contains("internal error"),
            "{}",
            answer.stderr
        );
    }
}

/// Templates that nothing inside the engine stops: values that hold themselves, that grow with every level, and rows
/// that are looked at before they go wrong. Each is refused by name, soon and in little memory.
#[test]
fn hostile_templates() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    let doubled = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
    let many = "{% set x = 'a' * 1000000 %}{% set x = [x] * 100000 %}";
    for (before, body) in [
        (
            "",
            "{% set ns = namespace(x=none) %}{% set ns.x = [ns] %}{{ ns }}",
        ),
        (doubled, "{{ ns.x }}"),
        (doubled, "{{ ns.x == ns.y }}"),
        (
            doubled,
            "{% if messages[0].content == 'what is 7' %}{{ ns.x|tojson }}{% endif %}",
        ),
        (many, "{{ x|join }}"),
        (many, "{{ x|tojson }}"),
        ("", "{{ ('{0}' * 100000).format('a' * 1000000) }}"),
    ] {
        folder.write("t.jinja", format!("{before}{body}"));
        let started = std::time::Instant::now();
        refuses(
            &folder,
            &[
                "raw.jsonl",
                "--base",
                BASE,
                "--out",
                "out",
                "--template",
                "t.jinja",
            ],
            b"",
            "the chat template of t.jinja can't be used: ",
        );
        let seconds = started.elapsed().as_secs_f64();
        assert!(
            seconds < 5.0,
            "{body}: {seconds} s, with all that runs beside"
        );
    }
}

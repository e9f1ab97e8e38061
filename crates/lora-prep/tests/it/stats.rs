//! `lora-prep stats` and the page of `lora-prep show`.
use crate::harness::{BASE, Folder, pairs};

#[test]
fn a_dataset_is_counted_by_split_and_source() {
    let folder = Folder::new();
    folder.write("a.jsonl", pairs(40, 1));
    let long = "{\"prompt\": \"and then\", \"completion\": \"no no no no no no no no no no no no no no\"}\n";
    folder.write(
        "b.jsonl",
        long.repeat(3) + "{\"prompt\": \"x\", \"completion\": \" \"}\n",
    );
    let made = folder.run(&[
        "a.jsonl",
        "b.jsonl",
        "--base",
        BASE,
        "--out",
        "out",
        "--valid",
        "0.25",
        "--keep-duplicates",
    ]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let answer = folder.run(&["stats", "out", "--svg", "lengths.svg"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let stats = answer.events("stats");
    let manifest = folder.manifest("out");
    let whole: Vec<_> = stats
        .iter()
        .filter(|event| event["source"].is_null())
        .collect();
    assert_eq!(whole.len(), 2);
    for (event, (name, summary)) in whole.iter().zip(manifest.splits.iter()) {
        let figures = &event["figures"];
        assert_eq!(event["split"], name);
        assert_eq!(figures["rows"], summary.rows);
        assert_eq!(figures["supervised_tokens"], summary.supervised_tokens);
        assert_eq!(figures["length"]["p50"], summary.length.p50);
        assert_eq!(figures["length"]["max"], summary.length.max);
    }
    let sum = |key: &str, of: &str| -> u64 {
        let of_source = stats.iter().filter(|event| event["source"] == of);
        of_source
            .map(|event| event["figures"][key].as_u64().unwrap())
            .sum()
    };
    assert_eq!((sum("rows", "a.jsonl"), sum("rows", "b.jsonl")), (40, 3));
    assert_eq!(
        (sum("duplicates", "a.jsonl"), sum("duplicates", "b.jsonl")),
        (0, 2)
    );
    assert_eq!(answer.events("refused-rows")[0]["rows"], 1);
    let bars = answer.events("histogram")[0]["bars"].clone();
    let rows: u64 = bars
        .as_array()
        .unwrap()
        .iter()
        .map(|bar| bar[2].as_u64().unwrap())
        .sum();
    assert_eq!(rows, 43);
    let svg = std::fs::read_to_string(folder.path("lengths.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("<rect"), "{svg}");
}

/// Nothing of a row is markup, and the page needs nothing else.
#[test]
fn a_page_is_escaped_and_whole() {
    let folder = Folder::new();
    let row = "{\"prompt\": \"<script>alert(1)</script> & \\\"a\\\"\", \"completion\": \"<b>'x'</b>\\u001b[31m\"}\n";
    folder.write("raw.jsonl", row);
    folder.prep("raw.jsonl", "out", &["--valid", "0"]);
    let answer = folder.run(&["show", "out", "--html", "page.html"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let page = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;a&quot;"),
        "{page}"
    );
    assert!(
        page.contains("<mark>&lt;b&gt;&#39;x&#39;&lt;/b&gt;\\u{1b}[31m"),
        "{page}"
    );
    for outside in ["<script", "http", "src=", "\u{1b}"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

//! Where rows come from, and how many of each source.
use crate::harness::{BASE, Folder, pairs};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

#[test]
fn the_same_rows_give_the_same_bytes_from_a_file_from_stdin_and_as_csv() {
    let folder = Folder::new();
    let rows = pairs(30, 1);
    folder.write("raw.jsonl", &rows);
    folder.write(
        "array.json",
        format!("[{}]", rows.trim().replace('\n', ",")),
    );
    let csv: String = (0..30).map(|n| format!("what is {n},it is 0\n")).collect();
    folder.write("raw.csv", format!("prompt,completion\n{csv}"));
    folder.prep("raw.jsonl", "a", &[]);
    folder.prep("array.json", "b", &[]);
    folder.prep("raw.csv", "c", &[]);
    assert_eq!(
        folder
            .pipe(&["-", "--base", BASE, "--out", "d"], rows.as_bytes())
            .code,
        0
    );
    folder.prep("raw.jsonl", "e", &["--quiet"]);
    for file in ["train.parquet", "valid.parquet", "dataset.json"] {
        let first = std::fs::read(folder.path("a").join(file)).unwrap();
        for other in ["b", "c", "d", "e"] {
            assert!(
                first == std::fs::read(folder.path(other).join(file)).unwrap(),
                "{other}/{file}"
            );
        }
    }
}

#[test]
fn limit_and_several_files() {
    let folder = Folder::new();
    folder.write("a.jsonl", pairs(20, 1));
    folder.write("b.jsonl", pairs(40, 1));
    let answer = folder.run(&[
        "a.jsonl",
        "b.jsonl",
        "--base",
        BASE,
        "--out",
        "out",
        "--limit",
        "30",
        "--keep-duplicates",
    ]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(folder.manifest("out").rows_read, 30);
}

/// Patterns, folders of Hugging Face's datasets, pipes and packed files bring the same rows.
#[test]
fn rows_come_from_wherever_they_lie() {
    let formats = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../lora-data/tests/fixtures/formats"
    ));
    let folder = Folder::new();
    let copy = |from: &str, to: &str| {
        let to = folder.path(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(formats.join(from), to).unwrap();
    };
    copy("rows.jsonl.gz", "parts/a.jsonl.gz");
    copy("rows-zstd.parquet", "parts/b.parquet");
    copy(
        "rows-brotli.parquet",
        "hub/data/train-00000-of-00001.parquet",
    );
    copy("rows-lz4.feather", "saved/data-00000-of-00001.arrow");
    folder.write("saved/state.json", "{}");
    folder.write("saved/dataset_info.json", "{}");
    copy("rows-zstd.feather", "dict/train/data-00000-of-00001.arrow");
    copy("rows-zstd.feather", "dict/test/data-00000-of-00001.arrow");
    folder.write("dict/dataset_dict.json", "{}");
    folder.write("dict/train/state.json", "{}");
    let more = ["--valid", "0", "--keep-duplicates"];
    for (raw, train, test) in [
        ("parts/*", 4, 0),
        ("parts/?.parquet", 2, 0),
        ("hub", 2, 0),
        ("saved", 2, 0),
        ("dict", 2, 2),
    ] {
        let out = format!("out-{}", raw.len());
        let answer = folder.prep(raw, &out, &more);
        assert_eq!(answer.code, 0, "{raw}: {}", answer.stderr);
        let splits = folder.manifest(&out).splits;
        let test_rows = splits.test.map_or(0, |split| split.rows);
        assert_eq!((splits.train.rows, test_rows), (train, test), "{raw}");
        std::fs::remove_dir_all(folder.path(&out)).unwrap();
    }
    let answer = folder.prep("parts/*.xyz", "out", &more);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("no file has such a name"));
    let parquet = std::fs::read(formats.join("rows-gzip.parquet")).unwrap();
    let args = ["-", "--base", BASE, "--out", "out", "--valid", "0"];
    assert_eq!(folder.pipe(&args, &parquet).code, 0);
    #[cfg(unix)]
    {
        let line = format!(
            "exec {} <(cat parts/a.jsonl.gz) --base {BASE} --out piped --valid 0",
            env!("CARGO_BIN_EXE_lora-prep")
        );
        let bash = std::process::Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.path(""))
            .output();
        if let Ok(answer) = bash {
            assert_eq!(answer.status.code(), Some(0), "{answer:?}");
            assert_eq!(folder.manifest("piped").splits.train.rows, 2);
        }
    }
}

/// Rows are drawn by weight or count, the same for the same seed; each keeps its source, and the counts are told.
#[test]
fn sources_are_mixed_by_weight_or_count() {
    let folder = Folder::new();
    let rows = |name: &str, count: usize| -> String {
        (0..count)
            .map(|n| format!("{{\"prompt\": \"{name} {n}\", \"completion\": \"it is {n}\"}}\n"))
            .collect()
    };
    folder.write("a.jsonl", rows("a", 100));
    folder.write("b.jsonl", rows("b", 30));
    let raw = ["b.jsonl", "--base", BASE, "--valid", "0", "--out"];
    let prep = |out: &str, more: &[&str]| {
        let answer = folder.run(&[&["a.jsonl"], &raw[..], &[out], more].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let sources = folder.manifest(out).sources;
        (sources["a.jsonl"].rows, sources["b.jsonl"].rows)
    };
    assert_eq!(prep("whole", &[]), (100, 30));
    let weights = ["--weight", "a.jsonl=0.7", "--weight", "b.jsonl=0.3"];
    assert_eq!(prep("weights", &weights), (70, 30));
    assert_eq!(
        prep("half", &["--weight", "a.jsonl=1", "--weight", "b.jsonl=2"]),
        (15, 30)
    );
    assert_eq!(prep("counts", &["--take", "a.jsonl=5"]), (5, 30));
    let mixed = ["--take", "a.jsonl=9", "--weight", "b.jsonl=1"];
    assert_eq!(prep("both", &mixed), (9, 30));
    // The same seed draws the same rows, another one others, and a larger count draws them all again.
    let prompts = |out: &str| -> Vec<String> {
        let rows = folder.split(out, "train").examples;
        rows.into_iter().map(|row| row.prompt).collect()
    };
    prep("again", &weights);
    assert_eq!(prompts("weights"), prompts("again"));
    prep("other", &[&weights[..], &["--seed", "1"]].concat());
    assert_ne!(prompts("weights"), prompts("other"));
    let more: HashSet<String> = prompts("both").into_iter().collect();
    assert!(prompts("counts").iter().all(|prompt| more.contains(prompt)));
    let shown = folder.run(&["show", "counts", "-n", "6"]).events("row");
    let sources: Vec<&Value> = shown.iter().map(|row| &row["source"]).collect();
    assert_eq!(sources[4..], ["a.jsonl", "b.jsonl"]);
    for (more, expected) in [
        (
            &["--take", "b.jsonl=31"][..],
            "it has 30 rows that can be used",
        ),
        (&["--take", "c.jsonl=3"], "this is none of the sources"),
        (
            &["--weight", "a.jsonl=0.5"],
            "b.jsonl has no weight, and others have",
        ),
        (
            &["--take", "a.jsonl=3", "--weight", "a.jsonl=1"],
            "two counts or weights",
        ),
        (&["--weight", "a.jsonl=0"], "a weight is a number above 0"),
    ] {
        let answer = folder.run(&[&["a.jsonl"], &raw[..], &["refused"], more].concat());
        assert_eq!(answer.code, 2);
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
        assert!(!folder.path("refused").exists());
    }
}

//! Files of every kind, and the same bytes through a pipe: the same dataset, or an error, and never a part of it.
use crate::harness::{BASE, Folder, pairs};
use lora_receipt::hash_bytes;
use serde_json::Value;
use std::io::Write as _;

/// The rows of `pairs` as a JSON array and as tables.
fn kinds(rows: &str) -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let values: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().replace('"', "\"\"");
    let table = |separator: char| {
        let mut table = format!("prompt{separator}completion\n");
        for row in &values {
            let (prompt, completion) = (text(row, "prompt"), text(row, "completion"));
            table += &format!("\"{prompt}\"{separator}\"{completion}\"\n");
        }
        table.into_bytes()
    };
    let array = serde_json::to_vec_pretty(&values).unwrap();
    vec![
        ("rows.jsonl", rows.as_bytes().to_vec(), &[]),
        ("rows.json", array, &[]),
        ("rows.csv", table(';'), &["--separator", ";"]),
        ("rows.tsv", table('\t'), &["--separator", "tab"]),
        (
            "rows.jsonl.zst",
            zstd::encode_all(rows.as_bytes(), 3).unwrap(),
            &[],
        ),
    ]
}

#[test]
fn a_pipe_gives_what_the_file_gives() {
    let rows = pairs(60, 1);
    let mut datasets = Vec::new();
    for (name, bytes, flags) in kinds(&rows) {
        let folder = Folder::new();
        folder.write(name, &bytes);
        let answer = folder.prep(name, "file", &[]);
        assert_eq!(answer.code, 0, "{name}: {}", answer.stderr);
        datasets.push(std::fs::read(folder.path("file/train.parquet")).unwrap());
        for (out, more) in [("pipe", &[][..]), ("first", &["--limit", "20"])] {
            let args = [&["-", "--base", BASE, "--out", out], flags, more].concat();
            let answer = folder.pipe(&args, &bytes);
            assert_eq!(answer.code, 0, "{name}: {}", answer.stderr);
            let receipt: Value =
                serde_json::from_str(answer.stdout.lines().last().unwrap()).unwrap();
            let raw = &receipt["inputs"][1];
            assert_eq!(raw["name"], "raw");
            assert_eq!(raw["sha256"], hash_bytes(&bytes), "{name}, {out}");
        }
        let piped = std::fs::read(folder.path("pipe/train.parquet")).unwrap();
        assert_eq!(Some(&piped), datasets.last(), "{name}");
        assert_eq!(folder.manifest("first").rows_read, 20, "{name}");
    }
    assert!(datasets.windows(2).all(|two| two[0] == two[1]));
}

/// What is cut off is more than a row: no flag makes fewer rows of it.
#[test]
fn a_file_that_is_cut_off_is_an_error_also_where_bad_rows_are_skipped() {
    let rows = pairs(2000, 1);
    for (name, bytes, _) in kinds(&rows) {
        let cut = match name {
            "rows.jsonl" | "rows.tsv" => continue, // nothing in them says how long they are
            "rows.csv" => [&bytes[..], b"\"never closed;x\na;b\n"].concat(),
            _ => bytes[..bytes.len() - bytes.len() / 3].to_vec(),
        };
        let folder = Folder::new();
        folder.write(name, cut);
        let answer = folder.prep(name, "out", &["--on-bad-line", "skip"]);
        assert_eq!(answer.code, 2, "{name}: {}", answer.stdout);
        assert!(!folder.path("out").exists());
    }
}

/// A few kilobytes that unpack to half a gigabyte end as soon as that shows.
#[test]
fn a_bomb_is_refused_before_it_is_held() {
    let bomb = |start: &str| {
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        packed.write_all(start.as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 20];
        (0..512).for_each(|_| packed.write_all(&piece).unwrap());
        packed.finish().unwrap()
    };
    for (name, start, expected) in [
        (
            "rows.jsonl.zst",
            "{\"text\": \"",
            "line 1: longer than 64 MiB",
        ),
        (
            "rows.json.zst",
            "[{\"text\": \"",
            "row 1: longer than 64 MiB",
        ),
        ("rows.csv.zst", "text\n", "row 1: longer than 64 MiB"),
        (
            "rows.parquet.zst",
            "PAR1",
            "unpacked it has more than 256 MiB",
        ),
    ] {
        let folder = Folder::new();
        folder.write(name, bomb(start));
        let answer = folder.prep(name, "out", &[]);
        assert_eq!(answer.code, 2, "{name}");
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    }
}

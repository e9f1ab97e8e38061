//! Raw rows in every format, codec and Arrow type that pyarrow writes (fixtures by tests/fixtures/formats/make.py).
use lora_data::{Error, Format, RawRows};
use serde_json::{Map, Value, json};
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/formats")
        .join(name)
}

fn values(rows: RawRows) -> Vec<Value> {
    rows.map(|row| row.unwrap().value).collect()
}

/// Every cell of every type has its value, in a file and in a stream.
#[test]
fn no_type_becomes_another_value() {
    let text = std::fs::read_to_string(fixture("expected.json")).unwrap();
    let expected: Map<String, Value> = serde_json::from_str(&text).unwrap();
    for (file, types) in [
        ("types.parquet", 33),
        ("types-brotli.parquet", 33), // pages of version 2
        ("types.arrow", 38),
    ] {
        let rows = values(RawRows::open(&fixture(file), Format::default()).unwrap());
        assert_eq!(rows.len(), 3);
        let mut checked = 0;
        for (name, cells) in &expected {
            for (row, cell) in rows.iter().zip(cells.as_array().unwrap()) {
                if let Some(made) = row.get(name) {
                    assert_eq!(made, cell, "{file}: {name}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, types * 3, "{file}");
        let keys = rows[0].as_object().unwrap().len();
        assert_eq!(keys, types, "{file}");
    }
    let runs = values(RawRows::open(&fixture("runs.arrow"), Format::default()).unwrap());
    let runs: Vec<&Value> = runs.iter().map(|row| &row["runs"]).collect();
    assert_eq!(runs, [&json!("x"), &json!("y"), &json!("y")]);
}

#[test]
fn what_no_record_holds_is_refused_by_name() {
    let error = RawRows::open(&fixture("union.arrow"), Format::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("column 'either' is a union of types, which no record holds"),
        "{error}"
    );
}

/// The same two rows, from a path and from memory.
#[test]
fn every_codec_and_packing_is_read() {
    let names = [
        "rows-snappy.parquet",
        "rows-gzip.parquet",
        "rows-brotli.parquet",
        "rows-lz4.parquet",
        "rows-zstd.parquet",
        "rows-none.parquet",
        "rows-lz4.feather",
        "rows-zstd.feather",
        "rows-uncompressed.feather",
        "rows.jsonl.gz",
        "rows.jsonl.xz",
        "rows.jsonl.zst",
        "rows.csv.gz",
    ];
    let expected = [
        json!({"prompt": "what is 1", "completion": "one"}),
        json!({"prompt": "what is 2", "completion": "two"}),
    ];
    for name in names {
        let path = fixture(name);
        assert_eq!(
            values(RawRows::open(&path, Format::default()).unwrap()),
            expected,
            "{name}"
        );
        let bytes = std::fs::read(&path).unwrap();
        let rows =
            RawRows::from_reader(Path::new(name), Cursor::new(bytes), Format::default()).unwrap();
        assert_eq!(values(rows), expected, "{name} from memory");
    }
}

/// Whatever is cut off is an error, never fewer rows.
#[test]
fn what_is_cut_off_is_an_error() {
    for name in [
        "rows.jsonl.gz",
        "rows.jsonl.xz",
        "rows.jsonl.zst",
        "rows-zstd.parquet",
        "rows-brotli.parquet",
        "types-brotli.parquet",
        "rows-lz4.feather",
        "types.arrow",
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for keep in [bytes.len() - 1, bytes.len() - 9, bytes.len() / 2] {
            let rows = RawRows::from_reader(
                Path::new(name),
                Cursor::new(bytes[..keep].to_vec()),
                Format::default(),
            );
            let all = rows.and_then(|rows| rows.collect::<Result<Vec<_>, Error>>());
            // The last bytes of a stream say only that it ends.
            let whole = if name == "types.arrow" { 3 } else { usize::MAX };
            let is_whole = all.as_ref().is_ok_and(|rows| rows.len() == whole);
            assert!(
                all.is_err() || is_whole,
                "{name}, {keep} of {}",
                bytes.len()
            );
        }
    }
}

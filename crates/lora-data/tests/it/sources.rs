//! Raw files of every kind give the same rows; what can't be read names its line.
use crate::Noise;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use lora_data::{Format, RawRow, RawRows};
use lora_testkit::Told as _;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn lines(bytes: &[u8]) -> Result<Vec<RawRow>, String> {
    let rows = RawRows::from_reader(
        Path::new("raw.jsonl"),
        Cursor::new(bytes.to_vec()),
        Format::default(),
    )
    .map_err(|e| e.told())?;
    rows.collect::<Result<_, _>>().map_err(|e| e.told())
}

fn values(rows: Vec<RawRow>) -> Vec<Value> {
    rows.into_iter().map(|row| row.value).collect()
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn open(name: &str, bytes: &[u8]) -> Result<Vec<Value>, String> {
    let (_folder, path) = file(name, bytes);
    let rows = RawRows::open(&path, Format::default()).map_err(|e| e.told())?;
    rows.collect::<Result<_, _>>()
        .map(values)
        .map_err(|e| e.told())
}

#[test]
fn blank_lines_crlf_and_a_byte_order_mark_are_taken() {
    let rows = lines(b"\xef\xbb\xbf{\"a\":1}\r\n\r\n  \n{\"a\":2}").unwrap();
    assert_eq!(rows[1].place, "line 4");
    assert_eq!(values(rows), [json!({"a": 1}), json!({"a": 2})]);
    assert_eq!(
        values(lines(b" [ {\"a\": 1},\n {\"a\": 2} ]").unwrap()),
        [json!({"a": 1}), json!({"a": 2})]
    );
    assert_eq!(
        values(lines(b"\n\n{\"a\":1}\n").unwrap()),
        [json!({"a": 1})]
    );
}

#[test]
fn what_is_not_json_names_its_line() {
    for (bytes, expected) in [
        (&b""[..], "raw.jsonl: the file is empty"),
        (
            b"{\"a\":1}\n{\"a\":}\n",
            "raw.jsonl: line 2, column 6: not JSON: expected value",
        ),
        (
            b"{\"a\":1}\nhello\n",
            "raw.jsonl: line 2, column 1: not JSON: expected value",
        ),
        (
            b"{\n  \"a\": 1\n}\n",
            "raw.jsonl: line 1, column 1: not JSON: EOF while parsing an object\nhint: each line",
        ),
        (
            b"{\"a\":1}\n{\"a\":\"\xff\"}\n",
            "raw.jsonl: line 2: not UTF-8 (byte 7 of the line)\nhint: ",
        ),
        (b"{\"a\":NaN}", "raw.jsonl: line 1, column 6: not JSON"),
        (b"[{\"a\":1},\n{]", "raw.jsonl: line 2, column 2: not JSON"),
        (
            b"\x1f\x8b\x08",
            "raw.jsonl: it can't be unpacked: unexpected end of file\nhint: ",
        ),
        (b"PAR1xxxx", "raw.jsonl: no readable parquet file"),
        (b"\xff\xfe{\0", "raw.jsonl: this is UTF-16 text"),
    ] {
        let error = lines(bytes).unwrap_err();
        assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
    }
    let deep = [b"{\"a\":".repeat(500), b"1".to_vec(), b"}".repeat(500)].concat();
    assert!(lines(&deep).unwrap_err().contains("recursion limit"));
}

#[test]
fn a_long_line_is_read_whole() {
    let text = "x".repeat(3 << 20);
    let rows = lines(format!("{{\"text\":\"{text}\"}}\n{{\"text\":\"b\"}}").as_bytes()).unwrap();
    assert_eq!(rows[0].value["text"].as_str().unwrap().len(), 3 << 20);
    assert_eq!(rows.len(), 2);
}

#[test]
fn tables_give_the_rows_that_json_lines_give() {
    let expected = [
        json!({"prompt": "a, \"b\"\nc", "completion": "ü"}),
        json!({"prompt": "007", "completion": ""}),
    ];
    let csv = "prompt,completion\n\"a, \"\"b\"\"\nc\",ü\n007,\n";
    assert_eq!(open("raw.csv", csv.as_bytes()).unwrap(), expected);
    assert_eq!(
        open(
            "raw.csv",
            [b"\xef\xbb\xbf", csv.as_bytes()].concat().as_slice()
        )
        .unwrap(),
        expected
    );
    assert_eq!(
        open(
            "raw.CSV",
            csv.replace('\n', "\r\n")
                .replace("b\"\"\r\nc", "b\"\"\nc")
                .as_bytes()
        )
        .unwrap(),
        expected
    );
    assert_eq!(
        open(
            "raw.tsv",
            "prompt\tcompletion\n\"a, \"\"b\"\"\nc\"\tü\n007\t\n".as_bytes()
        )
        .unwrap(),
        expected
    );

    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "prompt",
            Arc::new(StringArray::from(vec!["a, \"b\"\nc", "007"])),
        ),
        ("completion", Arc::new(StringArray::from(vec!["ü", ""]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert_eq!(open("raw.parquet", &bytes).unwrap(), expected);
    assert!(
        open("raw.parquet", &bytes[..bytes.len() / 2])
            .unwrap_err()
            .contains("no readable parquet file")
    );
}

#[test]
fn broken_tables_are_errors() {
    assert!(
        open("raw.csv", b"")
            .unwrap_err()
            .contains("the file is empty\nhint: a line with the names of the columns")
    );
    assert!(
        open("raw.csv", b"a,b\n1,\xff\n")
            .unwrap_err()
            .contains("line 2: not UTF-8")
    );
    assert!(
        open("raw.csv", b"a,b\n1,2,3\n")
            .unwrap_err()
            .contains("no readable CSV")
    );
    assert!(open("raw.csv", b"prompt,completion\n").unwrap().is_empty());
    let folder = tempfile::tempdir().unwrap();
    assert!(
        RawRows::open(folder.path(), Format::default())
            .unwrap_err()
            .told()
            .contains("this is a folder")
    );
    assert!(
        RawRows::open(&folder.path().join("none"), Format::default())
            .unwrap_err()
            .told()
            .starts_with("failed to open")
    );
}

/// An array read element by element is what it is when it is read at once, and wrong where that is wrong.
#[test]
fn an_array_in_pieces_is_the_array() {
    let mut noise = Noise(3);
    let pieces: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\"a\"",
        "\"]\\\"}\"",
        "1",
        "{\"a\": 1}",
        "null",
        "-2.5e3",
        "{\"a\": [1, {}]}",
        ",",
    ];
    let mut whole = 0;
    for round in 0..60_000 {
        let mut text = "[".to_owned();
        for _ in 0..noise.next() % 12 {
            text += pieces[noise.next() as usize % pieces.len()];
        }
        if round % 4 > 0 {
            text.push(']');
        }
        let at_once: Result<Vec<Value>, _> = serde_json::from_str(&text);
        let rows = RawRows::from_reader(
            Path::new("raw.json"),
            Cursor::new(text.clone().into_bytes()),
            Format::default(),
        );
        let in_pieces: Result<Vec<Value>, String> = rows
            .and_then(|rows| rows.collect::<Result<Vec<_>, _>>())
            .map(values)
            .map_err(|error| error.told());
        match (&at_once, &in_pieces) {
            (Ok(one), Ok(other)) => assert_eq!(one, other, "{text}"),
            (Err(_), Err(_)) => {}
            _ => panic!("{text:?}: {at_once:?}, but {in_pieces:?}"),
        }
        whole += usize::from(at_once.is_ok_and(|rows| rows.len() > 1));
    }
    assert!(whole > 100, "{whole}");
}

/// What comes before and behind what can't be read is read.
#[test]
fn one_bad_row_of_a_table_or_an_array_is_one_error() {
    let read = |name: &str, text: &[u8]| -> Vec<Result<Value, String>> {
        let (_folder, path) = file(name, text);
        let rows = RawRows::open(&path, Format::default()).unwrap();
        rows.map(|row| row.map(|row| row.value).map_err(|error| error.told()))
            .collect()
    };
    for (name, text, place) in [
        (
            "raw.json",
            &b"[{\"a\": \"1\"},\n {bad},\n{\"a\": \"3\"}]"[..],
            "line 2, column 3: not JSON",
        ),
        (
            "raw.json",
            b"[{\"a\": \"1\"}, {\"a\": \"\xff\"}, {\"a\": \"3\"}]",
            "row 2: not UTF-8 (byte 8",
        ),
        (
            "raw.csv",
            b"a\n1\n2,2\n3\n",
            "line 3: 2 values under a header of 1",
        ),
        ("raw.csv", b"a\n1\n\"x\ny\xff\"\n3\n", "line 4: not UTF-8"),
    ] {
        let rows = read(name, text);
        let [Ok(first), Err(said), Ok(third)] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!((first, third), (&json!({"a": "1"}), &json!({"a": "3"})));
        assert!(said.contains(place), "{said}");
    }
    let open = read("raw.csv", b"a\n1\n\"2\n3\n");
    assert!(
        matches!(&open[..], [Ok(_), Err(said)] if said.contains("line 3: a quote is opened")),
        "{open:?}"
    );
}

/// The first line of a table says what stands between its values, unless the caller knows better.
#[test]
fn tables_are_read_with_any_separator() {
    let expected = [json!({"prompt": "a, b; c", "completion": "d"})];
    for (name, text, separator) in [
        ("raw.csv", "prompt;completion\n\"a, b; c\";d\n", None),
        ("raw.csv", "prompt\tcompletion\na, b; c\td\n", None),
        ("raw.csv", "prompt|completion\na, b; c|d\n", None),
        ("raw.tsv", "prompt;completion\n\"a, b; c\";d\n", None),
        ("raw.csv", "prompt^completion\na, b; c^d\n", Some(b'^')),
        ("stream", "prompt|completion\na, b; c|d\n", Some(b'|')),
    ] {
        let (_folder, path) = file(name, text.as_bytes());
        let rows = RawRows::open(&path, Format { separator }).unwrap();
        let rows: Result<Vec<_>, _> = rows.collect();
        assert_eq!(values(rows.unwrap()), expected, "{name}: {text}");
    }
    let two = open("raw.csv", b"a;b,c\n1;2,3\n").unwrap();
    assert_eq!(two, [json!({"a;b": "1;2", "c": "3"})]);
}

#[test]
fn random_bytes_are_errors_and_never_panics() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut noise = Noise(11);
    let pieces: [&[u8]; 12] = [
        b"{", b"}", b"[", b"]", b"\"", b"a", b":", b",", b"\n", b"1e999", b"\\u12", b"\xc3",
    ];
    for round in 0..2000 {
        let bytes = match round % 2 {
            0 => noise.bytes(200),
            _ => (0..noise.next() % 30)
                .flat_map(|_| pieces[noise.next() as usize % pieces.len()].to_vec())
                .collect(),
        };
        let _ = lines(&bytes);
        if round % 8 == 0 {
            let _ = open("raw.csv", &bytes);
            let _ = open("raw.parquet", &bytes);
        }
    }
    let _ = std::panic::take_hook();
}

/// A line of more than 64 MiB is refused before it is parsed, and the rows around it are read.
#[test]
fn a_line_without_end_is_refused_by_its_length() {
    let long = "x".repeat(65 << 20);
    let text = format!("{{\"text\":\"a\"}}\n{{\"text\":\"{long}\"}}\n{{\"text\":\"b\"}}\n");
    let rows = RawRows::from_reader(
        Path::new("raw.jsonl"),
        Cursor::new(text.into_bytes()),
        Format::default(),
    );
    let read: Vec<_> = rows.unwrap().map(|row| row.map_err(|e| e.told())).collect();
    let [Ok(_), Err(said), Ok(_)] = &read[..] else {
        panic!("{} rows", read.len());
    };
    assert!(said.contains("line 2: longer than 64 MiB"), "{said}");
    for (name, text) in [
        ("rows.csv", format!("text\na\n{long}\nb\n")),
        ("rows.json", format!("[\"a\", \"{long}\", \"b\"]")),
    ] {
        let (_folder, path) = file(name, text.as_bytes());
        let rows = RawRows::open(&path, Format::default()).unwrap();
        let read: Vec<_> = rows.map(|row| row.map_err(|e| e.told())).collect();
        let [Ok(_), Err(said), Ok(_)] = &read[..] else {
            panic!("{} rows", read.len());
        };
        assert!(said.contains("row 2: longer than 64 MiB"), "{said}");
    }
    let table = format!("text\na\n\"{long}\nb\n");
    let (_folder, path) = file("rows.csv", table.as_bytes());
    let rows = RawRows::open(&path, Format::default()).unwrap();
    let read: Vec<_> = rows.map(|row| row.map_err(|e| e.told())).collect();
    let [Ok(_), Err(long), Err(open)] = &read[..] else {
        panic!("{} rows", read.len());
    };
    assert!(long.contains("row 2: longer than 64 MiB"), "{long}");
    assert!(
        open.contains("line 3: a quote is opened and never closed"),
        "{open}"
    );
}

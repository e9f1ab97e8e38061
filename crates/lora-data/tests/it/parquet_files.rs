//! Laws of the dataset files: what was written is read again, and nothing else is.
use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, LargeListBuilder, ListBuilder, RecordBatch, StringArray,
};
use lora_checkpoint::{Chat, template_sha256};
use lora_data::{Error, Example, Format, IGNORE, RawRows, Split};
use lora_testkit::Told as _;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn example(ids: &[u32], prompt: usize) -> Example {
    let labels = ids
        .iter()
        .enumerate()
        .map(|(at, id)| if at < prompt { IGNORE } else { *id as i32 })
        .collect();
    Example {
        input_ids: ids.to_vec(),
        labels,
        id: "0123456789abcdef".into(),
        group: "g".repeat(64),
        prompt: "q: ü\n".into(),
        completion: "a🦀".into(),
    }
}

/// To the byte: with white space at its ends.
const TEMPLATE: &str = " {{ messages }}\r\n\n";

fn split() -> Split {
    Split {
        examples: vec![
            example(&[5, 6, 7], 1),
            example(&[1, 2], 0),
            example(&[9; 400], 399),
        ],
        tokenizer_sha256: Some("aaaaaaaaaaaabbbb".into()),
        template_sha256: Some(template_sha256(TEMPLATE)),
        chat: Some(Chat {
            template: Some(TEMPLATE.into()),
            system: Some("Kurz,\nbitte.".into()),
        }),
    }
}

fn message(error: Error) -> String {
    error.told()
}

/// Writes columns as a parquet file of somebody else's.
fn foreign(file: &Path, columns: Vec<(&str, ArrayRef)>, metadata: &[(&str, &str)]) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let pairs = metadata
        .iter()
        .map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned()))
        .collect();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(pairs))
        .build();
    let mut writer = ArrowWriter::try_new(
        std::fs::File::create(file).unwrap(),
        batch.schema(),
        Some(properties),
    )
    .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn lists(rows: &[&[i32]]) -> ArrayRef {
    let mut builder = ListBuilder::new(Int32Builder::new());
    for row in rows {
        builder.values().append_slice(row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn large_lists(rows: &[&[i64]]) -> ArrayRef {
    let mut builder = LargeListBuilder::new(Int64Builder::new());
    for row in rows {
        builder.values().append_slice(row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("train.parquet");
    (folder, file)
}

#[test]
fn save_then_load_is_the_identity() {
    let (folder, file) = file();
    let mut large = split();
    large.examples = (0..10_000)
        .map(|row| example(&[row, row + 1, row + 2], 1))
        .collect();
    for split in [split(), large] {
        split.write(&file).unwrap();
        assert_eq!(Split::read(folder.path(), "train").unwrap(), split);
        assert_eq!(Split::read(&file, "ignored").unwrap(), split);
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let (folder, file) = file();
    let again = folder.path().join("again");
    split().write(&file).unwrap();
    split().write(&again).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), std::fs::read(again).unwrap());
}

#[test]
fn a_plain_parquet_of_either_list_and_integer_type_is_accepted() {
    let (_folder, file) = file();
    foreign(
        &file,
        vec![
            ("input_ids", lists(&[&[1, 2], &[3, 4]])),
            ("labels", lists(&[&[-100, 2], &[3, 4]])),
        ],
        &[],
    );
    let small = Split::read(&file, "").unwrap();
    foreign(
        &file,
        vec![
            ("id", Arc::new(arrow::array::Int64Array::from(vec![1, 2]))),
            ("labels", large_lists(&[&[-100, 2], &[3, 4]])),
            ("input_ids", large_lists(&[&[1, 2], &[3, 4]])),
        ],
        &[],
    );
    let large = Split::read(&file, "").unwrap();
    assert_eq!(small, large);
    assert_eq!(small.examples[0].input_ids, [1, 2]);
    assert_eq!(small.examples[0].prompt_ids(), [1]);
    assert_eq!(small.examples[1].supervised(), 1);
    assert!(small.tokenizer_sha256.is_none());
    small.check_tokenizer("anything", &file).unwrap();
}

#[test]
fn what_is_no_dataset_is_refused_by_row_and_column() {
    let (_folder, file) = file();
    let ids = || ("input_ids", lists(&[&[1, 2], &[3, 4]]));
    let labels = || ("labels", lists(&[&[1, 2], &[3, 4]]));
    let mut with_null = ListBuilder::new(Int32Builder::new());
    with_null.append_value([Some(1), None]);
    with_null.append(false);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1 2", "3 4"]));
    let cases: Vec<(Vec<(&str, ArrayRef)>, &str)> = vec![
        (
            vec![ids()],
            "column 'labels' is missing; the columns are: input_ids",
        ),
        (
            vec![("input_ids", text), labels()],
            "column 'input_ids' is Utf8, not a list of int32 or int64",
        ),
        (
            vec![ids(), ("labels", lists(&[&[1, 2], &[3]]))],
            "row 2: input_ids has 2 values but labels has 1",
        ),
        (
            vec![ids(), ("labels", lists(&[&[1, 2], &[4, -100]]))],
            "row 2: labels[0] is 4 but input_ids[0] is 3",
        ),
        (
            vec![ids(), ("labels", lists(&[&[1, -100], &[3, 4]]))],
            "row 1: no token is supervised",
        ),
        (
            vec![("input_ids", lists(&[&[1, 2], &[-3, 4]])), labels()],
            "row 2, column 'input_ids': value 0 is -3",
        ),
        (
            vec![
                ("input_ids", large_lists(&[&[1, 2], &[3, 1 << 40]])),
                labels(),
            ],
            "row 2, column 'input_ids': value 1 is 1099511627776",
        ),
        (
            vec![
                ("input_ids", lists(&[&[], &[1]])),
                ("labels", lists(&[&[], &[1]])),
            ],
            "row 1: input_ids is empty",
        ),
        (
            vec![ids(), ("labels", Arc::new(with_null.finish()))],
            "row 1, column 'labels': a null stands in the list",
        ),
        (
            vec![("input_ids", lists(&[])), ("labels", lists(&[]))],
            "the file has no rows",
        ),
    ];
    for (columns, expected) in cases {
        foreign(&file, columns, &[]);
        let error = message(Split::read(&file, "").unwrap_err());
        assert!(
            error.contains(expected) && error.contains("train.parquet: "),
            "{error:?} lacks {expected:?}"
        );
    }
}

#[test]
fn another_schema_version_is_refused() {
    let (_folder, file) = file();
    let columns = || {
        vec![
            ("input_ids", lists(&[&[1, 2]])),
            ("labels", lists(&[&[1, 2]])),
        ]
    };
    foreign(&file, columns(), &[("lora.schema", "2")]);
    assert!(
        message(Split::read(&file, "").unwrap_err())
            .contains("lora.schema is \"2\", but only 1 is known\nhint: ")
    );
    foreign(&file, columns(), &[("lora.schema", "1")]);
    assert!(message(Split::read(&file, "").unwrap_err()).contains("column 'id' is missing"));
}

#[test]
fn what_is_not_known_of_the_chats_is_not_taken_for_none() {
    let (_folder, file) = file();
    let read = |metadata: &[(&str, &str)]| {
        let columns = vec![
            ("input_ids", lists(&[&[1, 2]])),
            ("labels", lists(&[&[1, 2]])),
        ];
        foreign(&file, columns, metadata);
        Split::read(&file, "").map(|split| split.chat)
    };
    assert_eq!(read(&[]).unwrap(), None, "a plain parquet");
    let mut ids = split();
    (ids.tokenizer_sha256, ids.template_sha256) = (None, None);
    ids.chat = Some(Chat::default());
    ids.write(&file).unwrap();
    assert_eq!(Split::read(&file, "").unwrap().chat, None, "ids alone");
    let mut split = split();
    let mut written = |chat: Option<Chat>, hash: Option<String>| {
        (split.chat, split.template_sha256) = (chat, hash);
        split.write(&file).unwrap();
        Split::read(&file, "").unwrap().chat
    };
    assert_eq!(written(None, Some("t".into())), None, "a dataset of before");
    let bare = Chat::default();
    assert_eq!(written(Some(bare.clone()), None), Some(bare), "joined");
    let with_system = Chat {
        template: None,
        system: Some(String::new()),
    };
    assert_eq!(written(Some(with_system.clone()), None), Some(with_system));
}

#[test]
fn a_template_with_the_hash_of_another_is_refused() {
    let (_folder, file) = file();
    let mut other = split();
    other.template_sha256 = Some("0".repeat(64));
    other.write(&file).unwrap();
    let error = message(Split::read(&file, "").unwrap_err());
    assert!(
        error.contains("lora.template is not the template of lora.template_sha256"),
        "{error}"
    );
}

#[test]
fn another_tokenizer_is_refused() {
    let path = Path::new("data");
    split().check_tokenizer("aaaaaaaaaaaabbbb", path).unwrap();
    let error = message(
        split()
            .check_tokenizer("ffffffffffffffff", path)
            .unwrap_err(),
    );
    assert_eq!(
        error.lines().next().unwrap(),
        "data: the dataset was made with another tokenizer (aaaaaaaaaaaa…) than the base's (ffffffffffff…)"
    );
    split().check_vocabulary(10, path).unwrap();
    assert!(
        message(split().check_vocabulary(9, path).unwrap_err())
            .contains("row 3: token id 9 is outside the model's vocabulary of 9")
    );
}

#[test]
fn missing_splits_and_files_are_named() {
    let (folder, file) = file();
    assert!(
        message(Split::read(folder.path(), "train").unwrap_err())
            .contains("no split 'train' (train.parquet)\nhint: ")
    );
    split().write(&file).unwrap();
    assert!(
        message(Split::read(folder.path(), "valid").unwrap_err())
            .ends_with("hint: splits here: train")
    );
    assert!(
        message(Split::read(&folder.path().join("none"), "train").unwrap_err())
            .starts_with("failed to open")
    );
    assert!(matches!(
        split().write(&folder.path().join("no/such/train.parquet")),
        Err(Error::Io { .. })
    ));
}

#[test]
fn a_row_that_no_reader_takes_is_not_written() {
    let (_folder, file) = file();
    let mut broken = split();
    broken.examples[1].labels.pop();
    assert!(
        message(broken.write(&file).unwrap_err())
            .contains("row 2: input_ids has 2 values but labels has 1")
    );
    assert!(!file.exists());
}

/// A dictionary of 40 bytes that claims 1.7 billion values would take 7 GB before the first is read.
#[test]
fn what_pages_claim_is_no_reason_to_take_memory() {
    let file =
        lora_testkit::repository("fuzz/seeds/parquet/dictionary-of-1744830464-values.parquet");
    let claims = "bytes claims 1744830464 values";
    let said = message(Split::read(&file, "train").unwrap_err());
    assert!(said.contains(claims), "{said}");
    let said = message(lora_data::read_column(&file, "train", "input_ids").unwrap_err());
    assert!(said.contains(claims), "{said}");
    let mut rows = RawRows::open(&file, Format::default()).unwrap();
    let said = message(rows.next().unwrap().unwrap_err());
    assert!(said.contains(claims), "{said}");
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let (folder, file) = file();
    split().write(&file).unwrap();
    let good = std::fs::read(&file).unwrap();
    let damaged = folder.path().join("damaged.parquet");
    std::panic::set_hook(Box::new(|_| {}));
    for cut in (0..good.len()).step_by(7) {
        std::fs::write(&damaged, &good[..cut]).unwrap();
        assert!(Split::read(&damaged, "").is_err(), "cut at {cut}");
    }
    let mut state = 1u64;
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= (state >> 20) as u8;
        }
        std::fs::write(&damaged, &bytes).unwrap();
        // Any answer but a panic: a flipped byte in a text or in padding can go unseen.
        let _ = Split::read(&damaged, "");
    }
    let _ = std::panic::take_hook();
}

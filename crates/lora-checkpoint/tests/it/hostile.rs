//! Bytes from outside: cut off, flipped and lying files give an error or a model, never a panic.
use crate::families::storable;
use crate::support::{Random, config, keep, model, write_folder};
use lora_checkpoint::{Checkpoint, GgufDtype, save_gguf};
use lora_testkit::Told as _;
use std::path::Path;

/// Opens and, if that works, reads everything. What is refused is refused with one hint.
fn try_all(path: &Path) -> bool {
    let model = match Checkpoint::open(path) {
        Ok(model) => model,
        Err(error) => {
            assert_eq!(error.told().matches("\nhint: ").count(), 1, "{error}");
            return false;
        }
    };
    for name in model.tensor_names() {
        let _ = model.tensor(&name).unwrap().to_f32();
    }
    for rope in &model.config().ropes {
        let _ = [1, 100_000].map(|length| rope.inverse_frequencies(rope.variant(length)));
    }
    if let Ok(tokenizer) = model.tokenizer() {
        let _ = tokenizer.tokenizer.encode("the list 12 <|im_end|>", true);
    }
    true
}

#[test]
fn cut_and_flipped_gguf_files_never_panic() {
    for config in std::iter::once(config()).chain(storable()) {
        cut_and_flip(&config);
    }
}

fn cut_and_flip(config: &serde_json::Value) {
    let (dir, source) = model(config);
    let path = dir.path().join("whole.gguf");
    save_gguf(&path, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let path = dir.path().join("bad.gguf");
    let mut random = Random(1);
    let header = 16_000.min(whole.len());
    for _ in 0..40 {
        std::fs::write(&path, &whole[..random.below(whole.len())]).unwrap();
        assert!(!try_all(&path));
    }
    let mut opened = 0;
    for round in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..1 + round % 3 {
            let at = if round % 2 == 0 {
                random.below(2_000)
            } else {
                random.below(header)
            };
            bytes[at] = random.next() as u8;
        }
        std::fs::write(&path, bytes).unwrap();
        opened += usize::from(try_all(&path));
    }
    assert!(opened < 200);
}

#[test]
fn cut_and_flipped_folders_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let configs = storable().into_iter().map(|config| (config, "config.json"));
    let files = [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    for (config, file) in files
        .into_iter()
        .map(|file| (config(), file))
        .chain(configs)
    {
        write_folder(dir.path(), &config);
        let path = dir.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        for round in 0..200 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(random.below(whole.len()));
            } else {
                let at = random.below(whole.len().min(4_000));
                bytes[at] = random.next() as u8;
            }
            std::fs::write(&path, bytes).unwrap();
            try_all(dir.path());
        }
    }
}

fn gguf(parts: &[&[u8]]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, parts.concat()).unwrap();
    Checkpoint::open(&path).unwrap_err().told()
}

#[test]
fn lying_gguf_headers_are_errors_at_once() {
    let huge = u64::MAX.to_le_bytes();
    let version = 3u32.to_le_bytes();
    assert!(gguf(&[b""]).contains("empty"));
    assert!(gguf(&[b"GGML0000"]).contains("not a GGUF"));
    assert!(gguf(&[b"GGUF", &1u32.to_le_bytes(), &huge]).contains("version 1"));
    assert!(gguf(&[b"GGUF", &3u32.to_be_bytes(), &huge]).contains("big-endian"));
    assert!(gguf(&[b"GGUF", &version, &huge, &huge]).contains("ends in the middle"));
    let zero = 0u64.to_le_bytes();
    assert!(gguf(&[b"GGUF", &version, &huge, &zero]).contains("ends in the middle"));
    assert!(
        gguf(&[b"GGUF", &version, &zero, &1u64.to_le_bytes(), &huge])
            .contains("ends in the middle")
    );
    // An array that claims 2^64 - 1 texts.
    let key = [
        &1u64.to_le_bytes()[..],
        b"k",
        &9u32.to_le_bytes(),
        &8u32.to_le_bytes(),
        &huge,
    ]
    .concat();
    assert!(
        gguf(&[b"GGUF", &version, &zero, &1u64.to_le_bytes(), &key]).contains("ends in the middle")
    );
    // A tensor of 2^63 × 2^63 values.
    let name = [&1u64.to_le_bytes()[..], b"t", &2u32.to_le_bytes()].concat();
    let dims = (1u64 << 63).to_le_bytes();
    let row = [&name[..], &dims, &dims, &0u32.to_le_bytes(), &zero].concat();
    assert!(gguf(&[b"GGUF", &version, &1u64.to_le_bytes(), &zero, &row]).contains("does not fit"));
}

/// One metadata value, an array of a type with so many values that the file does or doesn't hold.
fn array_of(kind: u32, count: u64, bytes: usize) -> String {
    let one = 1u64.to_le_bytes();
    let zero = 0u64.to_le_bytes();
    let (array, kind) = (9u32.to_le_bytes(), kind.to_le_bytes());
    let head = [b"GGUF", &3u32.to_le_bytes()[..], &zero, &one, &one, b"k"].concat();
    gguf(&[&head, &array, &kind, &count.to_le_bytes(), &vec![0; bytes]])
}

#[test]
fn arrays_that_claim_more_than_the_file_holds_are_refused_before_they_are_read() {
    let kinds = (0..=12).filter(|kind| *kind != 9);
    for kind in kinds {
        for count in [4_000_001, u64::MAX, u64::MAX / 8 + 2] {
            let message = array_of(kind, count, 4_000_000);
            assert!(
                message.contains("ends in the middle"),
                "type {kind}: {message}"
            );
        }
    }
}

#[test]
fn more_tensors_than_any_model_has_are_refused() {
    let version = 3u32.to_le_bytes();
    let zero = 0u64.to_le_bytes();
    let tensors = (1u64 << 20) + 1;
    let message = gguf(&[
        b"GGUF",
        &version,
        &tensors.to_le_bytes(),
        &zero,
        &vec![0; 32 * tensors as usize],
    ]);
    assert!(message.contains("more than any model has"), "{message}");
}

/// Peak of what this process holds, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kib.unwrap().parse::<usize>().unwrap()
}

/// An array of bytes once took 32 times the file's size.
#[cfg(target_os = "linux")]
#[test]
fn an_array_takes_no_more_memory_than_the_file() {
    let bytes = 256 << 20;
    let before = peak_memory();
    let message = array_of(0, bytes as u64, bytes);
    assert!(message.contains("hint:"), "{message}");
    let taken = peak_memory() - before;
    assert!(taken < 6 * bytes, "{} MB", taken >> 20); // the test's own copies are among it
}

fn safetensors(header: &str, data: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &config());
    let bytes = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &vec![0; data],
    ]
    .concat();
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    Checkpoint::open(dir.path()).unwrap_err().told()
}

#[test]
fn lying_safetensors_headers_are_errors() {
    let entry = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    assert!(
        safetensors(&two(entry("a", 0, 8), entry("b", 4, 12)), 12)
            .contains("not a whole safetensors file")
    );
    assert!(
        safetensors(&two(entry("a", 0, 8), entry("b", 8, 16)), 12)
            .contains("not a whole safetensors file")
    );
    assert!(safetensors(&two(entry("a", 0, 8), entry("a", 0, 8)), 8).contains("listed twice"));
    assert!(
        safetensors(
            r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#,
            8
        )
        .contains("dtype")
    );
    assert!(safetensors("{}", 0).contains("is missing"));
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &config());
    for length in [u64::MAX, 1 << 40, 200] {
        std::fs::write(
            dir.path().join("model.safetensors"),
            [&length.to_le_bytes()[..], b"{}"].concat(),
        )
        .unwrap();
        assert!(
            Checkpoint::open(dir.path())
                .unwrap_err()
                .told()
                .contains("hint:")
        );
    }
}

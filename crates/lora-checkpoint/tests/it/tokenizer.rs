//! Tokenizers: SentencePiece from GGUF against the sentencepiece library, chat templates, refusals.
use crate::support::{config, config_with, keep, model, tokenizer, write_folder};
use lora_checkpoint::gguf::Value;
use lora_checkpoint::{Checkpoint, GgufDtype, GgufTensor, gguf, save_gguf, write_gguf};
use lora_testkit::Told as _;
use serde_json::json;
use std::path::Path;

/// Writes a model with the given tokenizer metadata in place of its own.
fn write_with(path: &Path, metadata: Vec<(&str, Value)>) {
    let (_dir, source) = model(&config_with(
        json!({"vocab_size": 380, "tie_word_embeddings": true}),
    ));
    let shape = |key: &str, n: u32| (format!("llama.{key}"), Value::U32(n));
    let mut all = vec![
        (
            "general.architecture".to_owned(),
            Value::String("llama".to_owned()),
        ),
        shape("block_count", 2),
        shape("context_length", 512),
        shape("embedding_length", 64),
        shape("feed_forward_length", 96),
        shape("attention.head_count", 4),
        shape("attention.head_count_kv", 2),
        (
            "llama.attention.layer_norm_rms_epsilon".to_owned(),
            Value::F32(1e-5),
        ),
    ];
    all.extend(
        metadata
            .into_iter()
            .map(|(k, v)| (format!("tokenizer.ggml.{k}"), v)),
    );
    let weights = source.config().weights();
    let tensors: Vec<GgufTensor> = weights
        .iter()
        .map(|(name, shape)| GgufTensor {
            name: gguf::tensor_name(source.config(), name).unwrap(),
            shape: shape.clone(),
            dtype: GgufDtype::F32,
        })
        .collect();
    write_gguf(path, &all, &tensors, |_, _, rows| {
        rows.fill(0.5);
        Ok::<_, lora_checkpoint::Error>(())
    })
    .unwrap();
}

fn strings(list: &serde_json::Value) -> Value {
    Value::Strings(
        list.as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap().to_owned())
            .collect(),
    )
}

/// sentencepiece.json was written by tests/fixtures/make_sentencepiece.py.
#[test]
fn sentencepiece_from_gguf_is_the_librarys() {
    let fixture = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/sentencepiece.json"
    ))
    .unwrap();
    let fixture: serde_json::Value = serde_json::from_str(&fixture).unwrap();
    let numbers = |key: &str| {
        fixture[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap())
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write_with(
        &path,
        vec![
            ("model", Value::String("llama".to_owned())),
            ("tokens", strings(&fixture["tokens"])),
            (
                "scores",
                Value::F32s(numbers("scores").map(|n| n as f32).collect()),
            ),
            (
                "token_type",
                Value::I32s(numbers("token_type").map(|n| n as i32).collect()),
            ),
            ("bos_token_id", Value::U32(1)),
            ("eos_token_id", Value::U32(2)),
            ("unknown_token_id", Value::U32(0)),
        ],
    );
    let from_gguf = Checkpoint::open(&path).unwrap();
    let folder = dir.path().join("hf");
    std::fs::create_dir(&folder).unwrap();
    lora_checkpoint::save_folder(
        &folder,
        &from_gguf,
        lora_checkpoint::SaveDtype::F32,
        |_, _, _| Ok::<_, lora_checkpoint::Error>(()),
    )
    .unwrap();
    let again = dir.path().join("again.gguf");
    save_gguf(
        &again,
        &Checkpoint::open(&folder).unwrap(),
        GgufDtype::F16,
        "m",
        keep,
    )
    .unwrap();
    // Gemma's tokenizer.json also splits at spaces, of which its normalizer leaves none.
    let (gemma, stored) = (dir.path().join("gemma"), dir.path().join("gemma.gguf"));
    std::fs::create_dir(&gemma).unwrap();
    for file in std::fs::read_dir(&folder)
        .unwrap()
        .map(|f| f.unwrap().path())
    {
        std::fs::copy(&file, gemma.join(file.file_name().unwrap())).unwrap();
    }
    let json = std::fs::read(gemma.join("tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json["pre_tokenizer"] = json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
    std::fs::write(gemma.join("tokenizer.json"), json.to_string()).unwrap();
    save_gguf(
        &stored,
        &Checkpoint::open(&gemma).unwrap(),
        GgufDtype::F16,
        "m",
        keep,
    )
    .unwrap();
    let mut cases = 0;
    for path in [&path, &folder, &again, &stored] {
        let bundle = Checkpoint::open(path).unwrap().tokenizer().unwrap();
        assert!(bundle.add_bos_token);
        for case in fixture["cases"].as_array().unwrap() {
            let text = case[0].as_str().unwrap();
            let expected: Vec<u32> = case[1]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap() as u32)
                .collect();
            let encoding = bundle.tokenizer.encode(text, false).unwrap();
            assert_eq!(
                encoding.get_ids(),
                expected,
                "{text:?} from {}",
                path.display()
            );
            assert_eq!(
                bundle.tokenizer.decode(&expected, true).unwrap(),
                text.replace('▁', " ")
            );
            cases += 1;
        }
        assert_eq!(
            bundle.tokenizer.encode("the", true).unwrap().get_ids()[0],
            1
        );
    }
    assert_eq!(cases, 44);
}

#[test]
fn unknown_pre_tokenizers_are_refused_both_ways() {
    let (dir, _) = model(&config());
    let path = dir.path().join("bad.gguf");
    let tokens = Value::Strings((0..380).map(|i| format!("t{i}")).collect());
    write_with(
        &path,
        vec![
            ("model", Value::String("gpt2".to_owned())),
            ("pre", Value::String("tomorrow".to_owned())),
            ("tokens", tokens),
            ("merges", Value::Strings(Vec::new())),
        ],
    );
    let error = Checkpoint::open(&path)
        .unwrap()
        .tokenizer()
        .unwrap_err()
        .told();
    assert!(
        error.contains("\"tomorrow\"") && error.contains("hint:"),
        "{error}"
    );
    let mut json = tokenizer();
    json["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = json!(false);
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    let source = Checkpoint::open(dir.path()).unwrap();
    let error = save_gguf(&path, &source, GgufDtype::F32, "m", keep)
        .unwrap_err()
        .told();
    assert!(error.contains("pre-tokenizer is not known"), "{error}");
}

/// tests/oracle/pretokenizers.py holds the ids of each against llama.cpp's.
#[test]
fn pre_tokenizers_have_llama_cpps_names_in_every_spelling() {
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+";
    let rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let gpt4 = format!(r"{words}|\p{{N}}{{1,3}}{rest}");
    let seed =
        format!("{words}|\\p{{N}}{{1}}| ?[^\\s\\p{{L}}\\p{{N}}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+");
    let split = |regex: &str, behavior: &str, invert: bool| {
        json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]})
    };
    let written = |pre_tokenizer: serde_json::Value| {
        let (dir, _) = model(&config());
        let mut json = tokenizer();
        json["pre_tokenizer"] = pre_tokenizer;
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        let (source, path) = (
            Checkpoint::open(dir.path()).unwrap(),
            dir.path().join("m.gguf"),
        );
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).map_err(|e| e.to_string())?;
        let file = gguf::GgufFile::open(&path).unwrap();
        let pre = file.metadata("tokenizer.ggml.pre").unwrap();
        Ok::<_, String>(pre.as_str().unwrap().to_owned())
    };
    let known = [
        (split(&gpt4, "Isolated", false), "smaug-bpe"),
        (split(&gpt4, "Removed", true), "smaug-bpe"),
        (split(&seed, "Isolated", false), "seed-coder"),
    ];
    for (structure, name) in known {
        assert_eq!(written(structure).unwrap(), name);
    }
    // What lies between matches is lost here, and kept there.
    for other in [
        split(r"\p{L}+", "Removed", true),
        split(&gpt4, "Removed", false),
    ] {
        assert!(written(other).unwrap_err().contains("is not known"));
    }
}

#[test]
fn chat_templates_are_found_where_transformers_puts_them() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &config());
    let template = || {
        Checkpoint::open(dir.path())
            .unwrap()
            .tokenizer()
            .unwrap()
            .chat_template
    };
    assert_eq!(template().as_deref(), Some("{{ messages }}"));
    let named = json!({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]});
    std::fs::write(dir.path().join("tokenizer_config.json"), named.to_string()).unwrap();
    assert_eq!(template().as_deref(), Some("D"));
    std::fs::write(dir.path().join("chat_template.jinja"), "J\n").unwrap();
    assert_eq!(template().as_deref(), Some("J\n"));
}

#[test]
fn the_template_of_a_processor_is_the_last_that_is_looked_for() {
    let (dir, _) = model(&config());
    let of_processor = dir.path().join("chat_template.json");
    std::fs::write(&of_processor, json!({"chat_template": "P"}).to_string()).unwrap();
    let tokenizer = || Checkpoint::open(dir.path()).unwrap().tokenizer();
    assert_eq!(
        tokenizer().unwrap().chat_template.as_deref(),
        Some("{{ messages }}")
    );
    std::fs::write(dir.path().join("tokenizer_config.json"), "{}").unwrap();
    assert_eq!(tokenizer().unwrap().chat_template.as_deref(), Some("P"));
    let copy = tempfile::tempdir().unwrap();
    tokenizer().unwrap().write(copy.path()).unwrap();
    let written = std::fs::read_to_string(copy.path().join("chat_template.jinja"));
    assert_eq!(written.unwrap(), "P", "where every reader finds it");
    std::fs::write(&of_processor, "[]").unwrap();
    let error = tokenizer().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("chat_template.json"), "{error}");
}

#[test]
fn a_folder_tokenizer_is_copied_unchanged() {
    let (dir, source) = model(&config());
    let copy = tempfile::tempdir().unwrap();
    let files = source.tokenizer().unwrap().write(copy.path()).unwrap();
    assert_eq!(files.len(), 2);
    for file in files {
        let name = file.file_name().unwrap();
        assert_eq!(
            std::fs::read(&file).unwrap(),
            std::fs::read(dir.path().join(name)).unwrap()
        );
    }
}

#[test]
fn a_merge_longer_than_every_token_is_an_error() {
    let (dir, source) = model(&config());
    let mut json = tokenizer();
    json["model"]["merges"] = json!([["<|endoftext|>", "<|endoftext|>"]]);
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    assert!(source.tokenizer().unwrap_err().told().contains("merge"));
}

//! Metadata of GGUF files that changes the model is read or refused.
use crate::absent::plain;
use crate::support::{config_with, keep, model};
use lora_checkpoint::gguf::{GgufFile, Value as Meta};
use lora_checkpoint::{
    Checkpoint, Error, GgufDtype, GgufTensor, ModelConfig, save_gguf, write_gguf,
};
use lora_testkit::Told as _;
use serde_json::{Value, json};

/// Copies a llama GGUF file with other metadata.
fn with_metadata(path: &std::path::Path, more: &[(&str, Meta)]) -> Result<ModelConfig, String> {
    with_metadata_of(&config_with(json!({})), path, more)
}

/// Copies a model's GGUF file with other metadata.
fn with_metadata_of(
    config: &Value,
    path: &std::path::Path,
    more: &[(&str, Meta)],
) -> Result<ModelConfig, String> {
    let (dir, source) = model(config);
    let plain = dir.path().join("m.gguf");
    save_gguf(&plain, &source, GgufDtype::F32, "m", keep).unwrap();
    let file = GgufFile::open(&plain).unwrap();
    let mut metadata: Vec<(String, Meta)> = file
        .all_metadata()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    metadata.retain(|(key, _)| more.iter().all(|(own, _)| own != key));
    metadata.extend(
        more.iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
    let names: Vec<&str> = file.tensor_names().collect();
    let tensor = |name: &&str| GgufTensor {
        name: (*name).to_owned(),
        shape: file.tensor(name).unwrap().shape().to_vec(),
        dtype: GgufDtype::F32,
    };
    let tensors: Vec<GgufTensor> = names.iter().map(tensor).collect();
    write_gguf(path, &metadata, &tensors, |index, first, rows| {
        file.tensor(names[index]).unwrap().read_rows(first, rows);
        Ok::<_, Error>(())
    })
    .unwrap();
    Checkpoint::open(path)
        .map(|c| c.config().clone())
        .map_err(|e| e.told())
}

#[test]
fn gguf_metadata_that_changes_the_model_is_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    for (key, value, neutral) in [
        ("llama.attention.scale", Meta::F32(0.2), Meta::F32(0.0)),
        ("llama.attention.clamp_kqv", Meta::F32(8.0), Meta::F32(0.0)),
        ("llama.key_multiplier", Meta::F32(0.5), Meta::F32(1.0)),
        ("llama.ssm.has_mup", Meta::Bool(true), Meta::Bool(false)),
        (
            "llama.attention.max_alibi_bias",
            Meta::F32(8.0),
            Meta::F32(0.0),
        ),
        (
            "llama.attention.causal",
            Meta::Bool(false),
            Meta::Bool(true),
        ),
        ("llama.embedding_scale", Meta::F32(12.0), Meta::F32(1.0)),
        ("llama.residual_scale", Meta::F32(0.2), Meta::F32(1.0)),
        ("llama.logit_scale", Meta::F32(0.1), Meta::F32(1.0)),
        (
            "llama.use_parallel_residual",
            Meta::Bool(true),
            Meta::Bool(false),
        ),
        (
            "llama.rope.scaling.attn_factor",
            Meta::F32(1.5),
            Meta::F32(1.0),
        ),
    ] {
        let error = with_metadata(&path, &[(key, value)]).expect_err(key);
        assert!(error.contains(key), "{error}");
        with_metadata(&path, &[(key, neutral)]).unwrap();
    }
    // llama.cpp's converter repeats numbers for each layer in files of some families.
    let key = "llama.attention.head_count_kv";
    let config = with_metadata(&path, &[(key, Meta::I32s(vec![2, 2]))]).unwrap();
    assert_eq!(config.num_key_value_heads, 2);
    for list in [vec![2, 1], vec![2, -2], Vec::new()] {
        let error = with_metadata(&path, &[(key, Meta::I32s(list))]).unwrap_err();
        assert!(error.contains(key), "{error}");
    }
    // Experts make it a Mixtral, which must have all of them.
    let error = with_metadata(&path, &[("llama.expert_count", Meta::U32(8))]).unwrap_err();
    assert!(error.contains("no llama.expert_used_count"), "{error}");
    with_metadata(&path, &[("llama.expert_count", Meta::U32(0))]).unwrap();
    // llama.cpp scales linearly where a file names a factor and no type, under the old key, too.
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        let config = with_metadata(&path, &[(key, Meta::F32(4.0))]).unwrap();
        let plain = 10_000f32.powf(-2.0 / 16.0);
        assert!(
            (config.ropes[0].inverse_frequencies(0)[1] - plain / 4.0).abs() < 1e-6,
            "{key}"
        );
    }
}

/// Granite's switch of the rotary embedding; elsewhere it says how the model was trained.
#[test]
fn a_granite_file_without_a_rotary_embedding_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    for family in ["granite", "granitemoe"] {
        let config = plain(family);
        let key = format!("{family}.rope.scaling.finetuned");
        let with = |on| with_metadata_of(&config, &path, &[(&key, Meta::Bool(on))]);
        let error = with(false).unwrap_err();
        assert!(error.contains(&key), "{error}");
        with(true).unwrap();
    }
    with_metadata(
        &path,
        &[("llama.rope.scaling.finetuned", Meta::Bool(false))],
    )
    .unwrap();
}

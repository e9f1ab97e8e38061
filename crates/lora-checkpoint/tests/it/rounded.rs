//! Weights that a type cannot hold are refused, and those that it rounds are said.
use crate::support::{config_with, keep, model, tokenizer};
use lora_checkpoint::{
    Checkpoint, Error, GgufDtype, SaveDtype, TensorView, save_folder, save_gguf,
};
use lora_testkit::Told as _;
use serde_json::json;

/// A model whose weights are what `edit` makes of them, in `dtype`.
fn edited(dtype: SaveDtype, edit: fn(&str, &mut [f32])) -> (tempfile::TempDir, Checkpoint) {
    let (_own, source) = model(&config_with(json!({})));
    let dir = tempfile::tempdir().unwrap();
    let change = |view: &TensorView<'_>, _: usize, rows: &mut [f32]| {
        edit(view.name(), rows);
        Ok::<_, Error>(())
    };
    save_folder(dir.path(), &source, dtype, change).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let model = Checkpoint::open(dir.path()).unwrap();
    (dir, model)
}

#[test]
fn scales_that_f16_cannot_hold_are_refused() {
    let huge = |name: &str, rows: &mut [f32]| {
        if name.ends_with("up_proj.weight") {
            rows[5] = 9e6;
        }
    };
    let (dir, source) = edited(SaveDtype::F32, huge);
    let path = dir.path().join("m.gguf");
    for dtype in [GgufDtype::Q8_0, GgufDtype::Q4_0] {
        let error = save_gguf(&path, &source, dtype, "m", keep)
            .unwrap_err()
            .told();
        assert!(
            error.contains("ffn_up") && error.contains("overflows f16"),
            "{error}"
        );
    }
    save_gguf(&path, &source, GgufDtype::BF16, "m", keep).unwrap();
}

/// Norms in f32 beside matrices in bf16, as some models are published.
#[test]
fn weights_of_a_wider_type_than_the_matrices_are_said_to_be_rounded() {
    let norms = |name: &str, rows: &mut [f32]| {
        if name.ends_with("norm.weight") {
            rows.fill(1.0 + 1.0 / 4096.0);
        }
    };
    let (narrow, _) = edited(SaveDtype::BF16, |_, _| ());
    let (wide, _) = edited(SaveDtype::F32, norms);
    mix(&narrow, &wide);
    let source = Checkpoint::open(narrow.path()).unwrap();
    assert_eq!(SaveDtype::of(&source).unwrap(), SaveDtype::BF16);
    let out = tempfile::tempdir().unwrap();
    let nothing = |_: &TensorView<'_>, _: usize, _: &mut [f32]| Ok::<_, Error>(());
    let saved = save_folder(out.path(), &source, SaveDtype::BF16, nothing).unwrap();
    assert_eq!(saved.warnings.len(), 1, "{:?}", saved.warnings);
    assert!(
        saved.warnings[0].contains("layernorm.weight and 4 more"),
        "{:?}",
        saved.warnings
    );
    let saved = save_folder(out.path(), &source, SaveDtype::F32, nothing).unwrap();
    assert_eq!(saved.warnings, Vec::<String>::new());
    let path = out.path().join("m.gguf");
    assert_eq!(
        save_gguf(&path, &source, GgufDtype::BF16, "m", keep).unwrap(),
        Vec::<String>::new()
    );
}

/// Puts the norms of `wide` among the matrices of `narrow`.
fn mix(narrow: &tempfile::TempDir, wide: &tempfile::TempDir) {
    let read =
        |dir: &tempfile::TempDir| std::fs::read(dir.path().join("model.safetensors")).unwrap();
    let (a, b) = (read(narrow), read(wide));
    let a = safetensors::SafeTensors::deserialize(&a).unwrap();
    let b = safetensors::SafeTensors::deserialize(&b).unwrap();
    let mixed = a.tensors().into_iter().map(|(name, view)| {
        let is_norm = name.ends_with("norm.weight");
        let view = if is_norm {
            b.tensor(&name).unwrap()
        } else {
            view
        };
        (name, view)
    });
    let bytes = safetensors::serialize(mixed, None).unwrap();
    std::fs::write(narrow.path().join("model.safetensors"), bytes).unwrap();
}

//! The adapter folder: save ∘ load = id, and hostile files.
use crate::support::{CASES, Told, golden, golden_modules, llama, small};
use lora_core::Adapter;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::Path;

/// Saves the small adapter, lets `change` edit its tensors (name, dtype, shape, bytes), and loads it again.
fn reload(
    change: impl FnOnce(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>),
) -> Result<Adapter, String> {
    let (modules, adapter) = small();
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut list: Vec<_> = tensors
        .iter()
        .map(|(n, t)| {
            (
                n.to_string(),
                t.dtype(),
                t.shape().to_vec(),
                t.data().to_vec(),
            )
        })
        .collect();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    change(&mut list);
    let views = list
        .iter()
        .map(|(n, d, s, b)| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap()));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    Adapter::load(dir.path(), &modules)
        .map(|(a, _)| a)
        .map_err(|e| e.told())
}

#[test]
fn save_then_load_is_the_identity_and_its_bytes_are_stable() {
    let (modules, adapter) = small();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    adapter.save(one.path()).unwrap();
    let (loaded, warnings) = Adapter::load(one.path(), &modules).unwrap();
    assert_eq!(loaded, adapter);
    assert!(warnings.is_empty());
    loaded.save(two.path()).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        assert_eq!(
            std::fs::read(one.path().join(file)).unwrap(),
            std::fs::read(two.path().join(file)).unwrap()
        );
    }
}

/// Our tensor file is PEFT's to the byte.
#[test]
fn golden_adapters_load_and_are_written_back_unchanged() {
    for case in CASES {
        for folder in ["adapter", "adapter_trained"] {
            let theirs = golden(case).join(folder);
            let (adapter, warnings) = Adapter::load(&theirs, &golden_modules(case)).unwrap();
            assert!(warnings.is_empty());
            let dir = tempfile::tempdir().unwrap();
            adapter.save(dir.path()).unwrap();
            let read = |dir: &Path| std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
            assert!(read(dir.path()) == read(&theirs), "{case}/{folder}");
            let layout = adapter.config.layout(&golden_modules(case)).unwrap();
            assert_eq!(layout.file_bytes(), read(&theirs).len() as u64);
        }
    }
}

#[test]
fn half_precision_is_widened() {
    let adapter = reload(|list| {
        for (_, dtype, _, bytes) in list.iter_mut() {
            *dtype = Dtype::BF16;
            *bytes = bytes.chunks_exact(4).flat_map(|b| [b[2], b[3]]).collect();
        }
    });
    let (_, full) = small();
    let adapter = adapter.unwrap();
    assert!(
        adapter
            .params
            .iter()
            .zip(&full.params)
            .all(|(a, b)| (a - b).abs() <= b.abs() / 128.0)
    );
    let wide = reload(|list| {
        for (_, dtype, _, bytes) in list.iter_mut() {
            *dtype = Dtype::F64;
            let wide =
                |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap())).to_le_bytes();
            *bytes = bytes.chunks_exact(4).flat_map(wide).collect();
        }
    });
    assert!(wide.unwrap().params == full.params);
    let message = reload(|list| list[0].1 = Dtype::I32).unwrap_err();
    assert!(message.contains("I32"), "{message}");
}

#[test]
fn every_tensor_must_be_there_and_be_used() {
    let message = reload(|list| drop(list.remove(0))).unwrap_err();
    assert!(
        message.contains("q_proj.lora_A.weight is missing"),
        "{message}"
    );
    let message = reload(|list| {
        let mut extra = list[0].clone();
        extra.0 = "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight".to_string();
        list.push(extra);
    });
    assert!(message.unwrap_err().contains("layers.9"));
    let message =
        reload(|list| list[0].0 = list[0].0.replace("lora_A", "lora_A.default")).unwrap_err();
    assert!(message.contains("adapter's name"), "{message}");
    let without = |list: &mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>| {
        list.iter_mut()
            .for_each(|tensor| tensor.0 = tensor.0.replace("base_model.model.", ""));
    };
    let message = reload(without).unwrap_err();
    assert!(message.contains("lack PEFT's prefix"), "{message}");
    let message = reload(|list| {
        list.push((
            "x.lora_magnitude_vector".into(),
            Dtype::F32,
            vec![1],
            vec![0; 4],
        ))
    });
    assert!(message.unwrap_err().contains("DoRA"));
}

#[test]
fn values_must_be_finite() {
    for bad in [f32::NAN, f32::INFINITY] {
        let message =
            reload(|list| list[1].3[..4].copy_from_slice(&bad.to_le_bytes())).unwrap_err();
        assert!(message.contains("lora_B.weight holds"), "{message}");
    }
}

#[test]
fn an_adapter_for_another_base_names_the_first_tensor_and_both_shapes() {
    let (_, adapter) = small();
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let message = Adapter::load(dir.path(), &llama(2, 16, 8, 12, 20))
        .unwrap_err()
        .told();
    assert!(
        message.contains(
            "layers.0.self_attn.q_proj.lora_A.weight has shape [2, 8], this base needs [2, 16]"
        ),
        "{message}"
    );
    assert!(message.ends_with("hint: the adapter was probably trained on another base model"));
    let config = dir.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"r\": 2", "\"r\": 3")).unwrap();
    let message = Adapter::load(dir.path(), &llama(2, 8, 4, 12, 20))
        .unwrap_err()
        .told();
    assert!(
        message.ends_with("hint: the config (r, rank_pattern) says another rank than the file has"),
        "{message}"
    );
    std::fs::write(&config, text).unwrap();
    let message = Adapter::load(dir.path(), &llama(3, 8, 4, 12, 20))
        .unwrap_err()
        .told();
    assert!(
        message.contains("layers.2.self_attn.q_proj.lora_A.weight is missing"),
        "{message}"
    );
}

#[test]
fn broken_files_are_errors() {
    let (modules, adapter) = small();
    let dir = tempfile::tempdir().unwrap();
    let error = |dir: &Path| Adapter::load(dir, &modules).unwrap_err().told();
    assert!(error(&dir.path().join("nowhere")).contains("does not exist"));
    assert!(error(dir.path()).contains("holds no adapter_config.json"));
    adapter.save(dir.path()).unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(
            error(dir.path()).contains("not a readable safetensors file"),
            "{length}"
        );
    }
    std::fs::write(&path, [0xff; 64]).unwrap();
    assert!(error(dir.path()).contains("not a readable safetensors file"));
    std::fs::write(&path, &whole).unwrap();
    for text in ["", "{", "[]", "\u{0}"] {
        std::fs::write(dir.path().join("adapter_config.json"), text).unwrap();
        assert!(error(dir.path()).contains("not a JSON object"));
    }
    assert!(adapter.save(&dir.path().join("nowhere")).is_err());
}

/// A target that the model lacks is no obstacle when every tensor finds its place (PEFT passes over it).
#[test]
fn a_spare_target_of_a_loaded_adapter_is_a_warning() {
    let (modules, mut adapter) = small();
    adapter.config.target_modules = crate::support::list(&["c_attn", "q_proj", "v_proj"]);
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let (_, warnings) = Adapter::load(dir.path(), &modules).unwrap();
    assert!(warnings[0].contains("`c_attn`"), "{warnings:?}");
}

//! mlx-lm's folder: the same ΔW on both sides, strict reading, hostile bytes. (mlx itself runs on Apple's machines only: the
//! layout is that of mlx-lm 0.32's `tuner/lora.py`, y = scale·(x·lora_a)·lora_b with lora_a (in, r) and lora_b (r, out).)
use crate::support::{CASES, Told, golden, golden_modules, list, llama, small};
use lora_core::{Adapter, LoraConfig, Module, Pattern, base_name, modules_of};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::path::Path;

fn values(tensor: &TensorView<'_>) -> Vec<f32> {
    tensor
        .data()
        .chunks_exact(4)
        .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
        .collect()
}

/// s·B·A of a module, (out, in).
fn delta(adapter: &Adapter, path: &str) -> Vec<f32> {
    let index = adapter.find(path).unwrap();
    let ((a, b), m) = (adapter.factors(index), &adapter.modules[index]);
    let cell = |o: usize, i: usize| -> f32 {
        (0..m.rank)
            .map(|r| b[o * m.rank + r] * a[r * m.in_features + i])
            .sum::<f32>()
            * m.scaling
    };
    (0..m.out_features * m.in_features)
        .map(|at| cell(at / m.in_features, at % m.in_features))
        .collect()
}

fn assert_same(one: &Adapter, two: &Adapter) {
    assert_eq!(one.modules.len(), two.modules.len());
    for module in &one.modules {
        let (x, y) = (delta(one, &module.path), delta(two, &module.path));
        let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert!(
            x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= 1e-6 * most),
            "{}",
            module.path
        );
    }
}

fn through_mlx(adapter: &Adapter, modules: &[Module]) -> Adapter {
    let dir = tempfile::tempdir().unwrap();
    adapter.save_mlx(dir.path(), modules).unwrap();
    Adapter::load(dir.path(), &modules.to_vec()).unwrap().0
}

#[test]
fn golden_adapters_go_to_mlx_and_back() {
    for case in CASES {
        let modules = golden_modules(case);
        let (adapter, _) = Adapter::load(&golden(case).join("adapter"), &modules).unwrap();
        let back = through_mlx(&adapter, &modules);
        assert_eq!(
            back.params, adapter.params,
            "one scaling: the values themselves come back"
        );
        assert_same(&adapter, &back);
        assert_eq!(back.config.target_modules, adapter.config.target_modules);
    }
}

#[test]
fn the_layout_is_mlx_lms() {
    let (modules, adapter) = small();
    let dir = tempfile::tempdir().unwrap();
    adapter.save_mlx(dir.path(), &modules).unwrap();
    let config: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("adapter_config.json")).unwrap())
            .unwrap();
    let keys = json!(["self_attn.q_proj", "self_attn.v_proj"]);
    let parameters = json!({"dropout": 0.0, "keys": keys, "rank": 2, "scale": 2.0});
    assert_eq!(
        config,
        json!({"fine_tune_type": "lora", "lora_parameters": parameters, "num_layers": 2})
    );
    let bytes = std::fs::read(dir.path().join("adapters.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 8);
    let path = "model.layers.1.self_attn.v_proj";
    let (a, b) = (
        tensors.tensor(&format!("{path}.lora_a")).unwrap(),
        tensors.tensor(&format!("{path}.lora_b")).unwrap(),
    );
    assert_eq!((a.shape(), b.shape()), (&[8, 2][..], &[2, 4][..]));
    // y = scale · (x @ lora_a) @ lora_b for x = the second unit vector is the second column of ΔW.
    let (a, b) = (values(&a), values(&b));
    let y: Vec<f32> = (0..4)
        .map(|o| 2.0 * (0..2).map(|r| a[2 + r] * b[r * 4 + o]).sum::<f32>())
        .collect();
    let wanted: Vec<f32> = delta(&adapter, path)
        .chunks_exact(8)
        .map(|row| row[1])
        .collect();
    assert!(
        y.iter().zip(&wanted).all(|(x, y)| (x - y).abs() < 1e-6),
        "{y:?} {wanted:?}"
    );
}

#[test]
fn patterns_and_rslora_fold_into_one_scale() {
    let modules = llama(3, 8, 4, 12, 20);
    let mut config = LoraConfig::new(3, 5.0, list(&["q_proj", "model.layers.2.mlp.up_proj"]));
    config.use_rslora = true;
    config.rank_pattern = Pattern(vec![("up_proj".to_owned(), 2)]);
    config.alpha_pattern = Pattern(vec![("layers.1.self_attn.q_proj".to_owned(), 11.0)]);
    let mut adapter = Adapter::init(config, &modules, 3).unwrap();
    adapter
        .params
        .iter_mut()
        .enumerate()
        .for_each(|(i, x)| *x += (i as f32).sin());
    let back = through_mlx(&adapter, &modules);
    assert!(back.modules.iter().all(|m| m.rank == 3) && !back.config.use_rslora);
    assert_same(&adapter, &back);
    assert_eq!(back.modules.len(), 4);
}

#[test]
fn dora_keeps_its_magnitudes() {
    let modules = llama(2, 8, 4, 12, 20);
    let mut config = LoraConfig::new(2, 4.0, list(&["q_proj"]));
    config.use_dora = true;
    let places = config.layout(&modules).unwrap();
    let params = (0..places.parameters())
        .map(|i| (i as f32 * 0.3).cos())
        .collect();
    let adapter = Adapter::from_layout(config, places, params).unwrap();
    let back = through_mlx(&adapter, &modules);
    assert!(back.config.use_dora && back.params == adapter.params);
}

#[test]
fn what_mlx_can_not_hold_is_refused_with_a_way_out() {
    let modules = llama(2, 8, 4, 12, 20);
    let dir = tempfile::tempdir().unwrap();
    let mut config = LoraConfig::new(2, 4.0, list(&["q_proj"]));
    config.modules_to_save = vec!["lm_head".to_owned()];
    let places = config.layout(&modules).unwrap();
    let params = vec![0.5; places.parameters()];
    let error = Adapter::from_layout(config, places, params)
        .unwrap()
        .save_mlx(dir.path(), &modules)
        .unwrap_err();
    assert!(
        error.told().contains("lm_head.weight") && error.told().contains("lora-merge"),
        "{error}"
    );
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}

/// Writes a folder of mlx-lm's with some tensors and config.
fn folder(dir: &Path, config: &Value, tensors: &[(&str, Vec<usize>)]) {
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| vec![0; 4 * shape.iter().product::<usize>()])
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), bytes)| {
        (
            name.to_string(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    std::fs::write(
        dir.join("adapters.safetensors"),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
}

#[test]
fn wrong_folders_are_named() {
    let modules = llama(2, 8, 4, 12, 20);
    let good = json!({"lora_parameters": {"rank": 2, "scale": 20.0, "dropout": 0.0}, "num_layers": 16, "model": "m"});
    let a = ("model.layers.0.self_attn.q_proj.lora_a", vec![8, 2]);
    let b = ("model.layers.0.self_attn.q_proj.lora_b", vec![2, 8]);
    let says = |config: &Value, tensors: &[(&str, Vec<usize>)], words: &str| {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path(), config, tensors);
        let error = Adapter::load(dir.path(), &modules).unwrap_err().told();
        assert!(error.contains(words), "{error}");
    };
    says(&good, std::slice::from_ref(&a), "q_proj.lora_b is missing");
    says(
        &good,
        &[a.clone(), (b.0, vec![2, 9])],
        "has shape [2, 9], this base needs [2, 8]",
    );
    says(
        &good,
        &[a.clone(), b.clone(), ("lm_head.weight", vec![20, 8])],
        "lm_head.weight is no part of a LoRA",
    );
    says(
        &good,
        &[("model.layers.7.self_attn.q_proj.lora_a", vec![8, 2])],
        "another base",
    );
    says(
        &good,
        &[
            a.clone(),
            b.clone(),
            ("model.layers.0.self_attn.q_proj.m", vec![8]),
        ],
        "magnitudes",
    );
    says(
        &json!({"fine_tune_type": "full"}),
        &[a.clone(), b.clone()],
        "mlx_lm.fuse",
    );
    says(
        &json!({"lora_parameters": {"rank": 2, "alpha": 4}}),
        &[a.clone(), b.clone()],
        "scale must be a number",
    );
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &good, &[a, b]);
    let (adapter, _) = Adapter::load(dir.path(), &modules).unwrap();
    assert_eq!(
        (
            adapter.config.lora_alpha,
            adapter.modules[0].scaling,
            adapter.modules.len()
        ),
        (40.0, 20.0, 1)
    );
    assert_eq!(base_name(dir.path()).unwrap().as_deref(), Some("m"));
    assert_eq!(modules_of(dir.path()).unwrap(), [modules[0].clone()]);
}

/// mlx-lm's `LoRAEmbedding.as_linear`: on a tied model the head has the embedding's adapter, with A and B exchanged.
#[test]
fn a_tied_embedding_has_one_adapter_for_both_sides() {
    let mut modules = vec![Module::embedding("model.embed_tokens", 20, 8)];
    modules.extend(llama(1, 8, 4, 12, 20));
    modules.last_mut().unwrap().tied = true;
    let adapter = |names: &[&str]| {
        let mut adapter = Adapter::init(LoraConfig::new(2, 6.0, list(names)), &modules, 7).unwrap();
        adapter
            .params
            .iter_mut()
            .enumerate()
            .for_each(|(i, value)| *value = (i as f32).sin());
        adapter
    };
    for names in [
        &["q_proj", "embed_tokens"][..],
        &["lm_head"],
        &["embed_tokens", "lm_head"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = adapter(names)
            .save_mlx(dir.path(), &modules)
            .unwrap_err()
            .told();
        assert!(
            error.contains("one side of a tied embedding and head") && error.contains("lora-merge"),
            "{error}"
        );
    }
    let mut both = adapter(&["embed_tokens", "q_proj", "lm_head"]);
    let place = |path: &str| both.modules[both.find(path).unwrap()].clone();
    let (table, head) = (place("model.embed_tokens"), place("lm_head"));
    let swapped = |values: &[f32], rows: usize| -> Vec<f32> {
        let columns = values.len() / rows;
        (0..values.len())
            .map(|i| values[i % rows * columns + i / rows])
            .collect()
    };
    let (a, b) = (
        swapped(&both.params[table.b.clone()], 8),
        swapped(&both.params[table.a.clone()], 2),
    );
    both.params[head.a].copy_from_slice(&a);
    both.params[head.b].copy_from_slice(&b);
    let dir = tempfile::tempdir().unwrap();
    both.save_mlx(dir.path(), &modules).unwrap();
    let bytes = std::fs::read(dir.path().join("adapters.safetensors")).unwrap();
    assert_eq!(
        SafeTensors::deserialize(&bytes).unwrap().len(),
        4,
        "no tensors of the head's own"
    );
    let back = Adapter::load(dir.path(), &modules).unwrap().0;
    assert_same(&both, &back);
    assert_eq!(back.params, both.params);
}

#[test]
fn modules_are_known_from_the_file_alone() {
    for case in CASES {
        let dir = golden(case).join("adapter");
        let all = golden_modules(case);
        let found = modules_of(&dir).unwrap();
        let (adapter, _) = Adapter::load(&dir, &all).unwrap();
        let targeted: Vec<_> = adapter.modules.iter().map(|m| m.path.clone()).collect();
        assert_eq!(found.len(), targeted.len());
        assert!(found.iter().all(|m| all.contains(m)));
        assert_eq!(
            Adapter::load(&dir, &found).unwrap().0.modules.len(),
            adapter.modules.len()
        );
    }
}

#[test]
fn hostile_bytes_are_errors_and_never_panics() {
    let (modules, adapter) = small();
    let dir = tempfile::tempdir().unwrap();
    adapter.save_mlx(dir.path(), &modules).unwrap();
    let mut state = 11u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for file in ["adapters.safetensors", "adapter_config.json"] {
        let path = dir.path().join(file);
        let good = std::fs::read(&path).unwrap();
        for _ in 0..600 {
            let mut bytes = good.clone();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len().min(900);
                bytes[at] = next() as u8;
            }
            bytes.truncate(if next() % 4 == 0 {
                next() % bytes.len()
            } else {
                bytes.len()
            });
            std::fs::write(&path, &bytes).unwrap();
            let _ = Adapter::load(dir.path(), &modules);
            let _ = modules_of(dir.path());
        }
        std::fs::write(&path, good).unwrap();
    }
}

/// A rank of 10¹⁰ in the config would take 5 TB before the file is looked at.
#[test]
fn a_rank_that_the_file_does_not_have_takes_no_memory() {
    let modules = llama(2, 8, 4, 12, 20);
    let config = json!({"lora_parameters": {"rank": 10_000_000_000u64, "scale": 1.0}});
    let a = ("model.layers.0.self_attn.q_proj.lora_a", vec![8, 2]);
    let b = ("model.layers.0.self_attn.q_proj.lora_b", vec![2, 8]);
    for tensors in [&[a.clone(), b.clone()][..], &[a], &[b]] {
        let dir = tempfile::tempdir().unwrap();
        folder(dir.path(), &config, tensors);
        let error = Adapter::load(dir.path(), &modules).unwrap_err().told();
        assert!(
            error.contains("rank 2, the config's") || error.contains("lora_a is missing"),
            "{error}"
        );
    }
}

#[test]
fn alpha_in_place_of_scale_is_named() {
    let modules = llama(2, 8, 4, 12, 20);
    let dir = tempfile::tempdir().unwrap();
    let a = ("model.layers.0.self_attn.q_proj.lora_a", vec![8, 4]);
    let config = json!({"lora_parameters": {"rank": 4, "alpha": 8}});
    folder(dir.path(), &config, &[a]);
    let error = Adapter::load(dir.path(), &modules).unwrap_err().told();
    assert!(
        error.ends_with("write \"scale\": 2 in place of \"alpha\": 8"),
        "{error}"
    );
}

#[test]
fn a_foreign_beginning_of_names_is_named() {
    let modules = llama(2, 8, 4, 12, 20);
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"lora_parameters": {"rank": 2, "scale": 1.0}});
    let a = (
        "language_model.model.layers.0.self_attn.q_proj.lora_a",
        vec![8, 2],
    );
    folder(dir.path(), &config, &[a]);
    let error = Adapter::load(dir.path(), &modules).unwrap_err().told();
    assert!(error.contains("take `language_model.` out"), "{error}");
}

//! Initialisation, and merged weights against PEFT's.
use crate::support::{CASES, golden, golden_modules, list, llama};
use lora_core::{Adapter, LoraConfig, TargetModules, add_delta};
use safetensors::SafeTensors;

fn values(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

#[test]
fn merged_weights_are_pefts() {
    for case in CASES {
        let base = std::fs::read(golden(case).join("base/model.safetensors")).unwrap();
        let expected = std::fs::read(golden(case).join("golden.safetensors")).unwrap();
        let (base, expected) = (
            SafeTensors::deserialize(&base).unwrap(),
            SafeTensors::deserialize(&expected).unwrap(),
        );
        let modules = golden_modules(case);
        let (adapter, _) = Adapter::load(&golden(case).join("adapter"), &modules).unwrap();
        let mut changed = 0;
        for module in modules.iter().filter(|m| !m.is_head) {
            let mut merged = values(&base, &format!("{}.weight", module.path));
            if let Some(i) = adapter.find(&module.path) {
                let ((a, b), m) = (adapter.factors(i), &adapter.modules[i]);
                let half = module.out_features / 2; // in two calls, as a merge by row blocks does
                let (upper, lower) = merged.split_at_mut(half * module.in_features);
                add_delta(upper, 0, a, b, m.rank, m.scaling);
                add_delta(lower, half, a, b, m.rank, m.scaling);
                changed += 1;
            }
            let expected = values(&expected, &format!("merged.{}.weight", module.path));
            let worst = merged
                .iter()
                .zip(&expected)
                .map(|(x, y)| (x - y).abs())
                .fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{case} {}: {worst}", module.path);
        }
        assert_eq!(changed, adapter.modules.len());
    }
}

#[test]
fn a_new_adapter_is_the_identity() {
    let modules = llama(2, 8, 4, 12, 20);
    let adapter = Adapter::init(
        LoraConfig::new(3, 6.0, TargetModules::AllLinear),
        &modules,
        1,
    )
    .unwrap();
    let all_seven = list(&[
        "down_proj",
        "gate_proj",
        "k_proj",
        "o_proj",
        "q_proj",
        "up_proj",
        "v_proj",
    ]);
    assert_eq!(adapter.config.target_modules, all_seven);
    for (i, module) in adapter.modules.iter().enumerate() {
        let (a, b) = adapter.factors(i);
        let bound = 1.0 / (module.in_features as f32).sqrt();
        assert!(b.iter().all(|&v| v == 0.0));
        assert!(a.iter().all(|&v| v != 0.0 && v.abs() <= bound));
        let mut rows = vec![0.5; module.out_features * module.in_features];
        add_delta(&mut rows, 0, a, b, module.rank, module.scaling);
        assert!(rows.iter().all(|&v| v == 0.5));
    }
}

/// Keyed by (seed, path): the same values whichever other modules are targeted, others for another seed or path.
#[test]
fn initial_values_depend_on_seed_and_path_alone() {
    let modules = llama(2, 8, 4, 12, 20);
    let init =
        |targets, seed| Adapter::init(LoraConfig::new(3, 6.0, targets), &modules, seed).unwrap();
    let (all, one) = (
        init(TargetModules::AllLinear, 1),
        init(list(&["v_proj"]), 1),
    );
    let path = "model.layers.1.self_attn.v_proj";
    let a = |adapter: &Adapter, path| adapter.factors(adapter.find(path).unwrap()).0.to_vec();
    assert_eq!(a(&all, path), a(&one, path));
    assert_ne!(a(&all, path), a(&init(list(&["v_proj"]), 2), path));
    assert_ne!(a(&one, path), a(&one, "model.layers.0.self_attn.v_proj"));
}

#[test]
fn initial_values_are_uniform() {
    let adapter = Adapter::init(
        LoraConfig::new(64, 1.0, list(&["q_proj"])),
        &llama(1, 256, 64, 64, 64),
        3,
    )
    .unwrap();
    let (a, _) = adapter.factors(0);
    let n = a.len() as f64;
    let mean = a.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = a.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
    assert!(mean.abs() < 1e-3, "{mean}");
    assert!((variance * 3.0 * 256.0 - 1.0).abs() < 0.03, "{variance}"); // bound²/3, bound = 1/√256
}

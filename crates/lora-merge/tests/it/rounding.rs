//! Rounded once, from the exact sum.
use crate::harness::{CASES, assert_code, case, changed_adapter, merge, receipt, stderr};
use lora_checkpoint::{Checkpoint, StorageDtype};
use lora_core::Adapter;
use lora_model::Base;

/// Every merged value lies within half an ulp of W + s·B·A computed in f64.
fn assert_correctly_rounded(name: &str, dtype: &str, mantissa_bits: i32, storage: StorageDtype) {
    let dir = tempfile::tempdir().unwrap();
    let (base_path, adapter_path) = (case(name).join("base"), case(name).join("adapter"));
    assert_code(
        &merge(
            dir.path(),
            Some(&base_path),
            &adapter_path,
            &["--dtype", dtype],
        ),
        0,
    );
    let merged = Checkpoint::open(&dir.path().join("out")).unwrap();
    let base = Base::open(&base_path).unwrap();
    let (adapter, _) = Adapter::load(&adapter_path, &base).unwrap();
    for (index, module) in adapter.modules.iter().enumerate() {
        let (a, b) = adapter.factors(index);
        let key = format!("{}.weight", module.path);
        let w = base.checkpoint().tensor(&key).unwrap().to_f32();
        let view = merged.tensor(&key).unwrap();
        assert_eq!(view.dtype(), storage);
        for (place, ours) in view.to_f32().into_iter().enumerate() {
            let (row, column) = (place / module.in_features, place % module.in_features);
            let product = |k: usize| {
                f64::from(b[row * module.rank + k]) * f64::from(a[k * module.in_features + column])
            };
            let delta: f64 = (0..module.rank).map(product).sum();
            let exact = f64::from(w[place]) + f64::from(module.scaling) * delta;
            let half_ulp = 2f64
                .powi(exact.abs().log2().floor() as i32 - mantissa_bits - 1)
                .max(2f64.powi(-26));
            let error = (f64::from(ours) - exact).abs();
            assert!(
                error <= half_ulp * 1.001 + 1e-7,
                "{name} {key}[{row}, {column}]: {ours} for {exact}"
            );
        }
    }
}

#[test]
fn bf16_is_within_half_an_ulp_of_the_exact_sum() {
    CASES
        .iter()
        .for_each(|name| assert_correctly_rounded(name, "bf16", 7, StorageDtype::BF16));
}

#[test]
fn f16_is_within_half_an_ulp_of_the_exact_sum() {
    assert_correctly_rounded(CASES[0], "f16", 10, StorageDtype::F16);
}

#[test]
fn an_adapter_of_zeros_is_named_as_the_identity() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = changed_adapter(dir.path(), CASES[0], |key, value| {
        if key.contains("lora_B") { 0.0 } else { value }
    });
    let output = merge(
        dir.path(),
        Some(&case(CASES[0]).join("base")),
        &adapter,
        &[],
    );
    assert_code(&output, 0);
    assert!(
        stderr(&output).contains("the adapter is the identity"),
        "{}",
        stderr(&output)
    );
    assert_eq!(receipt(&output)["results"]["moved_weights"], 0);
}

#[test]
fn a_change_below_the_resolution_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base-bf16");
    assert_code(
        &merge(
            dir.path(),
            Some(&case(CASES[0]).join("base")),
            &case(CASES[0]).join("adapter"),
            &["--dtype", "bf16"],
        ),
        0,
    );
    std::fs::rename(dir.path().join("out"), &base).unwrap();
    let adapter = changed_adapter(dir.path(), CASES[0], |key, value| {
        if key.contains("lora_B") {
            value * 1e-7
        } else {
            value
        }
    });
    let output = merge(dir.path(), Some(&base), &adapter, &[]);
    assert_code(&output, 0);
    assert!(
        stderr(&output).contains("too small for bf16"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_rounding_swallows_is_measured_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base-bf16");
    assert_code(
        &merge(
            dir.path(),
            Some(&case(CASES[0]).join("base")),
            &case(CASES[0]).join("adapter"),
            &["--dtype", "bf16"],
        ),
        0,
    );
    std::fs::rename(dir.path().join("out"), &base).unwrap();
    let adapter = changed_adapter(dir.path(), CASES[0], |key, value| {
        if key.contains("lora_B") {
            value * 0.005
        } else {
            value
        }
    });
    let output = merge(dir.path(), Some(&base), &adapter, &[]);
    assert_code(&output, 0);
    let kept = receipt(&output)["results"]["kept"].as_f64().unwrap();
    assert!((0.2..0.9).contains(&kept), "{kept}");
    assert!(
        stderr(&output).contains("of the adapter's change; --dtype f32"),
        "{}",
        stderr(&output)
    );
    let output = merge(
        dir.path(),
        Some(&base),
        &adapter,
        &["--dtype", "f32", "--force"],
    );
    assert_code(&output, 0);
    assert!((receipt(&output)["results"]["kept"].as_f64().unwrap() - 1.0).abs() < 1e-3);
}

//! What the check lets pass.
use super::*;

#[test]
fn synthetic_rows_are_valid_ids_and_differ() {
    let (first, second) = (synthetic(0, 32, 160), synthetic(1, 32, 160));
    assert_eq!(first, synthetic(0, 32, 160));
    assert_ne!(first, second);
    assert!(first.iter().chain(&second).all(|&id| id < 160));
}

#[test]
fn a_lost_adapter_is_told_from_rounding() {
    let plain: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
    let adapted: Vec<f32> = plain
        .iter()
        .enumerate()
        .map(|(i, x)| x + 0.1 * (i as f32 * 0.91).cos())
        .collect();
    let noisy: Vec<f32> = adapted
        .iter()
        .enumerate()
        .map(|(i, x)| x + 0.02 * (i as f32 * 2.3).sin())
        .collect();
    let half: Vec<f32> = plain
        .iter()
        .zip(&adapted)
        .map(|(p, a)| 0.5 * (p + a))
        .collect();
    let judged = |merged: &[f32]| {
        let mut along = AlongEffect::default();
        along.add(merged, &adapted, &plain);
        let (kept, kept_error) = along.kept(16);
        let known = Check {
            weights_kept: 1.0,
            weights_range: (1.0, 1.0),
            ..Check::default()
        };
        let (effect, largest) = (0.1, 1.0);
        judge(
            &Check {
                kept,
                kept_error,
                bound: 1.0,
                effect,
                largest,
                ..known
            },
            Dtype::Bf16,
            &Ui::silent(),
        )
    };
    assert!(judged(&adapted).is_ok() && judged(&noisy).is_ok());
    assert!(judged(&half).is_err() && judged(&plain).is_err());
    let beyond = Check {
        kept: 1.0,
        weights_range: (1.0, 1.0),
        difference: 2.0,
        bound: 1.0,
        ..Check::default()
    };
    assert!(judge(&beyond, Dtype::Bf16, &Ui::silent()).is_err());
}

#[test]
fn a_narrower_type_may_differ_more() {
    assert!(relative_bound(Dtype::F32, 30, 0.0) < relative_bound(Dtype::F16, 30, 0.0));
    assert!(relative_bound(Dtype::F16, 30, 0.0) < relative_bound(Dtype::Bf16, 30, 0.0));
}

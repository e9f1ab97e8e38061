//! The dropout mask: its rate, its independence of order, its keys.
use lora_random::{Mask, dropout_keep};

#[test]
fn keeps_the_asked_share() {
    let n = 200_000u64;
    for p in [0.05f32, 0.5] {
        let kept = (0..n).filter(|&i| dropout_keep(7, 3, 11, i, p)).count() as f64 / n as f64;
        assert!(
            (kept - f64::from(1.0 - p)).abs() < 0.005,
            "kept {kept} with p = {p}"
        );
    }
    assert!((0..n).all(|i| dropout_keep(7, 3, 11, i, 0.0)));
}

#[test]
fn every_coordinate_matters() {
    let mask = |seed, step, module| {
        (0..256)
            .map(|i| dropout_keep(seed, step, module, i, 0.5))
            .collect::<Vec<_>>()
    };
    let base = mask(1, 1, 1);
    assert_eq!(base, mask(1, 1, 1));
    for other in [mask(2, 1, 1), mask(1, 2, 1), mask(1, 1, 2)] {
        let same = base.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!((90..166).contains(&same), "{same} of 256 agree");
    }
}

#[test]
fn apply_scales_what_it_keeps() {
    let mask = Mask::new(1, 2, 3, 0.25);
    let mut out = [0.0; 64];
    mask.apply(10, &[1.0; 64], &mut out);
    for (i, &v) in out.iter().enumerate() {
        assert_eq!(
            v,
            if mask.keep(10 + i as u64) {
                1.0 / 0.75
            } else {
                0.0
            }
        );
    }
}

//! AdamW and clipping against the formulas in f64.
use crate::harness::{assert_close, values, wide};
use lora_kernels::optim::{AdamW, Moments, Step, clip_factor, global_norm};

#[test]
fn adamw_follows_the_formula() {
    let n = 40;
    let optimiser = AdamW {
        weight_decay: 0.1,
        ..AdamW::default()
    };
    let mut params = values(n, 1);
    let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
    let (mut p64, mut m64, mut v64) = (wide(&params), vec![0.0f64; n], vec![0.0f64; n]);
    let (lr, clip) = (1e-2, 0.5f32);
    for t in 1..=20u64 {
        let g = values(n, 100 + t);
        let moments = Moments {
            first: &mut m,
            second: &mut v,
        };
        let step = Step {
            number: t,
            lr,
            clip,
        };
        optimiser.step(&mut params, &g, moments, step);
        for i in 0..n {
            let g = f64::from(g[i]) * f64::from(clip);
            m64[i] = 0.9 * m64[i] + 0.1 * g;
            v64[i] = 0.999 * v64[i] + 0.001 * g * g;
            let (mh, vh) = (
                m64[i] / (1.0 - 0.9f64.powi(t as i32)),
                v64[i] / (1.0 - 0.999f64.powi(t as i32)),
            );
            p64[i] = p64[i] * (1.0 - lr * 0.1) - lr * mh / (vh.sqrt() + 1e-8);
        }
    }
    assert_close("params", &params, &p64, 1e-5);
}

#[test]
fn clipping_is_torchs() {
    assert!((global_norm(&[3.0, 4.0]) - 5.0).abs() < 1e-12);
    assert!((f64::from(clip_factor(5.0, 1.0)) - 1.0 / 5.000_001).abs() < 1e-7);
    assert_eq!(clip_factor(0.5, 1.0), 1.0);
    assert_eq!(clip_factor(7.0, 0.0), 1.0, "0 turns clipping off");
}

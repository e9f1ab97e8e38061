//! AdamW and the norm of gradients.
use crate::support::{assert_close, download, each_precision, noise, vector};
use lora_gpu::{AdamStep, Dtype, Gpu, Tensor};

/// A step by its formula in f64 (torch.optim.AdamW).
fn expected(step: AdamStep, [p, g, m, v]: [f64; 4]) -> [f64; 3] {
    let f = f64::from;
    let g = g * f(step.clip);
    let m = m + (g - m) * (1.0 - f(step.beta1));
    let v = v * f(step.beta2) + (1.0 - f(step.beta2)) * g * g;
    let moved = f(step.step_size) * m / (v.sqrt() / f(step.correction) + f(step.eps));
    [p * f(step.decay) - moved, m, v]
}

#[test]
fn a_step_is_torchs() {
    let step = AdamStep {
        clip: 0.7,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        decay: 0.99,
        step_size: 2e-3,
        correction: 0.06,
    };
    each_precision(|gpu: &Gpu| {
        for count in [1, 4, 1000, 1023] {
            let (tp, p) = vector(gpu, &noise(1, count));
            let (tg, g) = vector(gpu, &noise(2, count));
            let (tm, m) = vector(gpu, &noise(3, count));
            let squares: Vec<f64> = noise(4, count).iter().map(|x| x * x).collect();
            let (tv, v) = vector(gpu, &squares);
            let all = |tensor| Tensor::mat(tensor, 1, count);
            gpu.adamw(all(&tp), all(&tg), (all(&tm), all(&tv)), step)
                .unwrap();
            let expected: Vec<[f64; 3]> = (0..count)
                .map(|i| expected(step, [p[i], g[i], m[i], v[i]]))
                .collect();
            for (index, tensor) in [&tp, &tm, &tv].into_iter().enumerate() {
                let expected: Vec<f64> = expected.iter().map(|all| all[index]).collect();
                let found = download(gpu, tensor);
                assert_close("a step", Dtype::F32, &found, &expected, 1e-6);
            }
        }
    });
}

#[test]
fn a_norm_is_summed_in_f64_and_always_the_same() {
    each_precision(|gpu: &Gpu| {
        for count in [0, 1, 255, 300_001] {
            let (tensor, values) = vector(gpu, &noise(7, count));
            let found = gpu.norm_of(&tensor, count).unwrap();
            let expected = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((found - expected).abs() <= 1e-12 * expected);
            assert_eq!(
                found.to_bits(),
                gpu.norm_of(&tensor, count).unwrap().to_bits()
            );
        }
    });
}

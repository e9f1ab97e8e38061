//! Dropout: the masks of the CPU, bit for bit.
use crate::support::{Matrix, assert_close, each_case, twice};
use lora_gpu::{Dtype, Mask};

/// What [`lora_random::Mask`] is made of.
fn masks() -> Vec<(lora_random::Mask, Mask)> {
    [
        (0, 0, 0, 0.1f32),
        (1, 2, 3, 0.5),
        (u64::MAX, 7, 90, 0.0),
        (5, 1 << 40, 1, 0.93),
    ]
    .into_iter()
    .map(|(seed, step, module, p)| {
        let mask = lora_random::Mask::new(seed, step, module, p);
        (
            mask,
            Mask {
                key: mask.key(),
                threshold: mask.threshold(),
                scale: mask.keep_scale,
            },
        )
    })
    .collect()
}

#[test]
fn values_are_dropped_as_on_the_cpu() {
    each_case(|gpu, rows, columns, place| {
        for (cpu, mask) in masks() {
            for first_row in [0, 13, 1 << 33] {
                let x = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
                let out = Matrix::unwritten(gpu, gpu.dtype(), (rows, columns), place);
                let found = twice(gpu, &[&out], || {
                    gpu.drop(x.mat(), mask, first_row, out.mat())
                        .expect("it fits");
                });
                let x32: Vec<f32> = x.values.iter().map(|&v| v as f32).collect();
                let mut dropped = vec![0f32; x32.len()];
                cpu.apply((first_row * columns) as u64, &x32, &mut dropped);
                let expected: Vec<f64> = dropped.into_iter().map(f64::from).collect();
                assert_close("out", gpu.dtype(), &found[0], &expected, 0.0);
                let zeros =
                    |values: &[f64]| -> Vec<bool> { values.iter().map(|&v| v == 0.0).collect() };
                assert_eq!(zeros(&found[0]), zeros(&expected));

                for dtype in [gpu.dtype(), Dtype::F32] {
                    let d = Matrix::new(gpu, dtype, (rows, columns), place, &x.values);
                    let dx = Matrix::noise(gpu, dtype, (rows, columns), place, (2, 1.0));
                    let found = twice(gpu, &[&dx], || {
                        gpu.add_dropped(d.mat(), mask, first_row, dx.mat())
                            .expect("it fits");
                    });
                    let sums = dx.values.iter().zip(&expected);
                    let sums: Vec<f64> = sums.map(|(a, b)| a + b).collect();
                    assert_close("dx", dtype, &found[0], &sums, 1e-7);
                }
            }
        }
    });
}

#[test]
fn a_threshold_of_zero_keeps_everything() {
    each_case(|gpu, rows, columns, place| {
        // The first index is mixed to 0.
        let mask = Mask {
            key: 0,
            threshold: 0,
            scale: 1.0,
        };
        let x = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let out = Matrix::unwritten(gpu, gpu.dtype(), (rows, columns), place);
        gpu.drop(x.mat(), mask, 0, out.mat()).expect("it fits");
        assert_eq!(out.now(gpu), x.values);
    });
}

//! Conversions, sums and biases.
use crate::support::{
    Matrix, PLACES, assert_close, each_case, each_precision, noise, twice, vector,
};
use lora_gpu::{Dtype, Gpu};

fn each_pair(check: impl Fn(&Gpu, (usize, usize), [Dtype; 2], [crate::support::Place; 2])) {
    each_case(|gpu, rows, columns, place| {
        let act = gpu.dtype();
        for types in [
            [Dtype::F32, Dtype::F32],
            [Dtype::F32, act],
            [act, Dtype::F32],
            [act, act],
        ] {
            for other in PLACES {
                check(gpu, (rows, columns), types, [place, other]);
            }
        }
    });
}

#[test]
fn values_are_converted() {
    each_pair(|gpu, shape, types, places| {
        let from = Matrix::noise(gpu, types[0], shape, places[0], (1, 100.0));
        let to = Matrix::unwritten(gpu, types[1], shape, places[1]);
        let found = twice(gpu, &[&to], || {
            gpu.convert(from.mat(), 0.3, to.mat()).expect("it fits");
        });
        let expected: Vec<f64> = from.values.iter().map(|v| f64::from(0.3f32) * v).collect();
        assert_close("converted", types[1], &found[0], &expected, 0.0);
    });
}

#[test]
fn conversion_rounds_to_nearest_and_keeps_what_is_no_number() {
    let gpu = lora_gpu::OnCpu::gpu(lora_gpu::Precision::Bf16);
    let bits: Vec<u32> = (0..=u16::MAX)
        .step_by(7)
        .flat_map(|high| {
            [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| u32::from(high) << 16 | low)
        })
        .collect();
    let values: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
    let from = gpu.uploaded(Dtype::F32, &values).expect("there is memory");
    let to = gpu.activations(values.len()).expect("there is memory");
    gpu.convert(from.mat(1, values.len()), 1.0, to.mat(1, values.len()))
        .expect("it fits");
    let mut found = vec![half::bf16::ZERO; values.len()];
    gpu.download(&to, &mut found).expect("the CPU copies");
    for (value, found) in values.iter().zip(found) {
        let expected = half::bf16::from_f32(*value);
        assert!(
            found.to_bits() == expected.to_bits() || found.is_nan() && value.is_nan(),
            "{value:?}: {found:?} instead of {expected:?}"
        );
    }
}

#[test]
fn values_are_added() {
    each_pair(|gpu, shape, types, places| {
        let from = Matrix::noise(gpu, types[0], shape, places[0], (1, 1.0));
        let to = Matrix::noise(gpu, types[1], shape, places[1], (2, 1.0));
        let found = twice(gpu, &[&to], || {
            gpu.add(from.mat(), to.mat()).expect("it fits")
        });
        let expected: Vec<f64> = from
            .values
            .iter()
            .zip(&to.values)
            .map(|(a, b)| a + b)
            .collect();
        assert_close("sum", types[1], &found[0], &expected, 0.0);
    });
}

#[test]
fn biases_are_added_and_get_their_gradient() {
    each_case(|gpu, rows, columns, place| {
        for first in [0, 3, 4] {
            let (bias, values) = vector(gpu, &noise(1, first + columns));
            for dtype in [gpu.dtype(), Dtype::F32] {
                let y = Matrix::noise(gpu, dtype, (rows, columns), place, (2, 1.0));
                let found = twice(gpu, &[&y], || {
                    gpu.add_bias(&bias, first, 0.5, y.mat()).expect("it fits");
                });
                let sum = |(i, y): (usize, &f64)| y + 0.5 * values[first + i % columns];
                let expected: Vec<f64> = y.values.iter().enumerate().map(sum).collect();
                assert_close("y", dtype, &found[0], &expected, 1e-7);
            }
        }
        for dtype in [gpu.dtype(), Dtype::F32] {
            let dy = Matrix::noise(gpu, dtype, (rows, columns), place, (1, 1.0));
            let d_bias = Matrix::noise(gpu, Dtype::F32, (1, columns), place, (2, 1.0));
            let found = twice(gpu, &[&d_bias], || {
                gpu.bias_gradient(dy.mat(), 0.5, d_bias.mat())
                    .expect("it fits");
            });
            let mut expected = d_bias.values.clone();
            for (i, dy) in dy.values.iter().enumerate() {
                expected[i % columns] += 0.5 * dy;
            }
            assert_close("d_bias", Dtype::F32, &found[0], &expected, 1e-6);
        }
    });
}

#[test]
fn nothing_is_done_to_no_rows() {
    each_precision(|gpu| {
        let tensor = gpu.activations(8).expect("there is memory");
        let none = tensor.mat(0, 8);
        gpu.convert(none, 1.0, none).expect("nothing to do");
        gpu.add(tensor.mat(3, 0), tensor.mat(3, 0))
            .expect("nothing to do");
        gpu.gated(
            tensor.mat(0, 8),
            lora_gpu::Activation::Silu,
            tensor.mat(0, 4),
        )
        .expect("nothing to do");
    });
}

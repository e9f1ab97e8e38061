//! LayerNorm of rows, with a bias and without.
use crate::support::{
    Matrix, assert_close, assert_near, differences, download, each_case, largest, noise, twice,
    upload, vector,
};
use lora_gpu::{Affine, Dtype, Gpu, Tensor, Write};

const EPS: f32 = 1e-5;

/// n and rstd of x, (rows, width).
fn reference(x: &[f64], gamma: &[f64], bias: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut n = Vec::new();
    let mut rstd = Vec::new();
    for row in x.chunks(gamma.len()) {
        let width = row.len() as f64;
        let mean = row.iter().sum::<f64>() / width;
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / width;
        let r = 1.0 / (variance + f64::from(EPS)).sqrt();
        let scaled = row.iter().zip(gamma).map(|(x, g)| g * (x - mean) * r);
        n.extend(scaled.zip(bias).map(|(n, b)| n + b));
        rstd.push(r);
    }
    (n, rstd)
}

/// γ about 1, and a bias.
fn weights(gpu: &Gpu, width: usize) -> [(Tensor, Vec<f64>); 2] {
    let gamma: Vec<f64> = noise(7, width).iter().map(|v| 1.0 + v).collect();
    [vector(gpu, &gamma), vector(gpu, &noise(8, width))]
}

/// A hidden state whose mean is not 0.
fn rows(gpu: &Gpu, shape: (usize, usize), place: crate::support::Place) -> Matrix {
    let values = noise(1, shape.0 * shape.1);
    let values: Vec<f64> = values.iter().map(|v| 3.0 * v + 2.0).collect();
    Matrix::new(gpu, Dtype::F32, shape, place, &values)
}

#[test]
fn rows_are_normalised() {
    each_case(|gpu, count, width, place| {
        let x = rows(gpu, (count, width), place);
        let [(weight, gamma), (shift, bias)] = weights(gpu, width);
        let rstd = gpu.alloc(Dtype::F32, count).expect("there is memory");
        for has_bias in [false, true] {
            let n = Matrix::unwritten(gpu, gpu.dtype(), (count, width), place);
            let affine = Affine {
                gamma: &weight,
                bias: has_bias.then_some(&shift),
            };
            let bias = if has_bias {
                bias.clone()
            } else {
                vec![0.0; width]
            };
            let (expected, expected_rstd) = reference(&x.values, &gamma, &bias);
            let found = twice(gpu, &[&n], || {
                gpu.layer_norm(x.mat(), affine, EPS, n.mat(), &rstd)
                    .expect("it fits");
            });
            assert_close("n", gpu.dtype(), &found[0], &expected, 3e-6);
            let found_rstd = download(gpu, &rstd);
            assert_close("rstd", Dtype::F32, &found_rstd, &expected_rstd, 3e-6);
        }
    });
}

#[test]
fn the_gradient_is_the_difference() {
    each_case(|gpu, count, width, place| {
        let shape = (count, width);
        let x = rows(gpu, shape, place);
        let [(weight, gamma), (_, bias)] = weights(gpu, width);
        let dx = Matrix::noise(gpu, Dtype::F32, shape, place, (3, 1.0));
        let (_, factors) = reference(&x.values, &gamma, &bias);
        let rstd = upload(gpu, Dtype::F32, &factors);
        for dtype in [Dtype::F32, gpu.dtype()] {
            let dn = Matrix::noise(gpu, dtype, shape, place, (2, 1.0));
            let gradient: Vec<f64> = x
                .values
                .chunks(width)
                .zip(dn.values.chunks(width))
                .flat_map(|(x, dn)| differences(x, dn, |x| reference(x, &gamma, &bias).0))
                .collect();
            for write in [Write::Replace, Write::Add] {
                let found = twice(gpu, &[&dx], || {
                    gpu.layer_norm_backward(x.mat(), &weight, &rstd, dn.mat(), dx.mat(), write)
                        .expect("it fits");
                });
                let expected: Vec<f64> = gradient
                    .iter()
                    .zip(&dx.values)
                    .map(|(g, dx)| if write == Write::Add { dx + g } else { *g })
                    .collect();
                // Each row's three terms cancel each other where rows are short.
                for (row, r) in factors.iter().enumerate() {
                    let range = row * width..(row + 1) * width;
                    let noise = 4e-6 * r * largest(&gamma) * largest(&dn.values[range.clone()]);
                    let found = &found[0][range.clone()];
                    assert_near("dx", Dtype::F32, found, &expected[range], noise);
                }
            }
        }
    });
}

/// γ's gradient is that of Σ dn·n, to which each row gives its part.
#[test]
fn the_gradient_of_its_weight_is_the_difference() {
    each_case(|gpu, count, width, place| {
        let shape = (count, width);
        let x = rows(gpu, shape, place);
        let [(_, gamma), (_, bias)] = weights(gpu, width);
        let (_, factors) = reference(&x.values, &gamma, &bias);
        let rstd = upload(gpu, Dtype::F32, &factors);
        let means = gpu.alloc(Dtype::F32, count).expect("there is memory");
        for dtype in [Dtype::F32, gpu.dtype()] {
            let dn = Matrix::noise(gpu, dtype, shape, place, (2, 1.0));
            let d_gamma = Matrix::noise(gpu, Dtype::F32, (1, width), place, (3, 1.0));
            let found = twice(gpu, &[&d_gamma], || {
                gpu.layer_norm_weight_gradient((x.mat(), &means), &rstd, dn.mat(), d_gamma.mat())
                    .expect("it fits");
            });
            let slopes = differences(&gamma, &dn.values, |gamma| {
                reference(&x.values, gamma, &bias).0
            });
            let own = slopes.iter().zip(&d_gamma.values);
            let expected: Vec<f64> = own.map(|(slope, before)| before + slope).collect();
            let terms = 4.0 * count as f64 * largest(&dn.values);
            assert_near("dγ", Dtype::F32, &found[0], &expected, 2e-6 * (1.0 + terms));
        }
    });
}

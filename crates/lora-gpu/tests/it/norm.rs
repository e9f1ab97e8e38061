//! RMSNorm, of rows and of heads.
use crate::support::{
    Matrix, Place, assert_close, assert_near, differences, download, each_case, largest, noise,
    twice, upload, vector,
};
use lora_gpu::{Dtype, Gpu, Tensor, Write};

const EPS: f32 = 1e-5;

/// n and rstd of x, (rows, groups · width).
fn reference(x: &[f64], gamma: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut n = Vec::new();
    let mut rstd = Vec::new();
    for row in x.chunks(gamma.len()) {
        let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
        let r = 1.0 / (mean + f64::from(EPS)).sqrt();
        n.extend(row.iter().zip(gamma).map(|(x, g)| g * x * r));
        rstd.push(r);
    }
    (n, rstd)
}

/// Types of f32 and of activations.
fn types(gpu: &Gpu) -> [Dtype; 2] {
    [Dtype::F32, gpu.dtype()]
}

fn gamma(gpu: &Gpu, width: usize) -> (Tensor, Vec<f64>) {
    vector(
        gpu,
        &noise(7, width).iter().map(|v| 1.0 + v).collect::<Vec<_>>(),
    )
}

fn each_norm(check: impl Fn(&Gpu, (usize, usize), usize, Place)) {
    each_case(|gpu, rows, width, place| {
        for groups in [1, 3] {
            check(gpu, (rows, groups), width, place);
        }
    });
}

#[test]
fn rows_and_heads_are_normalised() {
    each_norm(|gpu, (rows, groups), width, place| {
        let shape = (rows, groups * width);
        let (weight, gamma) = gamma(gpu, width);
        for dtype in types(gpu) {
            let x = Matrix::noise(gpu, dtype, shape, place, (1, 3.0));
            let n = Matrix::unwritten(gpu, gpu.dtype(), shape, place);
            let again = Matrix::unwritten(gpu, gpu.dtype(), shape, place);
            let rstd = gpu
                .alloc(Dtype::F32, rows * groups)
                .expect("there is memory");
            let (expected, expected_rstd) = reference(&x.values, &gamma);
            let found = twice(gpu, &[&n], || {
                gpu.norm(x.mat(), &weight, EPS, n.mat(), &rstd)
                    .expect("it fits");
            });
            assert_close("n", gpu.dtype(), &found[0], &expected, 1e-6);
            let found_rstd = download(gpu, &rstd);
            assert_close("rstd", Dtype::F32, &found_rstd, &expected_rstd, 1e-6);
            gpu.norm_again(x.mat(), &weight, &rstd, again.mat())
                .expect("it fits");
            assert_eq!(again.now(gpu), found[0], "normalised again");
        }
    });
}

#[test]
fn a_norm_is_added() {
    each_case(|gpu, rows, width, place| {
        let (weight, gamma) = gamma(gpu, width);
        let y = Matrix::noise(gpu, gpu.dtype(), (rows, width), place, (1, 3.0));
        let x = Matrix::noise(gpu, Dtype::F32, (rows, width), place, (2, 1.0));
        let rstd = gpu.alloc(Dtype::F32, rows).expect("there is memory");
        let found = twice(gpu, &[&x], || {
            gpu.norm_add(y.mat(), &weight, EPS, x.mat(), &rstd)
                .expect("it fits");
        });
        let (n, expected_rstd) = reference(&y.values, &gamma);
        let expected: Vec<f64> = x.values.iter().zip(&n).map(|(x, n)| x + n).collect();
        assert_close("x", Dtype::F32, &found[0], &expected, 1e-6);
        assert_close(
            "rstd",
            Dtype::F32,
            &download(gpu, &rstd),
            &expected_rstd,
            1e-6,
        );
    });
}

#[test]
fn the_gradient_is_the_difference() {
    each_norm(|gpu, (rows, groups), width, place| {
        let shape = (rows, groups * width);
        let (weight, gamma) = gamma(gpu, width);
        for (x_type, dn_type, dx_type) in [
            (0, 0, 0),
            (0, 0, 1),
            (0, 1, 0),
            (0, 1, 1),
            (1, 0, 0),
            (1, 0, 1),
            (1, 1, 0),
            (1, 1, 1),
        ] {
            let types = types(gpu);
            let x = Matrix::noise(gpu, types[x_type], shape, place, (1, 3.0));
            let dn = Matrix::noise(gpu, types[dn_type], shape, place, (2, 1.0));
            let dx = Matrix::noise(gpu, types[dx_type], shape, place, (3, 1.0));
            let (_, factors) = reference(&x.values, &gamma);
            let rstd = upload(gpu, Dtype::F32, &factors);
            // Each row's two terms cancel each other where rows are short.
            let close = |got: &[f64], expected: &[f64], dtype: Dtype| {
                for (row, r) in factors.iter().enumerate() {
                    let range = row * width..(row + 1) * width;
                    let noise = 2e-6 * r * largest(&gamma) * largest(&dn.values[range.clone()]);
                    assert_near("dx", dtype, &got[range.clone()], &expected[range], noise);
                }
            };
            let gradient: Vec<f64> = x
                .values
                .chunks(width)
                .zip(dn.values.chunks(width))
                .flat_map(|(x, dn)| differences(x, dn, |x| reference(x, &gamma).0))
                .collect();
            for write in [Write::Replace, Write::Add] {
                let found = twice(gpu, &[&dx], || {
                    gpu.norm_backward(x.mat(), &weight, &rstd, dn.mat(), dx.mat(), write)
                        .expect("it fits");
                });
                let expected: Vec<f64> = gradient
                    .iter()
                    .zip(&dx.values)
                    .map(|(g, dx)| if write == Write::Add { dx + g } else { *g })
                    .collect();
                close(&found[0], &expected, types[dx_type]);
            }
            if dn_type == dx_type {
                gpu.norm_backward(x.mat(), &weight, &rstd, dn.mat(), dn.mat(), Write::Replace)
                    .expect("it fits");
                close(&dn.now(gpu), &gradient, types[dx_type]);
            }
        }
    });
}

#[test]
fn the_weights_gradient_is_the_difference() {
    each_norm(|gpu, (rows, groups), width, place| {
        let shape = (rows, groups * width);
        let (_, gamma) = gamma(gpu, width);
        for (x_type, dn_type) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let x = Matrix::noise(gpu, types(gpu)[x_type], shape, place, (1, 3.0));
            let dn = Matrix::noise(gpu, types(gpu)[dn_type], shape, place, (2, 1.0));
            let d_gamma = Matrix::noise(gpu, Dtype::F32, (1, width), place, (3, 1.0));
            let (n, rstd) = reference(&x.values, &gamma);
            let rstd = upload(gpu, Dtype::F32, &rstd);
            let found = twice(gpu, &[&d_gamma], || {
                gpu.norm_weight_gradient(x.mat(), &rstd, dn.mat(), d_gamma.mat())
                    .expect("it fits");
            });
            // n is linear in γ: the difference is n / γ.
            let mut expected = d_gamma.values.clone();
            for (i, (n, dn)) in n.iter().zip(&dn.values).enumerate() {
                expected[i % width] += dn * n / gamma[i % width];
            }
            assert_close("dγ", Dtype::F32, &found[0], &expected, 2e-6);
        }
    });
}

#[test]
fn a_column_of_many_rows_is_summed() {
    let gpu = lora_gpu::OnCpu::gpu(lora_gpu::Precision::Bf16);
    let dense = Place {
        offset: 0,
        padding: 0,
    };
    let dy = Matrix::noise(&gpu, Dtype::Bf16, (1000, 40), dense, (1, 1.0));
    let d_bias = Matrix::noise(&gpu, Dtype::F32, (1, 40), dense, (2, 1.0));
    gpu.bias_gradient(dy.mat(), 0.5, d_bias.mat())
        .expect("it fits");
    let mut expected = d_bias.values.clone();
    for (i, v) in dy.values.iter().enumerate() {
        expected[i % 40] += 0.5 * v;
    }
    assert_close("sum", Dtype::F32, &d_bias.now(&gpu), &expected, 5e-6);
}

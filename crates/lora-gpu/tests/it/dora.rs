//! DoRA's norms and magnitudes.
use crate::support::{
    Matrix, PLACES, Place, assert_close, differences, download, each_case, each_precision, noise,
    twice, upload, vector,
};
use lora_gpu::{DoraFactors, Dtype};

const DENSE: Place = PLACES[0];

#[test]
fn norms_are_those_of_the_adapted_weight() {
    each_precision(|gpu| {
        for (outputs, inputs, rank) in [(5, 40, 3), (3, 17, 1), (7, 64, 300)] {
            for place in PLACES {
                let matrix = |rows, columns, seed| {
                    Matrix::noise(gpu, Dtype::F32, (rows, columns), place, (seed, 1.0))
                };
                let (w, a, b) = (
                    matrix(outputs, inputs, 1),
                    matrix(rank, inputs, 2),
                    matrix(outputs, rank, 3),
                );
                let dot =
                    |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
                let row =
                    |m: &Matrix, i: usize| m.values[i * m.columns..(i + 1) * m.columns].to_vec();
                let products = |x: &Matrix, y: &Matrix| -> Vec<f64> {
                    (0..x.rows)
                        .flat_map(|i| (0..y.rows).map(move |j| dot(&row(x, i), &row(y, j))))
                        .collect()
                };
                let projected =
                    Matrix::new(gpu, Dtype::F32, (outputs, rank), place, &products(&w, &a));
                let gram = Matrix::new(gpu, Dtype::F32, (rank, rank), place, &products(&a, &a));
                let squares: Vec<f64> = (0..outputs)
                    .map(|o| dot(&row(&w, o), &row(&w, o)))
                    .collect();
                let magnitude = Matrix::noise(gpu, Dtype::F32, (1, outputs), place, (4, 2.0));
                let norms = gpu.alloc(Dtype::F32, outputs).expect("there is memory");
                let gain = gpu.alloc(Dtype::F32, outputs).expect("there is memory");
                let squares = upload(gpu, Dtype::F32, &squares);
                let factors = DoraFactors {
                    squares: &squares,
                    b: b.mat(),
                    projected: projected.mat(),
                    gram: gram.mat(),
                    scaling: 0.5,
                };
                gpu.dora_gain(factors, magnitude.mat(), &norms, &gain)
                    .expect("it fits");
                let expected: Vec<f64> = (0..outputs)
                    .map(|o| {
                        let adapted: Vec<f64> = (0..inputs)
                            .map(|i| {
                                let update: f64 = (0..rank)
                                    .map(|r| b.values[o * rank + r] * a.values[r * inputs + i])
                                    .sum();
                                w.values[o * inputs + i] + 0.5 * update
                            })
                            .collect();
                        dot(&adapted, &adapted).sqrt()
                    })
                    .collect();
                assert_close("norm", Dtype::F32, &download(gpu, &norms), &expected, 2e-6);
                let gains: Vec<f64> = magnitude
                    .values
                    .iter()
                    .zip(&expected)
                    .map(|(m, n)| m / n)
                    .collect();
                assert_close("gain", Dtype::F32, &download(gpu, &gain), &gains, 2e-6);
            }
        }
    });
}

#[test]
fn columns_are_scaled() {
    each_case(|gpu, rows, columns, place| {
        for first in [0, 4, 5] {
            let (gain, gains) = vector(gpu, &noise(1, first + columns));
            let z = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (2, 1.0));
            let y = Matrix::unwritten(gpu, gpu.dtype(), (rows, columns), place);
            let found = twice(gpu, &[&y], || {
                gpu.scale_columns(z.mat(), &gain, first, y.mat())
                    .expect("it fits");
            });
            let expected: Vec<f64> = z
                .values
                .iter()
                .enumerate()
                .map(|(i, z)| z * gains[first + i % columns])
                .collect();
            assert_close("y", gpu.dtype(), &found[0], &expected, 0.0);
        }
    });
}

#[test]
fn a_magnitudes_gradient_is_the_difference() {
    each_case(|gpu, rows, columns, place| {
        let dy = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let z = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (2, 1.0));
        let positive: Vec<f64> = noise(3, columns).iter().map(|v| v.abs() + 0.5).collect();
        let (_, mut norms) = vector(gpu, &positive);
        norms[columns / 2] = 0.0;
        let tensor = upload(gpu, Dtype::F32, &norms);
        let d_m = Matrix::noise(gpu, Dtype::F32, (1, columns), place, (4, 1.0));
        let found = twice(gpu, &[&d_m], || {
            gpu.magnitude_gradient(dy.mat(), z.mat(), &tensor, d_m.mat())
                .expect("it fits");
        });
        let mut expected = d_m.values.clone();
        for (column, sum) in expected.iter_mut().enumerate() {
            if norms[column] == 0.0 {
                continue;
            }
            let of_column = |m: &Matrix| -> Vec<f64> {
                m.values
                    .iter()
                    .skip(column)
                    .step_by(columns)
                    .copied()
                    .collect()
            };
            let z = of_column(&z);
            let y = |m: &[f64]| z.iter().map(|z| m[0] / norms[column] * z).collect();
            *sum += differences(&[1.0], &of_column(&dy), y)[0];
        }
        assert_close("d_m", Dtype::F32, &found[0], &expected, 2e-6);
    });
}

#[test]
fn squares_of_rows_are_summed() {
    each_case(|gpu, rows, columns, place| {
        let w = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let squares = Matrix::unwritten(gpu, Dtype::F32, (1, rows), DENSE);
        let found = twice(gpu, &[&squares], || {
            gpu.row_squares(w.mat(), &squares.tensor).expect("it fits");
        });
        let rows = w.values.chunks(columns);
        let expected: Vec<f64> = rows.map(|row| row.iter().map(|v| v * v).sum()).collect();
        assert_close("squares", Dtype::F32, &found[0], &expected, 1e-6);
    });
}

//! DoRA's norms and magnitudes.
use crate::support::{
    Matrix, PLACES, Place, assert_close, differences, each_case, each_precision, noise, twice,
    vector,
};
use lora_gpu::{DoraFactors, Dtype, Gpu, Write};

const DENSE: Place = PLACES[0];

/// Rows of a matrix that are multiplied with rows of another: (x.rows, y.rows).
fn products(x: &Matrix, y: &Matrix) -> Vec<f64> {
    let rows =
        |m: &Matrix| -> Vec<Vec<f64>> { m.values.chunks(m.columns).map(<[f64]>::to_vec).collect() };
    let (x, y) = (rows(x), rows(y));
    x.iter()
        .flat_map(|a| y.iter().map(move |b| dot(a, b)))
        .collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// ‖w + b·A‖ of each row w of a weight.
fn norms(w: &Matrix, a: &Matrix, b: &Matrix) -> Vec<f64> {
    let adapted = |output: usize| -> Vec<f64> {
        let b = &b.values[output * b.columns..(output + 1) * b.columns];
        (0..w.columns)
            .map(|i| {
                let along: f64 = (0..a.rows)
                    .map(|r| b[r] * a.values[r * a.columns + i])
                    .sum();
                w.values[output * w.columns + i] + along
            })
            .collect()
    };
    (0..w.rows)
        .map(|output| dot(&adapted(output), &adapted(output)).sqrt())
        .collect()
}

#[test]
fn norms_are_those_of_the_adapted_weight() {
    each_precision(|gpu| {
        for (outputs, inputs, rank) in [(5, 40, 3), (3, 17, 1), (7, 64, 300)] {
            for place in PLACES {
                let matrix = |dtype, rows, columns, seed| {
                    Matrix::noise(gpu, dtype, (rows, columns), place, (seed, 1.0))
                };
                let w = matrix(gpu.dtype(), outputs, inputs, 1);
                let a = matrix(gpu.dtype(), rank, inputs, 2);
                let b = matrix(gpu.dtype(), outputs, rank, 3);
                let of = |rows, columns, values: &[f64]| {
                    Matrix::new(gpu, Dtype::F32, (rows, columns), place, values)
                };
                let projected = of(outputs, rank, &products(&w, &a));
                let gram = of(rank, rank, &products(&a, &a));
                let squares: Vec<f64> = w
                    .values
                    .chunks(inputs)
                    .map(|row| row.iter().map(|v| v * v).sum())
                    .collect();
                let squares = of(1, outputs, &squares);
                let magnitude = Matrix::noise(gpu, Dtype::F32, (1, outputs), place, (4, 2.0));
                let found =
                    [(); 2].map(|()| Matrix::unwritten(gpu, Dtype::F32, (1, outputs), place));
                let factors = DoraFactors {
                    squares: squares.mat(),
                    b: b.mat(),
                    projected: projected.mat(),
                    gram: gram.mat(),
                };
                let [norm, gain] = &found;
                let now = twice(gpu, &[norm, gain], || {
                    gpu.dora_gain(factors, magnitude.mat(), norm.mat(), gain.mat())
                        .expect("it fits");
                });
                let expected = norms(&w, &a, &b);
                assert_close("norm", Dtype::F32, &now[0], &expected, 2e-6);
                let gains: Vec<f64> = magnitude
                    .values
                    .iter()
                    .zip(&expected)
                    .map(|(m, n)| m / n)
                    .collect();
                assert_close("gain", Dtype::F32, &now[1], &gains, 2e-6);
            }
        }
    });
}

#[test]
fn columns_are_scaled() {
    each_case(|gpu, rows, columns, place| {
        for (other, less) in [(place, 0.0), (DENSE, 1.0)] {
            for (from, dtype, write) in [
                (gpu.dtype(), gpu.dtype(), Write::Replace),
                (gpu.dtype(), gpu.dtype(), Write::Add),
                (gpu.dtype(), Dtype::F32, Write::Add),
                (Dtype::F32, Dtype::F32, Write::Replace),
                (Dtype::F32, gpu.dtype(), Write::Replace),
            ] {
                let gain = Matrix::noise(gpu, Dtype::F32, (1, columns), other, (1, 1.0));
                let z = Matrix::noise(gpu, from, (rows, columns), place, (2, 1.0));
                let y = match write {
                    Write::Replace => Matrix::unwritten(gpu, dtype, (rows, columns), place),
                    Write::Add => Matrix::noise(gpu, dtype, (rows, columns), other, (3, 1.0)),
                };
                let found = twice(gpu, &[&y], || {
                    gpu.scale_columns(z.mat(), (gain.mat(), less), y.mat(), write)
                        .expect("it fits");
                });
                let scaled = z.values.iter().enumerate();
                let scaled = scaled.map(|(i, z)| z * (gain.values[i % columns] - f64::from(less)));
                let expected: Vec<f64> = match write {
                    Write::Replace => scaled.collect(),
                    Write::Add => scaled.zip(&y.values).map(|(a, b)| a + b).collect(),
                };
                assert_close("y", dtype, &found[0], &expected, 3e-7);
            }
        }
    });
}

#[test]
fn a_magnitudes_gradient_is_the_difference() {
    each_case(|gpu, rows, columns, place| {
        let act = gpu.dtype();
        for types in [[act, act], [act, Dtype::F32], [Dtype::F32, Dtype::F32]] {
            check_magnitude(gpu, types, (rows, columns), place);
        }
    });
}

fn check_magnitude(
    gpu: &Gpu,
    [of_dy, of_z]: [Dtype; 2],
    (rows, columns): (usize, usize),
    place: Place,
) {
    let dy = Matrix::noise(gpu, of_dy, (rows, columns), place, (1, 1.0));
    let z = Matrix::noise(gpu, of_z, (rows, columns), place, (2, 1.0));
    let positive: Vec<f64> = noise(3, columns).iter().map(|v| v.abs() + 0.5).collect();
    let (_, mut norms) = vector(gpu, &positive);
    norms[columns / 2] = 0.0;
    let on_device = Matrix::new(gpu, Dtype::F32, (1, columns), place, &norms);
    let d_m = Matrix::noise(gpu, Dtype::F32, (1, columns), place, (4, 1.0));
    let found = twice(gpu, &[&d_m], || {
        gpu.magnitude_gradient(dy.mat(), z.mat(), on_device.mat(), d_m.mat())
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
}

#[test]
fn squares_of_rows_are_summed() {
    each_case(|gpu, rows, columns, place| {
        let w = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let squares = Matrix::unwritten(gpu, Dtype::F32, (1, rows), DENSE);
        let found = twice(gpu, &[&squares], || {
            gpu.row_squares(w.mat(), squares.mat()).expect("it fits");
        });
        let rows = w.values.chunks(columns);
        let expected: Vec<f64> = rows.map(|row| row.iter().map(|v| v * v).sum()).collect();
        assert_close("squares", Dtype::F32, &found[0], &expected, 1e-6);
    });
}

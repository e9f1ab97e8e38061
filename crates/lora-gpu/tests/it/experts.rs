//! Rows of a mixture of experts: summed token by token, and weighed on the way back.
use crate::support::{
    Matrix, assert_close, assert_near, differences, download, each_case, largest, noise, twice,
    upload_u32, vector,
};
use lora_gpu::{Dtype, Gpu, Slots, Tensor, Write};

/// Rows of a token.
const CHOSEN: usize = 3;

/// A row for each slot, each once, in no order.
fn places(slots: usize) -> Vec<u32> {
    let is_prime_to = |a: usize| (2..=a).all(|d| !(a.is_multiple_of(d) && slots.is_multiple_of(d)));
    let step = (2..).find(|&step| is_prime_to(step)).unwrap_or(1);
    (0..slots)
        .map(|slot| ((slot * step + 1) % slots) as u32)
        .collect()
}

/// scale · Σ weight·row of each token.
fn sums(rows: &[f64], columns: usize, places: &[u32], weights: &[f64], scale: f64) -> Vec<f64> {
    let of_token = |own: &[u32]| {
        let mut sum = vec![0.0; columns];
        for &row in own {
            let values = &rows[row as usize * columns..][..columns];
            let weight = weights[row as usize];
            sum.iter_mut()
                .zip(values)
                .for_each(|(s, v)| *s += weight * v);
        }
        sum.into_iter().map(|s| scale * s).collect::<Vec<f64>>()
    };
    places.chunks(CHOSEN).flat_map(of_token).collect()
}

fn weights(gpu: &Gpu, rows: usize) -> (Tensor, Vec<f64>) {
    vector(gpu, &noise(7, rows))
}

#[test]
fn a_tokens_rows_are_summed_with_their_weights() {
    each_case(|gpu, tokens, columns, place| {
        let count = tokens * CHOSEN;
        let rows = Matrix::noise(gpu, gpu.dtype(), (count, columns), place, (1, 1.0));
        let list = places(count);
        let places = upload_u32(gpu, &list);
        let (weights, values) = weights(gpu, count);
        let ones = vec![1.0; count];
        for dtype in [Dtype::F32, gpu.dtype()] {
            for (weights, values) in [(Some(&weights), &values), (None, &ones)] {
                let slots = Slots {
                    places: &places,
                    chosen: CHOSEN,
                    weights,
                };
                let expected = sums(&rows.values, columns, &list, values, 0.75);
                let most = 3.0 * largest(&rows.values) * largest(values);
                let shape = (tokens, columns);
                let x = Matrix::unwritten(gpu, dtype, shape, place);
                let found = twice(gpu, &[&x], || {
                    gpu.combine(rows.mat(), slots, 0.75, x.mat(), Write::Replace)
                        .expect("it fits");
                });
                assert_near("sums", dtype, &found[0], &expected, 1e-6 * most);
                let x = Matrix::noise(gpu, dtype, shape, place, (3, 1.0));
                let found = twice(gpu, &[&x], || {
                    gpu.combine(rows.mat(), slots, 0.75, x.mat(), Write::Add)
                        .expect("it fits");
                });
                let pairs = expected.iter().zip(&x.values);
                let added: Vec<f64> = pairs.map(|(a, b)| a + b).collect();
                assert_near("added", dtype, &found[0], &added, 1e-6 * most);
            }
        }
    });
}

/// y = weight·x of each row: the gradients of x and of the weight, from that of y.
#[test]
fn a_rows_gradient_meets_its_weight_and_gives_that_of_the_weight() {
    each_case(|gpu, rows, columns, place| {
        let d = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let x = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (2, 1.0));
        let (weights, values) = weights(gpu, rows);
        let dots = gpu.alloc(Dtype::F32, rows).expect("there is memory");
        let found = twice(gpu, &[&d], || {
            gpu.weigh(d.mat(), x.mat(), &weights, &dots)
                .expect("it fits");
        });
        let found_dots = download(gpu, &dots);
        for (row, &weight) in values.iter().enumerate() {
            let own = row * columns..(row + 1) * columns;
            let (x, d) = (&x.values[own.clone()], &d.values[own.clone()]);
            let of_x = |x: &[f64]| x.iter().map(|x| weight * x).collect::<Vec<f64>>();
            let expected = differences(x, d, of_x);
            assert_close("d", gpu.dtype(), &found[0][own], &expected, 1e-6);
            let of_weight = |w: &[f64]| x.iter().map(|x| w[0] * x).collect::<Vec<f64>>();
            let expected = differences(&[weight], d, of_weight);
            let dot = found_dots[row];
            let terms: f64 = x.iter().zip(d).map(|(x, d)| (x * d).abs()).sum();
            assert_near("weight", Dtype::F32, &[dot], &expected, 1e-6 * terms + 1e-9);
        }
    });
}

#[test]
fn rows_are_multiplied_by_their_weights() {
    each_case(|gpu, rows, columns, place| {
        let x = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let (weights, values) = weights(gpu, rows);
        let found = twice(gpu, &[&x], || {
            gpu.weigh_rows(x.mat(), &weights).expect("it fits");
        });
        let own = x.values.iter().enumerate();
        let expected: Vec<f64> = own.map(|(i, v)| values[i / columns] * v).collect();
        assert_close("weighed", gpu.dtype(), &found[0], &expected, 1e-6);
    });
}

/// y = row + bias of its expert: what is added, and the gradient of a weight that y is multiplied by.
#[test]
fn a_row_has_the_bias_of_its_expert() {
    const EXPERTS: usize = 3;
    each_case(|gpu, rows, columns, place| {
        let (biases, values) = vector(gpu, &noise(5, EXPERTS * columns));
        let list: Vec<u32> = (0..rows).map(|row| (row * 7 % EXPERTS) as u32).collect();
        let which = upload_u32(gpu, &list);
        let bias = |row: usize| &values[list[row] as usize * columns..][..columns];
        let y = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let found = twice(gpu, &[&y], || {
            gpu.add_bias_of(&biases, &which, y.mat()).expect("it fits");
        });
        let own = y.values.iter().enumerate();
        let expected: Vec<f64> = own
            .map(|(i, v)| v + bias(i / columns)[i % columns])
            .collect();
        assert_close("y", gpu.dtype(), &found[0], &expected, 1e-6);

        let d = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (2, 1.0));
        let place = crate::support::PLACES[0];
        let dots = Matrix::noise(gpu, Dtype::F32, (1, rows), place, (3, 1.0));
        let found = twice(gpu, &[&dots], || {
            gpu.add_bias_dots(&biases, &which, d.mat(), &dots.tensor)
                .expect("it fits");
        });
        for (row, d) in d.values.chunks(columns).enumerate() {
            let weighted = |w: &[f64]| bias(row).iter().map(|b| w[0] * b).collect::<Vec<f64>>();
            let expected = dots.values[row] + differences(&[1.0], d, weighted)[0];
            let terms: f64 = bias(row).iter().zip(d).map(|(b, d)| (b * d).abs()).sum();
            assert_near(
                "dot",
                Dtype::F32,
                &found[0][row..=row],
                &[expected],
                1e-6 * (1.0 + terms),
            );
        }
    });
}

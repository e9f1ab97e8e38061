//! Products by every instruction set that this machine has, and by the tile shape of AVX-512 in portable code.
use super::isa::{Kernels, all, with_each};
use super::left::Left;
use super::packing::{Rows, transpose};
use super::product::Product;
use super::right::MatRight;
use crate::matrix::{Mat, Place};

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7 + seed) % 13) as f32 - 6.0).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

/// (m, n) = (m, k) · (k, n), and `extra` steps more.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    extra: usize,
}

/// Shapes with ragged edges everywhere.
#[test]
fn every_instruction_set_gives_the_product() {
    assert_eq!(all().filter(|k| k.name == "portable").count(), 1);
    let shapes = [
        (1, 1, 1, 0),
        (13, 35, 9, 3),
        (64, 70, 401, 16),
        (12, 32, 8, 0),
        (25, 8, 800, 5),
    ];
    for kernels in all() {
        for (m, n, k, extra) in shapes {
            check(kernels, Case { m, n, k, extra });
        }
    }
}

fn check(kernels: &'static Kernels, case: Case) {
    let Case { m, n, k, extra } = case;
    let (x, w) = (values(m * k, 1), values(n * k, 2));
    let (u, b) = (values(m * extra, 3), values(n * extra, 4));
    let (mut packed, mut packed_u) = (Vec::new(), Vec::new());
    let left = Left::pack_with(kernels, Mat::new(&x, m, k), 1, &mut packed);
    let more = Left::pack_with(kernels, Mat::new(&u, m, extra), 1, &mut packed_u);
    let right = MatRight::new(Mat::new(&w, n, k).t());
    let right_more = MatRight::scaled(Mat::new(&b, n, extra).t(), 2.0);
    let mut product = Product::new(left, &right).scaled(0.5).with(kernels);
    if extra > 0 {
        product = product.and(more, &right_more);
    }
    let mut y = vec![1.0; m * n];
    product.run(Place::new(&mut y, m, n).adding());
    for i in 0..m {
        for j in 0..n {
            let main = dot(&x[i * k..(i + 1) * k], &w[j * k..(j + 1) * k]);
            let beside = dot(
                &u[i * extra..(i + 1) * extra],
                &b[j * extra..(j + 1) * extra],
            );
            assert_eq!(
                f64::from(y[i * n + j]),
                1.0 + 0.5 * main + beside,
                "{}, {case:?} at ({i}, {j})",
                kernels.name
            );
        }
    }
}

/// Rows of an exact slice: nothing beyond them is read, which the checks of memory see.
#[test]
fn every_instruction_set_transposes() {
    with_each(|name| {
        for (rows, steps, stride, width) in [
            (0, 5, 5, 6),
            (1, 1, 1, 6),
            (6, 16, 16, 6),
            (5, 19, 23, 12),
            (12, 9, 9, 12),
            (3, 8, 40, 16),
        ] {
            let from = values(usize::saturating_sub(rows, 1) * stride + steps, 5);
            let mut to = vec![9.0; steps * width];
            let lines = Rows {
                values: &from,
                stride,
                count: rows,
            };
            transpose(lines, steps, &mut to, width);
            for (i, &value) in to.iter().enumerate() {
                let (step, row) = (i / width, i % width);
                let want = if row < rows {
                    from[row * stride + step]
                } else {
                    0.0
                };
                assert_eq!(value, want, "{name}: row {row}, step {step}");
            }
        }
    });
}

#[test]
#[should_panic(expected = "rows outside their slice")]
fn rows_that_are_not_there_are_not_transposed() {
    let lines = Rows {
        values: &[0.0; 8],
        stride: usize::MAX / 2 + 1,
        count: 3,
    };
    transpose(lines, 8, &mut [0.0; 64], 8);
}

#[test]
#[should_panic(expected = "product: (2, 3) = (2, 4) · (4, 5)")]
fn shapes_must_fit() {
    let mut memory = Vec::new();
    let x = [0.0; 8];
    let w = [0.0; 20];
    let left = Left::pack(Mat::new(&x, 2, 4), 1, &mut memory);
    let right = MatRight::new(Mat::new(&w, 4, 5));
    let mut y = [0.0; 6];
    Product::new(left, &right).run(Place::new(&mut y, 2, 3));
}

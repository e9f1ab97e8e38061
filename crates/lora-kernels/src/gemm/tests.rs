//! Products by every instruction set that this machine has, and by the tile shape of AVX-512 in portable code.
use super::isa::{Kernels, all, with_each};
use super::left::Left;
use super::packing::{Rows, transpose};
use super::product::Product;
use super::right::{MatRight, Plain, Right, Transposed};
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
    let padded = m.next_multiple_of(kernels.rows);
    let (mut packed, mut packed_u) = (vec![0.0; padded * k], vec![0.0; padded * extra]);
    let left = Left::pack_with(kernels, Mat::new(&x, m, k), 1, &mut packed, true);
    let more = Left::pack_with(kernels, Mat::new(&u, m, extra), 1, &mut packed_u, false);
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

/// A weight in bfloat16, read where it lies or row by row.
struct Bf16 {
    values: Vec<[u8; 2]>,
    columns: usize,
    in_place: bool,
}

impl crate::rows::Rows for Bf16 {
    fn rows(&self) -> usize {
        self.values.len() / self.columns
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        let values = &self.values[first * self.columns..];
        for (to, &value) in out.iter_mut().zip(values) {
            *to = f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16);
        }
    }
    fn unit(&self) -> usize {
        1
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        let values = &self.values[row * self.columns + column..];
        for (to, &value) in out.iter_mut().zip(values) {
            *to = f32::from_bits(u32::from(u16::from_le_bytes(value)) << 16);
        }
    }
    fn as_bf16(&self) -> Option<&[[u8; 2]]> {
        self.in_place.then_some(&self.values)
    }
}

/// Values whose products and sums round, a zero below zero and a small one among them.
fn rounding(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match i % 97 {
            13 => -0.0,
            29 => f32::from_bits(0x0001_0000), // the smallest bfloat16 but one
            _ => (state >> 8) as f32 / (1 << 24) as f32 - 0.5,
        }
    };
    (0..n).map(next).collect()
}

/// Read where they lie, weights in bfloat16 give the bits of those that are widened row by row, by every instruction set, with
/// ragged edges and odd numbers of steps.
#[test]
fn bf16_in_place_changes_no_bit() {
    for kernels in all() {
        for (m, n, k) in [
            (1, 1, 2),
            (13, 35, 10),
            (25, 70, 402),
            (7, 33, 1),
            (12, 40, 801),
        ] {
            let x = rounding(m * k, 1);
            let mut memory = vec![0.0; m.next_multiple_of(kernels.rows) * k];
            let left = Left::pack_with(kernels, Mat::new(&x, m, k), 1, &mut memory, false);
            let stored = rounding(n * k, 2);
            let stored = stored
                .iter()
                .map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes());
            let stored: Vec<[u8; 2]> = stored.collect();
            let run = |right: &dyn Right| {
                let mut y = vec![1.0; m * n];
                let product = Product::new(left, right).with(kernels);
                product.run(Place::new(&mut y, m, n).adding());
                y.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            let both = |columns: usize, run: &dyn Fn(&Bf16) -> Vec<u32>| {
                [true, false].map(|in_place| {
                    run(&Bf16 {
                        values: stored.clone(),
                        columns,
                        in_place,
                    })
                })
            };
            for [in_place, widened] in [
                both(k, &|weight| run(&Transposed(weight))),
                both(n, &|weight| run(&Plain::new(weight))),
            ] {
                assert!(in_place == widened, "{}: ({m}, {n}, {k})", kernels.name);
            }
        }
    }
}

//! Rotary position embedding.
use crate::support::{
    Matrix, PLACES, assert_close, differences, each_precision, noise, twice, upload_u32, vector,
};
use lora_gpu::{Pairs, Rotary};

struct Case {
    rows: usize,
    heads: usize,
    head_dim: usize,
    half: usize,
}

/// Whole heads, parts of heads, odd halves, nothing, one pair.
const CASES: [Case; 6] = [
    Case {
        rows: 3,
        heads: 2,
        head_dim: 16,
        half: 8,
    },
    Case {
        rows: 5,
        heads: 3,
        head_dim: 20,
        half: 4,
    },
    Case {
        rows: 2,
        heads: 1,
        head_dim: 7,
        half: 3,
    },
    Case {
        rows: 1,
        heads: 4,
        head_dim: 2,
        half: 1,
    },
    Case {
        rows: 2,
        heads: 2,
        head_dim: 6,
        half: 0,
    },
    Case {
        rows: 2,
        heads: 17,
        head_dim: 128,
        half: 64,
    },
];

/// Where the two features of pair i lie in a head.
fn places(pairs: Pairs, half: usize, i: usize) -> (usize, usize) {
    match pairs {
        Pairs::Halves => (i, i + half),
        Pairs::Neighbours => (2 * i, 2 * i + 1),
    }
}

fn reference(
    x: &[f64],
    (case, pairs): (&Case, Pairs),
    table: &[f64],
    rows: &[u32],
    sign: f64,
) -> Vec<f64> {
    let &Case {
        heads,
        head_dim,
        half,
        ..
    } = case;
    let mut y = x.to_vec();
    for (t, &row) in rows.iter().enumerate() {
        for head in 0..heads {
            for i in 0..half {
                let start = (t * heads + head) * head_dim;
                let (a, b) = places(pairs, half, i);
                let (a, b) = (start + a, start + b);
                let angles = row as usize * 2 * half;
                let (cos, sin) = (table[angles + i], sign * table[angles + half + i]);
                y[a] = x[a] * cos - x[b] * sin;
                y[b] = x[b] * cos + x[a] * sin;
            }
        }
    }
    y
}

#[test]
fn heads_are_turned_and_turned_back() {
    each_precision(|gpu| {
        for case in CASES {
            let both = [Pairs::Halves, Pairs::Neighbours];
            for (place, pairs) in PLACES
                .into_iter()
                .flat_map(|p| both.map(|pairs| (p, pairs)))
            {
                let shape = (case.rows, case.heads * case.head_dim);
                let positions: Vec<u32> = (0..case.rows as u32).map(|t| (t * 5 + 2) % 7).collect();
                // Any table will do: it needn't hold a cosine and sine of one angle.
                let (table, angles) = vector(gpu, &noise(1, 7 * 2 * case.half));
                let rows = upload_u32(gpu, &positions);
                let rotary = Rotary {
                    table: &table,
                    half: case.half,
                    pairs,
                    rows: &rows,
                    head_dim: case.head_dim,
                };
                let x = Matrix::noise(gpu, gpu.dtype(), shape, place, (2, 2.0));
                let turn = |x: &[f64]| reference(x, (&case, pairs), &angles, &positions, 1.0);
                let found = twice(gpu, &[&x], || {
                    gpu.rotate(x.mat(), rotary, false).expect("it fits");
                });
                assert_close("turned", gpu.dtype(), &found[0], &turn(&x.values), 1e-6);
                let found = twice(gpu, &[&x], || {
                    gpu.rotate(x.mat(), rotary, true).expect("it fits");
                });
                let back = reference(&x.values, (&case, pairs), &angles, &positions, -1.0);
                assert_close("turned back", gpu.dtype(), &found[0], &back, 1e-6);
                if x.values.len() < 200 {
                    let gradient = differences(&x.values, &x.values, turn);
                    assert_close("gradient", gpu.dtype(), &found[0], &gradient, 1e-6);
                }
            }
        }
    });
}

//! Softmax of scores.
use crate::support::{
    Matrix, Place, assert_close, differences, each_precision, noise, twice, upload,
};
use lora_gpu::{Dtype, Gpu, Scores, Tensor};

const DENSE: Place = Place {
    offset: 0,
    padding: 0,
};

fn shapes() -> Vec<Scores> {
    let plain = Scores {
        heads: 2,
        queries: 5,
        keys: 8,
        past: 3,
        window: None,
        scale: 0.7,
        softcap: None,
    };
    vec![
        plain,
        Scores {
            queries: 1,
            keys: 1,
            past: 0,
            ..plain
        },
        Scores {
            queries: 7,
            keys: 7,
            past: 0,
            ..plain
        },
        Scores { keys: 12, ..plain }, // keys that nobody sees
        Scores {
            keys: 37,
            past: 32,
            softcap: Some(2.0),
            ..plain
        },
        Scores {
            keys: 8,
            window: Some(3),
            ..plain
        },
        Scores {
            keys: 37,
            past: 32,
            window: Some(1),
            ..plain
        },
        Scores {
            keys: 36,
            past: 31,
            window: Some(17),
            softcap: Some(5.0),
            ..plain
        },
        Scores {
            keys: 8,
            window: Some(100),
            ..plain
        },
        Scores {
            heads: 1,
            queries: 2,
            keys: 1300,
            past: 1298,
            ..plain
        }, // more than a block's threads
        Scores {
            heads: 1,
            queries: 2,
            keys: 1299,
            past: 1297,
            window: Some(1100),
            ..plain
        },
    ]
}

/// A head's sink in every second shape, of which one outweighs all scores.
fn sinks(gpu: &Gpu, number: usize, shape: &Scores) -> (Option<Tensor>, Vec<f64>) {
    let values: Vec<f64> = [0.5, 40.0, -3.0]
        .into_iter()
        .cycle()
        .skip(number)
        .take(shape.heads)
        .collect();
    match number % 2 {
        0 => (Some(upload(gpu, Dtype::F32, &values)), values),
        _ => (None, Vec::new()),
    }
}

fn sees(shape: &Scores, query: usize, key: usize) -> bool {
    let position = shape.past + query;
    key <= position && shape.window.is_none_or(|window| position - key < window)
}

/// The probabilities of one query, with the score of its sink.
fn reference(shape: &Scores, query: usize, sink: Option<f64>, s: &[f64]) -> Vec<f64> {
    let capped = |s: f64| {
        let s = f64::from(shape.scale) * s;
        shape
            .softcap
            .map_or(s, |cap| f64::from(cap) * (s / f64::from(cap)).tanh())
    };
    let e: Vec<f64> = s
        .iter()
        .enumerate()
        .map(|(key, &s)| {
            if sees(shape, query, key) {
                capped(s).exp()
            } else {
                0.0
            }
        })
        .collect();
    let total = e.iter().sum::<f64>() + sink.map_or(0.0, f64::exp);
    e.iter().map(|e| e / total).collect()
}

fn by_query(shape: &Scores, f: impl Fn(usize, usize) -> Vec<f64>) -> Vec<f64> {
    (0..shape.heads * shape.queries)
        .flat_map(|row| f(row % shape.queries, row * shape.keys))
        .collect()
}

/// Scores in which all that nobody sees is NaN.
fn scores(gpu: &Gpu, shape: &Scores, seed: u64) -> Matrix {
    let mut values = noise(seed, shape.heads * shape.queries * shape.keys);
    for (i, value) in values.iter_mut().enumerate() {
        let (query, key) = (i / shape.keys % shape.queries, i % shape.keys);
        *value = if sees(shape, query, key) {
            *value * 9.0
        } else {
            f64::NAN
        };
    }
    let rows = shape.heads * shape.queries;
    Matrix::new(
        gpu,
        lora_gpu::Dtype::F32,
        (rows, shape.keys),
        DENSE,
        &values,
    )
}

#[test]
fn each_query_sees_its_keys() {
    each_precision(|gpu| {
        for (number, shape) in shapes().into_iter().enumerate() {
            let (sinks, values) = sinks(gpu, number, &shape);
            let s = scores(gpu, &shape, 1);
            let p = Matrix::unwritten(gpu, gpu.dtype(), (s.rows, s.columns), DENSE);
            let found = twice(gpu, &[&p], || {
                gpu.softmax(&s.tensor, (shape, sinks.as_ref()), &p.tensor)
                    .expect("it fits");
            });
            let expected = by_query(&shape, |query, at| {
                let sink = values.get(at / shape.keys / shape.queries).copied();
                reference(&shape, query, sink, &s.values[at..at + shape.keys])
            });
            assert_close("p", gpu.dtype(), &found[0], &expected, 2e-6);
            for (i, p) in found[0].iter().enumerate() {
                let (query, key) = (i / shape.keys % shape.queries, i % shape.keys);
                assert!(
                    sees(&shape, query, key) || *p == 0.0,
                    "{shape:?}: {query} sees {key}"
                );
            }
        }
    });
}

#[test]
fn the_gradient_is_the_difference() {
    each_precision(|gpu| {
        for (number, shape) in shapes().into_iter().enumerate() {
            let (sinks, values) = sinks(gpu, number, &shape);
            let (s, d_p) = (scores(gpu, &shape, 1), scores(gpu, &shape, 2));
            let rows = (s.rows, s.columns);
            let p = Matrix::unwritten(gpu, gpu.dtype(), rows, DENSE);
            let d_s = Matrix::unwritten(gpu, gpu.dtype(), rows, DENSE);
            gpu.softmax(&s.tensor, (shape, sinks.as_ref()), &p.tensor)
                .expect("it fits");
            let forward = p.now(gpu);
            let found = twice(gpu, &[&p, &d_s], || {
                let shape = (shape, sinks.as_ref());
                gpu.softmax_backward(&s.tensor, &d_p.tensor, shape, &p.tensor, &d_s.tensor)
                    .expect("it fits");
            });
            assert_eq!(found[0], forward, "p again");
            let expected = by_query(&shape, |query, at| {
                let range = at..at + shape.keys;
                let sink = values.get(at / shape.keys / shape.queries).copied();
                let seen = |values: &[f64]| -> Vec<f64> {
                    values
                        .iter()
                        .map(|v| if v.is_nan() { 0.0 } else { *v })
                        .collect()
                };
                let (s, d_p) = (seen(&s.values[range.clone()]), seen(&d_p.values[range]));
                if shape.keys < 100 {
                    return differences(&s, &d_p, |s| reference(&shape, query, sink, s));
                }
                let p = reference(&shape, query, sink, &s); // by the formula, where differences take long
                let mean: f64 = p.iter().zip(&d_p).map(|(p, d)| p * d).sum();
                let scale = f64::from(shape.scale);
                p.iter()
                    .zip(&d_p)
                    .map(|(p, d)| p * (d - mean) * scale)
                    .collect()
            });
            assert_close("d_s", gpu.dtype(), &found[1], &expected, 3e-6);
        }
    });
}

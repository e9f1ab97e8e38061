//! Attention whose scores are never in memory, and its gradients.
use crate::support::{Matrix, Place, differences, each_precision, twice, upload};
use lora_gpu::{Attended, Attention, Dtype, Gpu, Keys, Segment};

#[derive(Debug, Clone)]
struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    softcap: Option<f32>,
    /// One a head, or none.
    sinks: Vec<f64>,
    segments: Vec<Segment>,
    listed: Vec<u32>,
}

const fn alone(first: usize, queries: usize) -> Segment {
    Segment {
        first,
        queries,
        past: 0,
        keys: Keys::Rows(first),
    }
}

fn of_heads(heads: usize, kv_heads: usize, head_dim: usize, segments: &[Segment]) -> Case {
    Case {
        heads,
        kv_heads,
        head_dim,
        window: None,
        softcap: None,
        sinks: Vec::new(),
        segments: segments.to_vec(),
        listed: Vec::new(),
    }
}

/// 70 rows with which two others begin, one of them with fewer, and one by itself.
fn shared(heads: usize, kv_heads: usize, head_dim: usize) -> Case {
    let behind = |first, queries, past, place| Segment {
        first,
        queries,
        past,
        keys: Keys::Listed(place),
    };
    let listed = (0..66).chain(70..75).chain(0..70).chain(75..95);
    Case {
        listed: listed.collect(),
        ..of_heads(
            heads,
            kv_heads,
            head_dim,
            &[
                alone(0, 70),
                behind(70, 5, 66, 0),
                behind(75, 20, 70, 71),
                alone(95, 3),
            ],
        )
    }
}

fn cases() -> Vec<Case> {
    let long = of_heads(2, 1, 64, &[alone(0, 150)]);
    let windowed = |window| Case {
        window: Some(window),
        ..shared(2, 2, 16)
    };
    vec![
        of_heads(1, 1, 8, &[alone(0, 1)]),
        of_heads(4, 2, 16, &[alone(0, 5), alone(5, 17), alone(22, 64)]),
        shared(6, 2, 8),
        windowed(1),
        windowed(20),
        windowed(70),
        windowed(1000),
        Case {
            softcap: Some(0.5),
            ..shared(2, 1, 24)
        },
        long.clone(),
        Case {
            window: Some(33),
            softcap: Some(2.0),
            ..long
        },
        Case {
            sinks: vec![-2.0, 9.0, 0.5, 0.25, -300.0, 60.0],
            ..shared(6, 2, 8)
        },
        Case {
            window: Some(20),
            sinks: vec![1.5, 0.0],
            ..of_heads(2, 1, 64, &[alone(0, 150), alone(150, 3)])
        },
        of_heads(2, 1, 96, &[alone(0, 70), alone(70, 9)]),
        of_heads(1, 1, 128, &[alone(0, 130)]),
    ]
}

impl Case {
    fn rows(&self) -> usize {
        self.segments.iter().map(|s| s.queries).sum()
    }

    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn scale(&self) -> f64 {
        f64::from((self.head_dim as f32).powf(-0.5))
    }

    /// For each row the rows that it sees.
    fn seen(&self) -> Vec<Vec<usize>> {
        let mut seen = vec![Vec::new(); self.rows()];
        for segment in &self.segments {
            for i in 0..segment.queries {
                let position = segment.past + i;
                let first = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
                let row = |at: usize| match segment.keys {
                    Keys::Rows(first) => first + at,
                    Keys::Listed(place) => self.listed[place + at] as usize,
                };
                seen[segment.first + i] = (first..=position).map(row).collect();
            }
        }
        seen
    }

    /// Columns of q, k, v and o of a head in their rows.
    fn columns(&self, head: usize) -> [usize; 4] {
        let kv = head / (self.heads / self.kv_heads);
        let (k, v) = (self.heads + kv, self.heads + self.kv_heads + kv);
        [head, k, v, head].map(|at| at * self.head_dim)
    }

    fn dot(&self, a: &[f64], b: &[f64]) -> f64 {
        let pairs = a[..self.head_dim].iter().zip(&b[..self.head_dim]);
        pairs.map(|(a, b)| a * b).sum()
    }

    /// The capped score of a raw one, and the slope of it.
    fn score(&self, raw: f64) -> (f64, f64) {
        let scaled = raw * self.scale();
        match self.softcap.map(f64::from) {
            None => (scaled, self.scale()),
            Some(cap) => {
                let t = (scaled / cap).tanh();
                (cap * t, self.scale() * (1.0 - t * t))
            }
        }
    }
}

/// Values, and for each the sum of the sizes of the terms that it is a sum of.
#[derive(Clone)]
struct Sums {
    values: Vec<f64>,
    sizes: Vec<f64>,
}

impl Sums {
    fn zeros(len: usize) -> Self {
        Self {
            values: vec![0.0; len],
            sizes: vec![0.0; len],
        }
    }

    fn add(&mut self, at: usize, value: f64, size: f64) {
        self.values[at] += value;
        self.sizes[at] += size;
    }
}

struct Reference {
    o: Sums,
    log_sums: Vec<f64>,
    d_qkv: Sums,
}

/// By the formulas, in f64. `d_o` (T, heads·d).
fn reference(case: &Case, qkv: &[f64], d_o: &[f64]) -> Reference {
    let (rows, width, outputs) = (case.rows(), case.width(), case.heads * case.head_dim);
    let mut o = Sums::zeros(rows * outputs);
    let mut d_qkv = Sums::zeros(rows * width);
    let mut log_sums = vec![0.0; case.heads * rows];
    for (row, seen) in case.seen().iter().enumerate() {
        for head in 0..case.heads {
            let [q, k, v, out] = case.columns(head);
            let at = |row: usize, column: usize| row * width + column;
            let (q, out) = (at(row, q), row * outputs + out);
            let scores = seen.iter().map(|&key| {
                let raw = case.dot(&qkv[q..], &qkv[at(key, k)..]);
                case.score(raw)
            });
            let scores: Vec<(f64, f64)> = scores.collect();
            let of_keys: f64 = scores.iter().map(|(score, _)| score.exp()).sum();
            let total = of_keys + case.sinks.get(head).map_or(0.0, |sink| sink.exp());
            log_sums[head * rows + row] = total.ln();
            let d_p = |key: usize| case.dot(&d_o[out..], &qkv[at(key, v)..]);
            let p: Vec<f64> = scores.iter().map(|(s, _)| s.exp() / total).collect();
            let means = seen.iter().zip(&p).map(|(&key, p)| p * d_p(key));
            let mean: f64 = means.sum();
            for c in 0..case.head_dim {
                for (&key, &p) in seen.iter().zip(&p) {
                    let term = p * qkv[at(key, v) + c];
                    o.add(out + c, term, term.abs());
                }
            }
            let sizes = (0..case.head_dim).map(|c| o.sizes[out + c] * d_o[out + c].abs());
            let mean_size: f64 = sizes.sum();
            for ((&key, &p), (_, slope)) in seen.iter().zip(&p).zip(scores) {
                let d_p = d_p(key);
                let d_s = p * (d_p - mean) * slope;
                let size = p * (d_p.abs() + mean_size) * slope;
                for c in 0..case.head_dim {
                    let (q, k, v) = (q + c, at(key, k) + c, at(key, v) + c);
                    d_qkv.add(q, d_s * qkv[k], size * qkv[k].abs());
                    d_qkv.add(k, d_s * qkv[q], size * qkv[q].abs());
                    let d_o = d_o[out + c];
                    d_qkv.add(v, p * d_o, (p * d_o).abs());
                }
            }
        }
    }
    Reference { o, log_sums, d_qkv }
}

/// What rounding can do: probabilities, o (of which the mean gradient is made) and gradients of scores are rounded once each,
/// which moves a term by half a unit in the last place each time, and so is the result. Sums of f32 and e^x leave more than
/// one rounding of f32.
fn assert_within(case: &Case, what: &str, dtype: Dtype, found: &[f64], expected: &Sums) {
    let unit = match dtype {
        Dtype::Bf16 => 1.0 / 512.0,
        _ => 1.0 / f64::from(1 << 20),
    };
    for (i, (&found, &value)) in found.iter().zip(&expected.values).enumerate() {
        let allowed = unit * (3.0 * expected.sizes[i] + value.abs()) + 1e-37;
        let apart = (found - value).abs();
        assert!(
            apart <= allowed,
            "{what} {i} of {case:?}: {found} instead of {value}, {apart:.1e} apart, {allowed:.1e} allowed"
        );
    }
}

const fn place(offset: usize, padding: usize) -> Place {
    Place { offset, padding }
}

fn check(gpu: &Gpu, case: &Case) {
    let (rows, width, outputs) = (case.rows(), case.width(), case.heads * case.head_dim);
    let dtype = gpu.dtype();
    let noise = |shape, place, seed| Matrix::noise(gpu, dtype, shape, place, (seed, 1.5));
    let qkv = noise((rows, width), place(8, 8), 1);
    let d_o = noise((rows, outputs), place(16, 24), 2);
    let o = Matrix::unwritten(gpu, dtype, (rows, outputs), place(8, 16));
    let f32s = |shape| Matrix::unwritten(gpu, Dtype::F32, shape, place(0, 0));
    let (log_sums, means) = (f32s((case.heads, rows)), f32s((case.heads, rows)));
    let d_kv = f32s((rows, 2 * outputs));
    let d_qkv = Matrix::unwritten(gpu, dtype, (rows, width), place(8, 8));
    let tiles = gpu
        .attention_tiles(&case.segments, &case.listed, rows)
        .expect("there is memory");
    let sinks = match &case.sinks[..] {
        [] => None,
        sinks => Some(upload(gpu, Dtype::F32, sinks)),
    };
    let attention = Attention {
        qkv: qkv.mat(),
        sinks: sinks.as_ref(),
        heads: case.heads,
        kv_heads: case.kv_heads,
        head_dim: case.head_dim,
        window: case.window,
        scale: case.scale() as f32,
        softcap: case.softcap,
        tiles: &tiles,
    };
    let attended = Attended {
        o: o.mat(),
        log_sums: &log_sums.tensor,
    };
    let expected = reference(case, &qkv.values, &d_o.values);
    let found = twice(gpu, &[&o, &log_sums], || {
        gpu.attend(attention, attended).expect("it fits");
    });
    assert_within(case, "o", dtype, &found[0], &expected.o);
    for (found, expected) in found[1].iter().zip(&expected.log_sums) {
        let apart = (found - expected).abs();
        assert!(apart <= 4e-6 * (1.0 + expected.abs()), "{found} {expected}");
    }
    let found = twice(gpu, &[&d_qkv], || {
        let scratch = (&means.tensor, d_kv.mat());
        gpu.attend_backward(attention, attended, d_o.mat(), d_qkv.mat(), scratch)
            .expect("it fits");
    });
    assert_within(case, "d_qkv", dtype, &found[0], &expected.d_qkv);
}

#[test]
fn attention_and_its_gradients_are_those_of_the_formulas() {
    each_precision(|gpu| {
        let mut checked = 0;
        for case in cases().iter().filter(|case| gpu.attends(case.head_dim)) {
            check(gpu, case);
            checked += 1;
        }
        assert!(checked >= 10, "{checked} cases");
    });
}

#[test]
fn the_formulas_gradients_are_differences() {
    let case = Case {
        softcap: Some(1.5),
        window: Some(4),
        sinks: vec![0.75, -1.0],
        ..of_heads(2, 1, 8, &[alone(0, 6), alone(6, 2)])
    };
    let (rows, outputs) = (case.rows(), case.heads * case.head_dim);
    let qkv = crate::support::noise(1, rows * case.width());
    let d_o = crate::support::noise(2, rows * outputs);
    let found = reference(&case, &qkv, &d_o).d_qkv.values;
    let expected = differences(&qkv, &d_o, |qkv| reference(&case, qkv, &d_o).o.values);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }
}

#[test]
#[should_panic(expected = "values apart")]
fn rows_that_are_no_whole_chunks_are_refused() {
    each_precision(|gpu| {
        let case = of_heads(1, 1, 8, &[alone(0, 3)]);
        let dtype = gpu.dtype();
        let qkv = Matrix::noise(gpu, dtype, (3, 24), place(0, 3), (1, 1.0));
        let o = Matrix::unwritten(gpu, dtype, (3, 8), place(0, 0));
        let log_sums = Matrix::unwritten(gpu, Dtype::F32, (1, 3), place(0, 0));
        let tiles = gpu
            .attention_tiles(&case.segments, &[], 3)
            .expect("there is memory");
        let attention = Attention {
            qkv: qkv.mat(),
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            window: None,
            scale: 1.0,
            softcap: None,
            sinks: None,
            tiles: &tiles,
        };
        let to = Attended {
            o: o.mat(),
            log_sums: &log_sums.tensor,
        };
        gpu.attend(attention, to).expect("it is refused before");
    });
}

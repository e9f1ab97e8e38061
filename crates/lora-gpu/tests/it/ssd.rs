//! Mamba-2's rule in chunks against the recurrence in f64.
use crate::sequences::{Lengths, NOISE, by_sequence, check, continued, segments};
use crate::support::{Matrix, PLACES, Place, differences, each_precision, upload, vector};
use lora_gpu::{
    Chunks, Dtype, Gpu, SsdGradients, SsdInputs, SsdLearned, SsdShape, Tensor, ssd_bytes,
};

const SHAPES: [SsdShape; 2] = [
    SsdShape {
        heads: 4,
        groups: 2,
        width: 8,
        state: 4,
    },
    SsdShape {
        heads: 3,
        groups: 1,
        width: 3,
        state: 5,
    },
];

/// Steps are kept within these; the noise crosses both.
const LIMITS: [f64; 2] = [0.203, 1.307];

/// What a layer has learned, on the device and as it is.
struct Learned {
    a_log: (Tensor, Vec<f64>),
    dt_bias: (Tensor, Vec<f64>),
    skip: (Tensor, Vec<f64>),
}

impl Learned {
    /// Logarithms of rates are around `rate`.
    fn new(gpu: &Gpu, shape: SsdShape, rate: f64) -> Self {
        let noise = |seed, more: f64| {
            let noise = crate::support::noise(seed, shape.heads);
            vector(gpu, &noise.iter().map(|v| v + more).collect::<Vec<_>>())
        };
        Self {
            a_log: noise(21, rate),
            dt_bias: noise(22, 0.0),
            skip: noise(23, 0.0),
        }
    }

    fn on_device(&self) -> SsdLearned<'_> {
        SsdLearned {
            a_log: &self.a_log.0,
            dt_bias: &self.dt_bias.0,
            skip: &self.skip.0,
            limits: LIMITS.map(|limit| limit as f32),
        }
    }

    /// The rule along one sequence, a row of x, B, C and dt after the other: S ← e^(Δ·A)·S + B·(Δ·x)ᵀ; y = Sᵀ·C + d·x.
    fn rule(&self, shape: SsdShape, rows: &[f64]) -> Vec<f64> {
        let each = shape.columns() + shape.heads;
        let mut states = vec![0.0; shape.states()];
        rows.chunks(each)
            .flat_map(|row| self.step(shape, row, &mut states))
            .collect()
    }

    fn step(&self, shape: SsdShape, row: &[f64], states: &mut [f64]) -> Vec<f64> {
        let (n, width) = (shape.state, shape.width);
        let limits = LIMITS.map(|limit| f64::from(limit as f32));
        let mut y = vec![0.0; shape.values()];
        for head in 0..shape.heads {
            let group = head / (shape.heads / shape.groups);
            let b = &row[shape.values() + group * n..][..n];
            let c = &row[shape.values() + (shape.groups + group) * n..][..n];
            let x = &row[head * width..(head + 1) * width];
            let dt = row[shape.columns() + head] + self.dt_bias.1[head];
            let step = dt.exp().ln_1p().clamp(limits[0], limits[1]);
            let decay = (-self.a_log.1[head].exp() * step).exp();
            let state = &mut states[head * n * width..(head + 1) * n * width];
            for p in 0..width {
                let mut sum = self.skip.1[head] * x[p];
                for i in 0..n {
                    let s = &mut state[i * width + p];
                    *s = decay * *s + b[i] * step * x[p];
                    sum += c[i] * *s;
                }
                y[head * width + p] = sum;
            }
        }
        y
    }
}

fn chunks(gpu: &Gpu, lengths: Lengths<'_>) -> Chunks {
    let (segments, texts, rows) = segments(lengths);
    gpu.chunks(&segments, &texts, rows)
        .expect("there is memory")
}

struct Case {
    shape: SsdShape,
    learned: Learned,
    chunks: Chunks,
    lengths: Vec<(usize, u32)>,
    mixed: Matrix,
    dt: Matrix,
}

impl Case {
    fn new(gpu: &Gpu, shape: SsdShape, lengths: &[usize], place: Place) -> Self {
        let lengths: Vec<_> = lengths.iter().copied().zip(0..).collect();
        let rows: usize = lengths.iter().map(|(rows, _)| rows).sum();
        let noise =
            |columns, seed| Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (seed, 1.5));
        Self {
            shape,
            learned: Learned::new(gpu, shape, 0.0),
            chunks: chunks(gpu, &lengths),
            mixed: noise(shape.columns(), 1),
            dt: noise(shape.heads, 2),
            lengths,
        }
    }

    fn inputs(&self) -> SsdInputs<'_> {
        SsdInputs {
            shape: self.shape,
            chunks: &self.chunks,
            mixed: self.mixed.mat(),
            dt: self.dt.mat(),
            learned: self.learned.on_device(),
        }
    }

    /// What f makes of the rows of each sequence, x, B, C and dt side by side, and of as many others.
    fn by_sequence(&self, others: &[f64], f: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Vec<f64> {
        let sides = [&self.mixed, &self.dt];
        by_sequence(&self.lengths, &sides, (others, self.shape.values()), f)
    }

    fn memory(&self, gpu: &Gpu, is_back: bool) -> Tensor {
        let bytes = ssd_bytes(self.shape, self.chunks.count(), gpu.dtype(), is_back);
        gpu.alloc(Dtype::U8, bytes).expect("there is memory")
    }
}

#[test]
fn the_rule_in_chunks_is_the_recurrence() {
    each_precision(|gpu| {
        for shape in SHAPES {
            for place in PLACES {
                let case = Case::new(gpu, shape, &[70, 1, 64, 200], place);
                let y = Matrix::unwritten(gpu, gpu.dtype(), (335, shape.values()), place);
                let memory = case.memory(gpu, false);
                let found = crate::support::twice(gpu, &[&y], || {
                    gpu.ssd(case.inputs(), None, y.mat(), &memory)
                        .expect("it fits");
                });
                let expected = case.by_sequence(&[], |rows, _| case.learned.rule(shape, rows));
                check("y", gpu, (&found[0], &expected), (6, NOISE));
            }
        }
    });
}

#[test]
fn its_way_back_is_the_difference() {
    each_precision(|gpu| {
        for shape in SHAPES {
            for place in [PLACES[0], PLACES[2]] {
                let case = Case::new(gpu, shape, &[1, 140, 5], place);
                check_gradient(gpu, &case, place);
            }
        }
    });
}

/// Of a state next to nothing is left for the next token.
#[test]
fn gradients_of_fast_decay_are_as_exact() {
    let gpu = &lora_gpu::OnCpu::gpu(lora_gpu::Precision::F32);
    for shape in SHAPES {
        let learned = Learned::new(gpu, shape, 2.5);
        let case = Case {
            learned,
            ..Case::new(gpu, shape, &[1, 140, 5], PLACES[0])
        };
        check_gradient(gpu, &case, PLACES[0]);
    }
}

fn check_gradient(gpu: &Gpu, case: &Case, place: Place) {
    let shape = case.shape;
    let noise = |columns| Matrix::noise(gpu, gpu.dtype(), (146, columns), place, (3, 1.0));
    let unwritten = |columns| Matrix::unwritten(gpu, gpu.dtype(), (146, columns), place);
    let dy = noise(shape.values());
    let (d_mixed, d_dt) = (unwritten(shape.columns()), unwritten(shape.heads));
    let memory = case.memory(gpu, true);
    let found = crate::support::twice(gpu, &[&d_mixed, &d_dt], || {
        let to = SsdGradients {
            mixed: d_mixed.mat(),
            dt: d_dt.mat(),
        };
        gpu.ssd_backward(case.inputs(), dy.mat(), to, &memory)
            .expect("it fits");
    });
    let expected = case.by_sequence(&dy.values, |rows, dy| {
        differences(rows, dy, |rows| case.learned.rule(shape, rows))
    });
    let each = shape.columns() + shape.heads;
    let columns = |from: usize, to: usize| -> Vec<f64> {
        let rows = expected.chunks(each);
        rows.flat_map(|row| row[from..to].to_vec()).collect()
    };
    let part = |from: usize, to: usize| -> Vec<f64> {
        let rows = found[0].chunks(shape.columns());
        rows.flat_map(|row| row[from..to].to_vec()).collect()
    };
    let (x, b) = (shape.values(), shape.values() + shape.groups * shape.state);
    let all = shape.columns();
    check("dx", gpu, (&part(0, x), &columns(0, x)), (8, NOISE));
    check("dB", gpu, (&part(x, b), &columns(x, b)), (8, NOISE));
    check("dC", gpu, (&part(b, all), &columns(b, all)), (8, NOISE));
    check("ddt", gpu, (&found[1], &columns(all, each)), (12, NOISE));
}

/// Columns of which a token takes more than one block.
const WIDE: SsdShape = SsdShape {
    heads: 2,
    groups: 1,
    width: 20,
    state: 9,
};

/// Two texts in batches one after the other: many rows, one of each, one text alone.
#[test]
fn a_text_goes_on_with_the_state_that_it_has_left() {
    each_precision(|gpu| {
        for shape in SHAPES.into_iter().chain([WIDE]) {
            let place = PLACES[0];
            let whole = Case::new(gpu, shape, &[80, 70], place);
            let expected = whole.by_sequence(&[], |rows, _| whole.learned.rule(shape, rows));
            let states = upload(gpu, Dtype::F32, &vec![0.0; 2 * shape.states()]);
            let pieces: [Lengths<'_>; 6] = [
                &[(66, 1), (70, 0)],
                &[(1, 0), (1, 1)],
                &[(9, 0)],
                &[(1, 1)],
                &[(1, 1)],
                &[(1, 1)],
            ];
            let pieces = (&pieces[..], shape.values());
            let sides = [&whole.mixed, &whole.dt];
            let found = continued((gpu, place), sides, pieces, |lengths, [mixed, dt]| {
                let y = Matrix::unwritten(gpu, gpu.dtype(), (mixed.rows, shape.values()), place);
                let case = Case {
                    shape,
                    learned: Learned::new(gpu, shape, 0.0),
                    chunks: chunks(gpu, lengths),
                    lengths: lengths.to_vec(),
                    mixed,
                    dt,
                };
                let memory = case.memory(gpu, false);
                gpu.ssd(case.inputs(), Some(&states), y.mat(), &memory)
                    .expect("it fits");
                y.now(gpu)
            });
            check("y", gpu, (&found, &expected), (6, NOISE));
        }
    });
}

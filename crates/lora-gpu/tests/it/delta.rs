//! The gated delta rule in chunks against the recurrence in f64.
use crate::sequences::{Lengths, NOISE, by_sequence, check, continued, segments};
use crate::support::{Matrix, PLACES, Place, differences, each_precision, upload, vector};
use lora_gpu::{
    ChunkSteps, DeltaGradients, DeltaInputs, DeltaShape, Dtype, Gpu, Tensor, delta_bytes,
};

const SHAPES: [DeltaShape; 2] = [
    DeltaShape {
        key_heads: 2,
        value_heads: 4,
        key_dim: 8,
        value_dim: 4,
    },
    DeltaShape {
        key_heads: 1,
        value_heads: 3,
        key_dim: 5,
        value_dim: 3,
    },
];

/// What gates have learned, on the device and as it is.
struct Gates {
    a_log: (Tensor, Vec<f64>),
    dt_bias: (Tensor, Vec<f64>),
}

impl Gates {
    /// Logarithms of rates are around `rate`.
    fn new(gpu: &Gpu, shape: DeltaShape, rate: f64) -> Self {
        let noise = |seed, more: f64| {
            let noise = crate::support::noise(seed, shape.value_heads);
            vector(gpu, &noise.iter().map(|v| v + more).collect::<Vec<_>>())
        };
        Self {
            a_log: noise(21, rate),
            dt_bias: noise(22, 0.0),
        }
    }

    /// The rule along one sequence, a row of q, k, v, a and b after the other.
    fn rule(&self, shape: DeltaShape, rows: &[f64]) -> Vec<f64> {
        let each = shape.columns() + 2 * shape.value_heads;
        let mut states = vec![0.0; shape.states()];
        rows.chunks(each)
            .flat_map(|row| self.step(shape, row, &mut states))
            .collect()
    }

    /// S ← e^g·S;  S ← S + k·(β·(v − Sᵀk))ᵀ;  o = Sᵀq/√d
    fn step(&self, shape: DeltaShape, row: &[f64], states: &mut [f64]) -> Vec<f64> {
        let (d, n, heads) = (shape.key_dim, shape.value_dim, shape.value_heads);
        let (mixed, gates) = row.split_at(shape.columns());
        let mut o = vec![0.0; shape.values()];
        for head in 0..heads {
            let key_head = head / (heads / shape.key_heads);
            let side = |place: usize| unit(&mixed[place * d..(place + 1) * d]);
            let (q, k) = (side(key_head), side(shape.key_heads + key_head));
            let v = &mixed[2 * shape.key_heads * d + head * n..][..n];
            let softplus = (gates[head] + self.dt_bias.1[head]).exp().ln_1p();
            let decay = (-self.a_log.1[head].exp() * softplus).exp();
            let beta = 1.0 / (1.0 + (-gates[heads + head]).exp());
            let state = &mut states[head * d * n..(head + 1) * d * n];
            state.iter_mut().for_each(|s| *s *= decay);
            for j in 0..n {
                let column = |i: usize| i * n + j;
                let known: f64 = (0..d).map(|i| k[i] * state[column(i)]).sum();
                let write = beta * (v[j] - known);
                (0..d).for_each(|i| state[column(i)] += k[i] * write);
                let found: f64 = (0..d).map(|i| q[i] * state[column(i)]).sum();
                o[head * n + j] = found / (d as f64).sqrt();
            }
        }
        o
    }
}

/// x divided by its length.
fn unit(x: &[f64]) -> Vec<f64> {
    let squares: f64 = x.iter().map(|x| x * x).sum();
    x.iter().map(|x| x / (squares + 1e-6).sqrt()).collect()
}

fn chunks(gpu: &Gpu, lengths: Lengths<'_>) -> ChunkSteps {
    let (segments, texts, rows) = segments(lengths);
    gpu.chunk_steps(&segments, &texts, rows)
        .expect("there is memory")
}

struct Case {
    shape: DeltaShape,
    gates: Gates,
    chunks: ChunkSteps,
    lengths: Vec<(usize, u32)>,
    mixed: Matrix,
    a: Matrix,
    b: Matrix,
}

impl Case {
    fn new(gpu: &Gpu, shape: DeltaShape, lengths: &[usize], place: Place) -> Self {
        let lengths: Vec<_> = lengths.iter().copied().zip(0..).collect();
        let rows: usize = lengths.iter().map(|(rows, _)| rows).sum();
        let noise =
            |columns, seed| Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (seed, 1.5));
        Self {
            shape,
            gates: Gates::new(gpu, shape, 0.0),
            chunks: chunks(gpu, &lengths),
            mixed: noise(shape.columns(), 1),
            a: noise(shape.value_heads, 2),
            b: noise(shape.value_heads, 3),
            lengths,
        }
    }

    fn inputs(&self) -> DeltaInputs<'_> {
        DeltaInputs {
            shape: self.shape,
            chunks: &self.chunks,
            mixed: self.mixed.mat(),
            a: self.a.mat(),
            b: self.b.mat(),
            a_log: &self.gates.a_log.0,
            dt_bias: &self.gates.dt_bias.0,
        }
    }

    /// Columns of q, k, v, a and b side by side.
    fn each(&self) -> usize {
        self.shape.columns() + 2 * self.shape.value_heads
    }

    /// What f makes of the rows of each sequence, and of as many others.
    fn by_sequence(&self, others: &[f64], f: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Vec<f64> {
        let sides = [&self.mixed, &self.a, &self.b];
        by_sequence(&self.lengths, &sides, (others, self.shape.values()), f)
    }

    /// The most by which a state's logarithm falls in a chunk.
    fn most_decay(&self) -> f64 {
        let heads = self.shape.value_heads;
        let of_row = |row: &[f64]| -> f64 {
            let each = (0..heads).map(|head| {
                let softplus = (row[head] + self.gates.dt_bias.1[head]).exp().ln_1p();
                self.gates.a_log.1[head].exp() * softplus
            });
            each.fold(0.0, f64::max)
        };
        let chunks = self.a.values.chunks(64 * heads);
        let falls = chunks.map(|chunk| chunk.chunks(heads).map(of_row).sum());
        falls.fold(0.0, f64::max)
    }

    fn memory(&self, gpu: &Gpu, is_back: bool) -> Tensor {
        let counts = (self.chunks.count(), self.chunks.sequences());
        let bytes = delta_bytes(self.shape, counts, gpu.dtype(), is_back);
        gpu.alloc(Dtype::U8, bytes).expect("there is memory")
    }
}

#[test]
fn the_rule_in_chunks_is_the_recurrence() {
    each_precision(|gpu| {
        for shape in SHAPES {
            for place in PLACES {
                let case = Case::new(gpu, shape, &[1, 70, 64, 200], place);
                let o = Matrix::unwritten(gpu, gpu.dtype(), (335, shape.values()), place);
                let memory = case.memory(gpu, false);
                let found = crate::support::twice(gpu, &[&o], || {
                    gpu.delta(case.inputs(), None, o.mat(), &memory)
                        .expect("it fits");
                });
                let expected = case.by_sequence(&[], |rows, _| case.gates.rule(shape, rows));
                check("o", gpu, (&found[0], &expected), (10, NOISE));
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
                check_gradient(gpu, &case, place, NOISE);
            }
        }
    });
}

/// Of a state next to nothing is left for the next token. What is left between two tokens is e to a difference of sums, which are
/// as uncertain as f32 makes the largest of them.
#[test]
fn gradients_of_fast_decay_are_as_exact() {
    let gpu = &lora_gpu::OnCpu::gpu(lora_gpu::Precision::F32);
    for shape in SHAPES {
        let gates = Gates::new(gpu, shape, 2.5);
        let case = Case {
            gates,
            ..Case::new(gpu, shape, &[1, 140, 5], PLACES[0])
        };
        let most = case.most_decay();
        check_gradient(gpu, &case, PLACES[0], NOISE + most / f64::from(1 << 23));
    }
}

fn check_gradient(gpu: &Gpu, case: &Case, place: Place, noise: f64) {
    let shape = case.shape;
    let unwritten = |columns| Matrix::unwritten(gpu, gpu.dtype(), (146, columns), place);
    let size = (146, shape.values());
    let d_o = Matrix::noise(gpu, gpu.dtype(), size, place, (4, 1.0));
    let heads = shape.value_heads;
    let (d_mixed, d_a, d_b) = (
        unwritten(shape.columns()),
        unwritten(heads),
        unwritten(heads),
    );
    let memory = case.memory(gpu, true);
    let found = crate::support::twice(gpu, &[&d_mixed, &d_a, &d_b], || {
        let to = DeltaGradients {
            mixed: d_mixed.mat(),
            a: d_a.mat(),
            b: d_b.mat(),
        };
        gpu.delta_backward(case.inputs(), d_o.mat(), to, &memory)
            .expect("it fits");
    });
    let expected = case.by_sequence(&d_o.values, |rows, d_o| {
        differences(rows, d_o, |rows| case.gates.rule(shape, rows))
    });
    let columns = |from: usize, to: usize| -> Vec<f64> {
        let rows = expected.chunks(case.each());
        rows.flat_map(|row| row[from..to].to_vec()).collect()
    };
    let part = |from: usize, to: usize| -> Vec<f64> {
        let rows = found[0].chunks(shape.columns());
        rows.flat_map(|row| row[from..to].to_vec()).collect()
    };
    let keys = shape.key_heads * shape.key_dim;
    let all = shape.columns();
    let of_mixed = [
        ("dq", 0..keys, 12),
        ("dk", keys..2 * keys, 16),
        ("dv", 2 * keys..all, 12),
    ];
    for (what, side, roundings) in of_mixed {
        let found = part(side.start, side.end);
        let expected = columns(side.start, side.end);
        check(what, gpu, (&found, &expected), (roundings, noise));
    }
    let ends = [all, all + heads, case.each()];
    for (what, side, found) in [("da", 0, &found[1]), ("db", 1, &found[2])] {
        let expected = columns(ends[side], ends[side + 1]);
        check(what, gpu, (found, &expected), (20, noise));
    }
}

/// Heads of which a token takes more than one block, and those for which it is computed as a chunk.
const WIDE: [DeltaShape; 2] = [
    DeltaShape {
        key_heads: 1,
        value_heads: 2,
        key_dim: 36,
        value_dim: 40,
    },
    DeltaShape {
        key_heads: 1,
        value_heads: 1,
        key_dim: 260,
        value_dim: 3,
    },
];

/// Two texts in batches one after the other: many rows, one of each, one text alone.
#[test]
fn a_text_goes_on_with_the_state_that_it_has_left() {
    each_precision(|gpu| {
        for shape in SHAPES.into_iter().chain(WIDE) {
            let place = PLACES[0];
            let whole = Case::new(gpu, shape, &[80, 70], place);
            let expected = whole.by_sequence(&[], |rows, _| whole.gates.rule(shape, rows));
            let states = upload(gpu, Dtype::F32, &vec![0.0; 2 * shape.states()]);
            let pieces: [Lengths<'_>; 6] = [
                &[(30, 1), (70, 0)],
                &[(1, 0), (36, 1)],
                &[(8, 0)],
                &[(1, 0), (1, 1)],
                &[(1, 1)],
                &[(2, 1)],
            ];
            let sides = [&whole.mixed, &whole.a, &whole.b];
            let pieces = (&pieces[..], shape.values());
            let found = continued((gpu, place), sides, pieces, |lengths, [mixed, a, b]| {
                let o = Matrix::unwritten(gpu, gpu.dtype(), (mixed.rows, shape.values()), place);
                let case = Case {
                    shape,
                    gates: Gates::new(gpu, shape, 0.0),
                    chunks: chunks(gpu, lengths),
                    lengths: lengths.to_vec(),
                    mixed,
                    a,
                    b,
                };
                let memory = case.memory(gpu, false);
                gpu.delta(case.inputs(), Some(&states), o.mat(), &memory)
                    .expect("it fits");
                o.now(gpu)
            });
            check("o", gpu, (&found, &expected), (10, NOISE));
        }
    });
}

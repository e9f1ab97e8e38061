//! Mamba-2's rule in chunks against the recurrence in f64, its gradients against finite differences, and the gated norm behind
//! it the same way. Sequence by sequence, going on from states, with the same bytes for any number of threads.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::layout::{Layout, Span};
use lora_kernels::ssd::{self, Gradients, Inputs, Learned, Shape, gated_norm, shared_len};

/// Everything that the rule reads: mixed, dt, A's logarithm, dt's bias, D.
type All<T> = [T; 5];

const UNBOUNDED: [f32; 2] = [0.0, f32::INFINITY];

/// The recurrence, token by token.
fn recurrence(shape: Shape, limits: [f32; 2], starts: &[usize], all: All<&[f64]>) -> Vec<f64> {
    let [mixed, dt, a_log, bias, skip] = all;
    let (n, width) = (shape.state, shape.width);
    let mut y = vec![0.0; dt.len() * width];
    for bounds in starts.windows(2) {
        for head in 0..shape.heads {
            let group = head / (shape.heads / shape.groups);
            let mut state = vec![0.0; n * width];
            for t in bounds[0]..bounds[1] {
                let row = &mixed[t * shape.columns()..(t + 1) * shape.columns()];
                let (x, sides) = row.split_at(shape.heads * width);
                let (b, c) = sides.split_at(shape.groups * n);
                let (x, b, c) = (&x[head * width..], &b[group * n..], &c[group * n..]);
                let at = t * shape.heads + head;
                let step = (dt[at] + bias[head]).exp().ln_1p();
                let step = step.clamp(f64::from(limits[0]), f64::from(limits[1]));
                let decay = (-a_log[head].exp() * step).exp();
                for j in 0..width {
                    let mut sum = skip[head] * x[j];
                    for i in 0..n {
                        let s = &mut state[i * width + j];
                        *s = *s * decay + b[i] * step * x[j];
                        sum += *s * c[i];
                    }
                    y[at * width + j] = sum;
                }
            }
        }
    }
    y
}

const SMALL: Shape = Shape {
    heads: 4,
    groups: 2,
    width: 3,
    state: 5,
};

/// More heads in a group than a block has.
const MANY: Shape = Shape {
    heads: 11,
    groups: 1,
    width: 2,
    state: 3,
};

struct Case {
    shape: Shape,
    limits: [f32; 2],
    starts: Vec<usize>,
    all: All<Vec<f32>>,
}

impl Case {
    fn new(shape: Shape, starts: &[usize], seed: u64) -> Self {
        let t = starts[starts.len() - 1];
        let scaled = |n, seed, factor: f32, shift: f32| -> Vec<f32> {
            let all = values(n, seed).into_iter();
            all.map(|v| v * factor + shift).collect()
        };
        let heads = shape.heads;
        Self {
            shape,
            limits: UNBOUNDED,
            starts: starts.to_vec(),
            // Steps far from their middle, so that states fade at several speeds.
            all: [
                values(t * shape.columns(), seed),
                scaled(t * heads, seed + 1, 3.0, 0.0),
                scaled(heads, seed + 2, 2.0, -1.5),
                scaled(heads, seed + 3, 1.0, -0.5),
                scaled(heads, seed + 4, 1.0, 0.5),
            ],
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let [mixed, dt, a_log, dt_bias, d] = &self.all;
        Inputs {
            mixed,
            dt,
            learned: Learned {
                a_log,
                dt_bias,
                d,
                limits: self.limits,
            },
        }
    }

    fn forward(&self) -> Vec<f32> {
        let mut y = vec![f32::NAN; self.all[1].len() * self.shape.width];
        let layout = Layout::packed(&self.starts);
        ssd::forward(self.shape, &layout, self.inputs(), &mut y, None);
        y
    }

    fn backward(&self, dy: &[f32]) -> [Vec<f32>; 2] {
        let [mut mixed, mut dt] = [0, 1].map(|i| vec![f32::NAN; self.all[i].len()]);
        let tokens = self.all[1].len() / self.shape.heads;
        let mut shared = vec![f32::NAN; tokens * shared_len(self.shape)];
        let layout = Layout::packed(&self.starts);
        let to = Gradients {
            mixed: &mut mixed,
            dt: &mut dt,
        };
        ssd::backward(self.shape, &layout, self.inputs(), dy, &mut shared, to);
        [mixed, dt]
    }

    fn reference(&self, all: All<&[f64]>) -> Vec<f64> {
        recurrence(self.shape, self.limits, &self.starts, all)
    }

    fn wide(&self) -> All<Vec<f64>> {
        self.all.each_ref().map(|x| wide(x))
    }
}

#[test]
fn chunks_compute_the_recurrence() {
    let real = Shape {
        heads: 2,
        groups: 1,
        width: 64,
        state: 128,
    };
    for (shape, starts) in [
        (SMALL, &[0, 1, 1, 3, 70, 330][..]),
        (MANY, &[0, 64, 192, 193]),
        (real, &[0, 200]),
    ] {
        let case = Case::new(shape, starts, 7);
        let all = case.wide();
        let want = case.reference(all.each_ref().map(|x| &x[..]));
        assert_close("y", &case.forward(), &want, 3e-6);
    }
}

#[test]
fn gradients_are_finite_differences_across_chunks() {
    let tiny = Shape {
        heads: 2,
        groups: 1,
        width: 2,
        state: 3,
    };
    // Three chunks, and short sequences beside them.
    for (shape, starts) in [
        (SMALL, &[0, 3, 5][..]),
        (MANY, &[0, 9]),
        (tiny, &[0, 5, 139]),
    ] {
        check_gradients(&Case::new(shape, starts, 11));
    }
}

/// Of a state next to nothing is left for the next token: what is subtracted from itself must leave nothing behind.
#[test]
fn gradients_of_fast_decay_are_as_exact() {
    for logarithm in [1.0, 2.0, 3.0] {
        let mut case = Case::new(SMALL, &[0, 3, 83], 11);
        case.all[2].fill(logarithm);
        check_gradients(&case);
    }
}

fn check_gradients(case: &Case) {
    let w = values(case.all[1].len() * case.shape.width, 5);
    let got = case.backward(&w);
    let all = case.wide();
    for (index, what) in ["d mixed", "d dt"].into_iter().enumerate() {
        let want = gradient(&all[index], |x| {
            let mut inputs = all.each_ref().map(|x| &x[..]);
            inputs[index] = x;
            weigh(&w, &case.reference(inputs))
        });
        assert_close(what, &got[index], &want, 2e-5);
    }
}

#[test]
fn steps_stay_within_their_limits() {
    let mut case = Case::new(SMALL, &[0, 9, 20], 17);
    case.limits = [0.2, 0.9];
    let all = case.wide();
    let want = case.reference(all.each_ref().map(|x| &x[..]));
    assert_close("y", &case.forward(), &want, 3e-6);
    let w = values(want.len(), 5);
    let [_, got] = case.backward(&w);
    let want = gradient(&all[1], |x| {
        let mut inputs = all.each_ref().map(|x| &x[..]);
        inputs[1] = x;
        weigh(&w, &case.reference(inputs))
    });
    let still = want.iter().filter(|d| **d == 0.0).count();
    assert!((10..want.len() - 10).contains(&still), "{still}");
    assert_close("d dt", &got, &want, 2e-5);
}

/// The same rows in pieces, each with the states that the one before it has left.
#[test]
fn a_sequence_goes_on_from_its_states() {
    let case = Case::new(MANY, &[0, 90, 150], 23);
    let whole = case.forward();
    let mut states = vec![0.0; 2 * MANY.heads * MANY.state_len()];
    let mut y = vec![f32::NAN; whole.len()];
    // (rows of the first sequence, rows of the second), piece by piece
    for (first, second) in [(0..64, 90..91), (64..65, 91..149), (65..90, 149..150)] {
        let mut layout = Layout::default();
        for (rows, start) in [(first, 0), (second, 90)] {
            let seen = Span {
                start,
                len: rows.end - start,
            };
            layout.push(rows.start, rows.len(), [seen]);
        }
        ssd::forward(MANY, &layout, case.inputs(), &mut y, Some(&mut states));
    }
    assert_close("y", &y, &wide(&whole), 1e-6);
}

#[test]
#[should_panic(expected = "without the state")]
fn a_sequence_does_not_go_on_without_its_state() {
    let case = Case::new(SMALL, &[0, 4], 3);
    let mut layout = Layout::default();
    layout.push(2, 2, [Span { start: 0, len: 4 }]);
    let mut y = vec![0.0; 4 * SMALL.values()];
    ssd::forward(SMALL, &layout, case.inputs(), &mut y, None);
}

/// Each sequence of a pack gives the bits that it gives alone.
#[test]
fn packed_sequences_are_those_alone() {
    let case = Case::new(SMALL, &[0, 70, 75, 205], 29);
    let together = case.forward();
    for bounds in case.starts.windows(2) {
        let mut alone = Case::new(SMALL, &[0, bounds[1] - bounds[0]], 1);
        for (index, width) in [SMALL.columns(), SMALL.heads].into_iter().enumerate() {
            alone.all[index] = case.all[index][bounds[0] * width..bounds[1] * width].to_vec();
        }
        for index in 2..5 {
            alone.all[index].clone_from(&case.all[index]);
        }
        let width = SMALL.values();
        assert_eq!(
            alone.forward(),
            together[bounds[0] * width..bounds[1] * width]
        );
    }
}

#[test]
fn gated_norms_of_groups_both_ways() {
    for behind_gate in [true, false] {
        check_gated_norm(behind_gate);
    }
}

fn check_gated_norm(behind_gate: bool) {
    let (t, groups, width, eps) = (70, 3, 7, 1e-6f32);
    let h = groups * width;
    let (x, z, gamma) = (values(t * h, 1), values(t * h, 2), values(h, 3));
    let z: Vec<f32> = z.iter().map(|v| v * 4.0).collect();
    let of = |x: &[f64], z: &[f64]| {
        let gates: Vec<f64> = z.iter().map(|z| z / (1.0 + (-z).exp())).collect();
        let gated = |x: &[f64]| -> Vec<f64> { x.iter().zip(&gates).map(|(x, g)| x * g).collect() };
        let u = match behind_gate {
            true => gated(x),
            false => x.to_vec(),
        };
        let group = |(index, u): (usize, &[f64])| {
            let gamma = &gamma[index % groups * width..][..width];
            let mean = u.iter().map(|v| v * v).sum::<f64>() / width as f64;
            let rstd = 1.0 / (mean + f64::from(eps)).sqrt();
            let values = u.iter().zip(gamma);
            values
                .map(|(u, &g)| f64::from(g) * u * rstd)
                .collect::<Vec<_>>()
        };
        let normed: Vec<f64> = u.chunks(width).enumerate().flat_map(group).collect();
        match behind_gate {
            true => normed,
            false => gated(&normed),
        }
    };
    let own = gated_norm::Gamma {
        values: &gamma,
        groups,
        behind_gate,
    };
    let (mut y, mut rstd) = (vec![f32::NAN; t * h], vec![f32::NAN; t * groups]);
    gated_norm::forward(&x, &z, own, eps, &mut y, &mut rstd);
    let (x64, z64) = (wide(&x), wide(&z));
    assert_close("y", &y, &of(&x64, &z64), 1e-6);
    let mut again = vec![f32::NAN; t * h];
    gated_norm::recompute(&x, &z, own, &rstd, &mut again);
    assert_eq!(y, again, "recomputed rows are the same bits");

    let w = values(t * h, 5);
    let (mut dy, mut dx, mut dz) = (w.clone(), vec![f32::NAN; t * h], vec![f32::NAN; t * h]);
    gated_norm::backward(&x, &z, own, &rstd, &mut dy, &mut dx, &mut dz);
    let want = gradient(&x64, |x| weigh(&w, &of(x, &z64)));
    assert_close("dx", &dx, &want, 1e-5);
    let want = gradient(&z64, |z| weigh(&w, &of(&x64, z)));
    assert_close("dz", &dz, &want, 1e-5);
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let shape = Shape {
        heads: 20,
        groups: 2,
        width: 48,
        state: 33,
    };
    let case = Case::new(shape, &[0, 130, 131, 200], 3);
    let all = || {
        let y = case.forward();
        let [mixed, dt] = case.backward(&y);
        [y, mixed, dt]
    };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(all)
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        let same = one.iter().zip(with(threads)).all(|(a, b)| {
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            bits(a) == bits(&b)
        });
        assert!(same, "{threads} threads");
    }
}

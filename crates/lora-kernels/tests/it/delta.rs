//! The gated delta rule in chunks against the recurrence in f64, its gradients against finite differences and the
//! norm behind it the same way. Linear in tokens, and the same bytes with any number of threads.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::conv;
use lora_kernels::delta::{
    self, Gates, Gradients, Inputs, Shape, gated_norm, l2_backward, l2_norm,
};
use lora_kernels::gate;
use lora_kernels::layout::{Layout, Span};

/// The recurrence, token by token, from [mixed, a, b, A, bias] of a pack.
fn recurrence(shape: Shape, starts: &[usize], [mixed, a, b, a_log, bias]: [&[f64]; 5]) -> Vec<f64> {
    let (d, n) = (shape.key_dim, shape.value_dim);
    let mut o = vec![0.0; a.len() * n];
    let normalised = |x: &[f64], scale: f64| {
        let length = (x.iter().map(|v| v * v).sum::<f64>() + 1e-6).sqrt();
        x.iter().map(|v| v / length * scale).collect::<Vec<_>>()
    };
    for bounds in starts.windows(2) {
        for head in 0..shape.value_heads {
            let key_head = head / shape.group();
            let mut state = vec![0.0; d * n];
            for t in bounds[0]..bounds[1] {
                let row = &mixed[t * shape.columns()..(t + 1) * shape.columns()];
                let (queries, rest) = row.split_at(shape.key_heads * d);
                let (keys, all) = rest.split_at(shape.key_heads * d);
                let q = normalised(&queries[key_head * d..][..d], 1.0 / (d as f64).sqrt());
                let k = normalised(&keys[key_head * d..][..d], 1.0);
                let v = &all[head * n..][..n];
                let at = t * shape.value_heads + head;
                let softplus = (a[at] + bias[head]).exp().ln_1p();
                let decay = (-a_log[head].exp() * softplus).exp();
                let beta = 1.0 / (1.0 + (-b[at]).exp());
                for j in 0..n {
                    let known: f64 = (0..d).map(|i| state[i * n + j] * decay * k[i]).sum();
                    for i in 0..d {
                        let s = &mut state[i * n + j];
                        *s = *s * decay + k[i] * beta * (v[j] - known);
                    }
                    o[at * n + j] = (0..d).map(|i| state[i * n + j] * q[i]).sum();
                }
            }
        }
    }
    o
}

const SMALL: Shape = Shape {
    key_heads: 2,
    value_heads: 4,
    key_dim: 5,
    value_dim: 3,
};

/// Everything that the rule reads, for T tokens. Gates far from their middle, so that states fade at several speeds.
struct Case {
    shape: Shape,
    starts: Vec<usize>,
    all: [Vec<f32>; 5],
}

impl Case {
    fn new(shape: Shape, starts: &[usize], seed: u64) -> Self {
        let t = starts[starts.len() - 1];
        let gates = |seed, factor: f32| {
            let all = values(t * shape.value_heads, seed).into_iter();
            all.map(|v| v * factor).collect::<Vec<_>>()
        };
        Self {
            shape,
            starts: starts.to_vec(),
            all: [
                values(t * shape.columns(), seed),
                gates(seed + 1, 3.0),
                gates(seed + 2, 3.0),
                values(shape.value_heads, seed + 3)
                    .iter()
                    .map(|v| v * 2.0 - 1.5)
                    .collect(),
                values(shape.value_heads, seed + 4),
            ],
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let [mixed, a, b, a_log, dt_bias] = &self.all;
        Inputs {
            mixed,
            a,
            b,
            gates: Gates { a_log, dt_bias },
        }
    }

    fn forward(&self) -> Vec<f32> {
        let mut o = vec![f32::NAN; self.all[1].len() * self.shape.value_dim];
        let layout = Layout::packed(&self.starts);
        delta::forward(self.shape, &layout, self.inputs(), &mut o, None);
        o
    }

    fn backward(&self, d_o: &[f32]) -> [Vec<f32>; 3] {
        let [mut mixed, mut a, mut b] = [0, 1, 2].map(|i| vec![f32::NAN; self.all[i].len()]);
        let layout = Layout::packed(&self.starts);
        let to = Gradients {
            mixed: &mut mixed,
            a: &mut a,
            b: &mut b,
        };
        delta::backward(self.shape, &layout, self.inputs(), d_o, to);
        [mixed, a, b]
    }

    fn reference(&self) -> Vec<f64> {
        let all = self.all.each_ref().map(|x| wide(x));
        recurrence(self.shape, &self.starts, all.each_ref().map(|x| &x[..]))
    }
}

#[test]
fn chunks_compute_the_recurrence() {
    let one_each = Shape {
        key_heads: 2,
        value_heads: 2,
        key_dim: 36,
        value_dim: 40,
    };
    let wide = Shape {
        key_heads: 1,
        value_heads: 3,
        key_dim: 16,
        value_dim: 64,
    };
    for (shape, starts) in [
        (SMALL, &[0, 1, 1, 3, 70, 330][..]),
        (one_each, &[0, 64, 192, 193]),
        (wide, &[0, 200]),
    ] {
        let case = Case::new(shape, starts, 7);
        assert_close("o", &case.forward(), &case.reference(), 3e-6);
    }
}

#[test]
fn gradients_are_finite_differences_across_chunks() {
    // Three chunks, and a short sequence beside them.
    for (shape, starts) in [
        (SMALL, &[0, 3, 5][..]),
        (
            Shape {
                key_heads: 1,
                value_heads: 2,
                key_dim: 3,
                value_dim: 2,
            },
            &[0, 5, 139],
        ),
    ] {
        check_gradients(&Case::new(shape, starts, 11));
    }
}

/// Of a state next to nothing is left for the next token: what is subtracted from itself must leave nothing behind.
#[test]
fn gradients_of_fast_decay_are_as_exact() {
    for logarithm in [1.0, 2.0, 3.0] {
        let mut case = Case::new(SMALL, &[0, 3, 83], 11);
        case.all[3].fill(logarithm);
        check_gradients(&case);
        // That of a is as small as what is left: beside its own size.
        let w = values(case.all[1].len() * case.shape.value_dim, 5);
        let all = case.all.each_ref().map(|x| wide(x));
        let want = gradient(&all[1], |a| {
            let mut inputs = all.each_ref().map(|x| &x[..]);
            inputs[1] = a;
            weigh(&w, &recurrence(case.shape, &case.starts, inputs))
        });
        let largest = want.iter().fold(0f64, |m, v| m.max(v.abs()));
        let [_, got, _] = case.backward(&w);
        for (got, want) in got.iter().zip(&want) {
            let off = (f64::from(*got) - want).abs() / largest;
            assert!(off < 1e-6, "{off:e} of the largest, {largest:e}");
        }
    }
}

fn check_gradients(case: &Case) {
    let w = values(case.all[1].len() * case.shape.value_dim, 5);
    let got = case.backward(&w);
    let all = case.all.each_ref().map(|x| wide(x));
    for (index, what) in ["d mixed", "da", "db"].into_iter().enumerate() {
        let want = gradient(&all[index], |x| {
            let mut inputs = all.each_ref().map(|x| &x[..]);
            inputs[index] = x;
            weigh(&w, &recurrence(case.shape, &case.starts, inputs))
        });
        assert_close(what, &got[index], &want, 2e-5);
    }
}

/// The same rows in pieces, each with the states that the one before it has left.
#[test]
fn a_sequence_goes_on_from_its_states() {
    let case = Case::new(SMALL, &[0, 90, 150], 23);
    let whole = case.forward();
    let states_len = SMALL.value_heads * SMALL.key_dim * SMALL.value_dim;
    let mut states = vec![0.0; 2 * states_len];
    let mut o = vec![f32::NAN; whole.len()];
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
        delta::forward(SMALL, &layout, case.inputs(), &mut o, Some(&mut states));
    }
    assert_close("o", &o, &wide(&whole), 1e-6);
}

#[test]
#[should_panic(expected = "without the state")]
fn a_sequence_does_not_go_on_without_its_state() {
    let case = Case::new(SMALL, &[0, 4], 3);
    let mut layout = Layout::default();
    layout.push(2, 2, [Span { start: 0, len: 4 }]);
    let mut o = vec![0.0; 4 * SMALL.values()];
    delta::forward(SMALL, &layout, case.inputs(), &mut o, None);
}

#[test]
fn gated_norms_both_ways() {
    let (t, h, eps) = (70, 21, 1e-6f32);
    let (x, z, gamma) = (values(t * h, 1), values(t * h, 2), values(h, 3));
    let z: Vec<f32> = z.iter().map(|v| v * 4.0).collect();
    let of = |x: &[f64], z: &[f64]| {
        let rows = x.chunks(h).zip(z.chunks(h));
        let row = |(x, z): (&[f64], &[f64])| {
            let mean = x.iter().map(|v| v * v).sum::<f64>() / h as f64;
            let rstd = 1.0 / (mean + f64::from(eps)).sqrt();
            let values = x.iter().zip(z).zip(&gamma);
            let value = |((x, z), &g): ((&f64, &f64), &f32)| {
                f64::from(g) * x * rstd * z / (1.0 + (-z).exp())
            };
            values.map(value).collect::<Vec<_>>()
        };
        rows.flat_map(row).collect::<Vec<_>>()
    };
    let (mut y, mut rstd) = (vec![0.0; t * h], vec![0.0; t]);
    gated_norm::forward(&x, &z, &gamma, eps, &mut y, &mut rstd);
    let (x64, z64) = (wide(&x), wide(&z));
    assert_close("y", &y, &of(&x64, &z64), 1e-6);
    let mut again = vec![0.0; t * h];
    gated_norm::recompute(&x, &z, &gamma, &rstd, &mut again);
    assert_eq!(y, again, "recomputed rows are the same bits");

    let w = values(t * h, 5);
    let (mut dy, mut dx, mut dz) = (w.clone(), vec![0.0; t * h], vec![0.0; t * h]);
    gated_norm::backward(&x, &z, &gamma, &rstd, &mut dy, &mut dx, &mut dz);
    let want = gradient(&x64, |x| weigh(&w, &of(x, &z64)));
    assert_close("dx", &dx, &want, 1e-5);
    let want = gradient(&z64, |z| weigh(&w, &of(&x64, z)));
    assert_close("dz", &dz, &want, 1e-5);
}

#[test]
fn lengths_are_divided_out_both_ways() {
    for scale in [1.0, 0.25] {
        let (x, w) = (values(19, 1), values(19, 2));
        let of = |x: &[f64]| {
            let length = (x.iter().map(|v| v * v).sum::<f64>() + 1e-6).sqrt();
            let all = x.iter().map(|v| f64::from(scale) * v / length);
            all.collect::<Vec<_>>()
        };
        let mut y = vec![0.0; x.len()];
        let inverse = l2_norm(&x, scale, &mut y);
        assert_close("y", &y, &of(&wide(&x)), 1e-6);
        let mut dx = vec![0.0; x.len()];
        l2_backward(&y, scale, inverse, &w, &mut dx);
        let want = gradient(&wide(&x), |x| weigh(&w, &of(x)));
        assert_close("dx", &dx, &want, 1e-5);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let shape = Shape {
        key_heads: 3,
        value_heads: 6,
        key_dim: 33,
        value_dim: 48,
    };
    let case = Case::new(shape, &[0, 130, 131, 200], 3);
    let w = values(4 * shape.columns(), 9);
    let all = || {
        let o = case.forward();
        let [mixed, a, b] = case.backward(&o);
        let taps = conv::Taps {
            values: &w,
            bias: None,
            columns: shape.columns(),
            behind: conv::Behind::Silu,
        };
        let layout = Layout::packed(&case.starts);
        let (mut y, mut dx) = (vec![0.0; mixed.len()], vec![0.0; mixed.len()]);
        conv::forward(taps, &layout, &mixed, &mut y, None);
        let mut dy = y.clone();
        conv::backward(taps, &layout, &mixed, &mut dy, &mut dx);
        [o, mixed, a, b, y, dx]
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

#[test]
fn gates_on_outputs_both_ways() {
    let n = 100;
    let (x, w) = (values(n, 1), values(n, 2));
    let gate: Vec<f32> = values(n, 3).iter().map(|v| v * 5.0).collect();
    let of = |x: &[f64], gate: &[f64]| {
        let both = x.iter().zip(gate);
        both.map(|(x, g)| x / (1.0 + (-g).exp()))
            .collect::<Vec<_>>()
    };
    let (x64, gate64) = (wide(&x), wide(&gate));
    let mut y = vec![0.0; n];
    gate::forward(&x, &gate, &mut y);
    assert_close("y", &y, &of(&x64, &gate64), 1e-6);
    let (mut dx, mut d_gate) = (w.clone(), vec![0.0; n]);
    gate::backward(&x, &gate, &mut dx, &mut d_gate);
    let want = gradient(&x64, |x| weigh(&w, &of(x, &gate64)));
    assert_close("dx", &dx, &want, 1e-5);
    let want = gradient(&gate64, |gate| weigh(&w, &of(&x64, gate)));
    assert_close("the gate's gradient", &d_gate, &want, 1e-5);
}

//! Mixtures of experts: the choice, and a whole mixture both ways against f64 and finite differences, with any number of
//! threads.
use crate::harness::{Dense, assert_close, gradient, values, weigh, wide};
use lora_kernels::experts::{self, Choice, Routing, Scores};
use lora_kernels::glu::{self, Activation};
use lora_kernels::linear::{self, Workspace};
use lora_kernels::matrix::{Mat, Place, Write};

const H: usize = 13;
const I: usize = 7;

/// A router and the experts' three weights.
struct Mixture {
    choice: Choice,
    /// Added for the choice alone.
    biases: Option<Vec<f32>>,
    router: Dense,
    gate: Vec<Dense>,
    up: Vec<Dense>,
    down: Vec<Dense>,
}

impl Mixture {
    fn new(choice: Choice) -> Self {
        let dense = |rows: usize, columns: usize, seed| Dense {
            values: values(rows * columns, seed),
            columns,
            in_place: seed % 2 == 0,
        };
        let all = |rows, columns, seed: u64| {
            let of = |expert| dense(rows, columns, seed + expert as u64);
            (0..choice.experts).map(of).collect::<Vec<_>>()
        };
        Self {
            choice,
            biases: None,
            router: dense(choice.experts, H, 99),
            gate: all(I, H, 100),
            up: all(I, H, 200),
            down: all(H, I, 300),
        }
    }

    /// The sum over the chosen, in f64; `chosen` are the experts of each token.
    fn reference(&self, x: &[f64], chosen: &[Vec<usize>]) -> Vec<f64> {
        let times = |w: &Dense, x: &[f64]| -> Vec<f64> {
            let rows = wide(&w.values);
            let rows = rows.chunks(w.columns);
            rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
                .collect()
        };
        let mut y = Vec::new();
        for (x, chosen) in x.chunks(H).zip(chosen) {
            let logits = times(&self.router, x);
            let scores: Vec<f64> = match self.choice.scores {
                Scores::Softmax => logits.iter().map(|l| l.exp()).collect(),
                Scores::Sigmoid => logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect(),
            };
            let of_chosen: f64 = chosen.iter().map(|&e| scores[e]).sum();
            let all: f64 = match (self.choice.scores, self.choice.normalised) {
                (Scores::Softmax, true) => of_chosen,
                (Scores::Softmax, false) => scores.iter().sum(),
                (Scores::Sigmoid, true) => of_chosen + 1e-6,
                (Scores::Sigmoid, false) => 1.0,
            };
            let scale = f64::from(self.choice.scale);
            let mut sum = vec![0.0; H];
            for &e in chosen {
                let (gate, up) = (times(&self.gate[e], x), times(&self.up[e], x));
                let inner = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u);
                let out = times(&self.down[e], &inner.collect::<Vec<_>>());
                let parts = sum.iter_mut().zip(out);
                parts.for_each(|(s, o)| *s += scale * scores[e] / all * o);
            }
            y.extend(sum);
        }
        y
    }

    /// What the kernels make of it: y, and the gradients of Σ w·y with respect to x and to the router's logits.
    fn run(&self, x: &[f32], w: &[f32]) -> (Routing, [Vec<f32>; 3]) {
        let (t, e) = (x.len() / H, self.choice.experts);
        let mut space = Workspace::default();
        let mut probabilities = vec![0.0; t * e];
        let to = Place::new(&mut probabilities, t, e);
        linear::forward(&self.router, Mat::new(x, t, H), to, &mut space);
        experts::score(&mut probabilities, self.choice);
        let mut routing = Routing::default();
        // What an earlier batch has left is no part of it.
        routing.choose(&values(3 * t * e, 5), self.choice, None);
        routing.choose(&probabilities, self.choice, self.biases.as_deref());
        let n = routing.len();
        let (mut rows, mut gate, mut up) = (vec![0.0; n * H], vec![0.0; n * I], vec![0.0; n * I]);
        experts::copy_rows(x, &routing, &mut rows);
        experts::forward(&self.gate, &rows, &routing, &mut gate, &mut space);
        experts::forward(&self.up, &rows, &routing, &mut up, &mut space);
        let mut inner = vec![0.0; n * I];
        glu::forward(Activation::Silu, &gate, &up, &mut inner);
        experts::forward(&self.down, &inner, &routing, &mut rows, &mut space);
        let mut y = vec![0.0; t * H];
        experts::add_rows(&rows, &routing, true, &mut y);

        experts::copy_rows(w, &routing, &mut rows);
        let (mut d, mut d_weights) = (vec![0.0; n * I], vec![0.0; n]);
        let to = (&mut d[..], Write::Replace);
        experts::backward(&self.down, &rows, &routing, to, &mut space);
        experts::weigh(&mut d, &inner, &routing, &mut d_weights);
        glu::backward(Activation::Silu, &d, &mut gate, &mut up);
        for (weights, dy, write) in [
            (&self.gate, &gate, Write::Replace),
            (&self.up, &up, Write::Add),
        ] {
            experts::backward(weights, dy, &routing, (&mut rows, write), &mut space);
        }
        let mut d_logits = vec![0.0; t * e];
        routing.logit_gradients(&probabilities, &d_weights, self.choice, &mut d_logits);
        let mut dx = vec![0.0; t * H];
        let to = Place::new(&mut dx, t, H);
        linear::backward(&self.router, Mat::new(&d_logits, t, e), to, &mut space);
        experts::add_rows(&rows, &routing, false, &mut dx);
        (routing, [y, dx, d_logits])
    }
}

/// The experts of each token.
fn chosen(routing: &Routing, x: &[f32]) -> Vec<Vec<usize>> {
    let tokens: Vec<f32> = (0..x.len() / H).map(|t| t as f32).collect();
    let mut of_rows = vec![0.0; routing.len()];
    experts::copy_rows(&tokens, routing, &mut of_rows);
    let mut found = vec![Vec::new(); tokens.len()];
    for (expert, rows) in routing.ranges() {
        let own = of_rows[rows].iter();
        own.for_each(|&token| found[token as usize].push(expert));
    }
    found
}

fn choice(experts: usize, chosen: usize, normalised: bool) -> Choice {
    Choice::of_softmax(experts, chosen, normalised)
}

#[test]
fn a_mixture_both_ways() {
    // Experts with many rows, few, none; one expert that takes all; all that are there.
    for (t, experts, k) in [(40, 3, 2), (9, 6, 2), (1, 5, 3), (17, 1, 1), (6, 4, 4)] {
        for (normalised, scores, scale) in [
            (true, Scores::Softmax, 1.0),
            (false, Scores::Softmax, 1.0),
            (true, Scores::Softmax, 0.6),
            (false, Scores::Softmax, 2.5),
            (true, Scores::Sigmoid, 1.0),
            (true, Scores::Sigmoid, 1.7),
            (false, Scores::Sigmoid, 0.4),
        ] {
            let mut mixture = Mixture::new(Choice {
                scores,
                scale,
                ..choice(experts, k, normalised)
            });
            let of_experts = values(experts, 7);
            mixture.biases = Some(of_experts).filter(|_| scores == Scores::Sigmoid);
            let (x, w) = (values(t * H, 1), values(t * H, 2));
            let (routing, [y, dx, _]) = mixture.run(&x, &w);
            let chosen = chosen(&routing, &x);
            assert!(chosen.iter().all(|own| own.len() == k));
            let of = |x: &[f64]| mixture.reference(x, &chosen);
            assert_close("y", &y, &of(&wide(&x)), 2e-6);
            let want = gradient(&wide(&x), |x| weigh(&w, &of(x)));
            assert_close("dx", &dx, &want, 5e-6);
        }
    }
}

#[test]
fn the_largest_are_chosen_and_of_equals_the_first() {
    let rows = [
        [0.1, 0.4, 0.4, 0.1],
        [0.25, 0.25, 0.25, 0.25],
        [0.0, 0.2, 0.3, 0.5],
    ]
    .concat();
    let mut routing = Routing::default();
    routing.choose(&rows, choice(4, 2, false), None);
    let ranges: Vec<_> = routing.ranges().collect();
    // Expert 0: token 1; 1: tokens 0 and 1; 2: tokens 0 and 2; 3: token 2.
    assert_eq!(ranges, [(0, 0..1), (1, 1..3), (2, 3..5), (3, 5..6)]);
    let mut tokens = [0.0; 6];
    experts::copy_rows(&[0.0, 1.0, 2.0], &routing, &mut tokens);
    assert_eq!(tokens, [1.0, 0.0, 1.0, 0.0, 2.0, 2.0]);
    let mut sums = [0.0; 3];
    experts::add_rows(&[1.0; 6], &routing, true, &mut sums);
    assert_eq!(sums, [0.8, 0.5, 0.8]);
    // Whatever a diverged run makes of a router, each token has k experts.
    routing.choose(&[f32::NAN; 8], choice(4, 2, true), None);
    assert_eq!(
        routing.ranges().map(|(_, rows)| rows.len()).sum::<usize>(),
        4
    );
}

/// Biases decide who is chosen, and count for nothing else.
#[test]
fn biases_are_of_the_choice_alone() {
    let choice = Choice {
        scores: Scores::Sigmoid,
        ..choice(4, 2, false)
    };
    let rows = [[0.1, 0.5, 0.3, 0.2], [0.4, 0.2, 0.3, 0.1]].concat();
    let mut routing = Routing::default();
    routing.choose(&rows, choice, Some(&[0.0, -0.45, 0.0, 0.35]));
    assert_eq!(routing.experts(), [3, 2, 3, 0]);
    let mut sums = [0.0; 2];
    experts::add_rows(&[1.0; 4], &routing, true, &mut sums);
    assert_eq!(sums, [0.2 + 0.3, 0.1 + 0.4]);
}

#[test]
#[should_panic(expected = "biases of a choice")]
fn biases_of_other_experts_are_refused() {
    Routing::default().choose(&[0.5, 0.5], choice(2, 1, false), Some(&[0.0; 3]));
}

/// Tokens sent to given experts have the weights of these, and the order of rows that a choice of them would have.
#[test]
fn a_choice_can_be_followed() {
    let rows = [[0.1, 0.5, 0.3, 0.1], [0.4, 0.2, 0.3, 0.1]].concat();
    for normalised in [false, true] {
        let choice = choice(4, 2, normalised);
        let (mut own, mut followed) = (Routing::default(), Routing::default());
        own.choose(&rows, choice, None);
        assert_eq!(own.experts(), [1, 2, 0, 2]);
        followed.follow(&rows, choice, own.experts());
        let sums = |routing: &Routing| {
            let mut sums = [0.0; 2];
            experts::add_rows(&[1.0, 10.0, 100.0, 1000.0], routing, true, &mut sums);
            sums
        };
        assert_eq!(sums(&followed), sums(&own));
        followed.follow(&rows, choice, &[3, 1, 0, 3]);
        let ranges: Vec<_> = followed.ranges().collect();
        assert_eq!(ranges, [(0, 0..1), (1, 1..2), (3, 2..4)]);
        // Token 0: rows 2 and 1, token 1: rows 0 and 3.
        let (first, second): ([f32; 2], [f32; 2]) = match normalised {
            false => ([0.1, 0.5], [0.4, 0.1]),
            true => ([0.1 / 0.6, 0.5 / 0.6], [0.8, 0.2]),
        };
        let want = [
            100.0 * first[0] + 10.0 * first[1],
            second[0] + 1000.0 * second[1],
        ];
        let near = sums(&followed)
            .iter()
            .zip(want)
            .all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near, "{:?} for {want:?}", sums(&followed));
    }
}

#[test]
#[should_panic(expected = "experts of other tokens")]
fn an_expert_that_is_not_there_is_not_followed() {
    Routing::default().follow(&[0.5, 0.5], choice(2, 1, false), &[2]);
}

#[test]
fn the_bits_of_a_mixture_do_not_depend_on_threads() {
    let mixture = Mixture::new(choice(6, 2, true));
    let (x, w) = (values(150 * H, 3), values(150 * H, 4));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| mixture.run(&x, &w).1)
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

/// Experts of no, one, few and many rows: each expert's products are those of a layer of its own, to the bit, for any number of
/// threads, replaced or added.
#[test]
fn products_are_those_of_each_expert_alone() {
    let (tokens, hidden, width) = (200, 34, 50);
    let choice = Choice::of_softmax(24, 3, true);
    let mut logits = values(tokens * choice.experts, 5);
    for (token, logits) in logits.chunks_exact_mut(choice.experts).enumerate() {
        logits[0] += 20.0; // all tokens
        logits[1] += if token < 90 { 10.0 } else { -20.0 };
        logits[2] = if token == 7 { 15.0 } else { -30.0 };
        logits[3] = -40.0; // none
    }
    experts::score(&mut logits, choice);
    let mut routing = Routing::default();
    routing.choose(&logits, choice, None);
    let sizes: Vec<usize> = routing.ranges().map(|(_, rows)| rows.len()).collect();
    assert!(sizes.contains(&tokens) && sizes.contains(&1) && sizes.len() < choice.experts);
    let weights: Vec<Dense> = (0..choice.experts as u64)
        .map(|seed| Dense {
            values: values(width * hidden, seed),
            columns: hidden,
            in_place: seed % 2 == 0,
        })
        .collect();
    let rows = routing.len();
    let (x, dy) = (values(rows * hidden, 6), values(rows * width, 7));
    let alone = |write: Write| {
        let (mut y, mut dx) = (vec![1.0; rows * width], vec![1.0; rows * hidden]);
        let mut space = Workspace::default();
        for (expert, rows) in routing.ranges() {
            let (of_x, of_y) = (
                rows.start * hidden..rows.end * hidden,
                rows.start * width..rows.end * width,
            );
            let weight = &weights[expert];
            let x = Mat::new(&x[of_x.clone()], rows.len(), hidden);
            let to = Place::new(&mut y[of_y.clone()], rows.len(), width);
            linear::forward(weight, x, to, &mut space);
            let dy = Mat::new(&dy[of_y], rows.len(), width);
            let to = Place::new(&mut dx[of_x], rows.len(), hidden).with(write);
            linear::backward(weight, dy, to, &mut space);
        }
        [y, dx]
    };
    let grouped = |write: Write| {
        let (mut y, mut dx) = (vec![1.0; rows * width], vec![1.0; rows * hidden]);
        let mut space = Workspace::default();
        experts::forward(&weights, &x, &routing, &mut y, &mut space);
        experts::backward(&weights, &dy, &routing, (&mut dx, write), &mut space);
        let packed = linear::packed_len(tokens, hidden, width);
        assert!(space.len() <= packed, "{} of {packed}", space.len());
        [y, dx]
    };
    for write in [Write::Replace, Write::Add] {
        let expected = alone(write);
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let found = pool.build().unwrap().install(|| grouped(write));
            assert!(found == expected, "{threads} threads, {write:?}");
        }
    }
}

#[test]
#[should_panic(expected = "6 rows and no expert")]
fn rows_without_an_expert_are_not_passed_over() {
    let choice = Choice::of_softmax(4, 2, true);
    let mut logits = values(3 * 4, 1);
    experts::score(&mut logits, choice);
    let mut routing = Routing::default();
    routing.choose(&logits, choice, None);
    let none: [Dense; 0] = [];
    let mut space = Workspace::default();
    experts::forward(&none, &[0.0; 6], &routing, &mut [0.0; 6], &mut space);
}

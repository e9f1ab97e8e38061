//! LoRA on experts' matrices against f64 and finite differences: outputs that share their A, weights of rows, any number of
//! threads.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::experts::{self, Choice, Factors, Routing};
use lora_kernels::linear::Workspace;
use lora_kernels::matrix::Write;

const IN: usize = 11;
const OUT: usize = 9;
/// Outputs of the first of two matrices that share an A.
const FIRST: usize = 4;
const SCALING: f32 = 0.75;

struct Case {
    experts: usize,
    rank: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    routing: Routing,
}

impl Case {
    fn new(tokens: usize, experts: usize, chosen: usize, rank: usize) -> Self {
        let mut routing = Routing::default();
        let choice = Choice::of_softmax(experts, chosen, true);
        let mut probabilities = values(tokens * experts, 8);
        experts::score(&mut probabilities, choice);
        routing.choose(&probabilities, choice, None);
        Self {
            experts,
            rank,
            a: values(experts * rank * IN, 1),
            b: values(experts * OUT * rank, 2),
            routing,
        }
    }

    fn factors(&self) -> Factors<'_> {
        Factors {
            a: &self.a,
            b: &self.b,
            rank: self.rank,
            in_features: IN,
            out_features: OUT,
            scaling: SCALING,
        }
    }

    /// s·x·Aᵀ·Bᵀ, each row with its expert's, in f64, (rows, out).
    fn reference(&self, x: &[f64], a: &[f64], b: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; self.routing.len() * OUT];
        for (expert, rows) in self.routing.ranges() {
            for row in rows {
                let x = &x[row * IN..(row + 1) * IN];
                let a = a[expert * self.rank * IN..].chunks(IN).take(self.rank);
                let u: Vec<f64> = a
                    .map(|a| a.iter().zip(x).map(|(a, x)| a * x).sum())
                    .collect();
                for out in 0..OUT {
                    let b = &b[(expert * OUT + out) * self.rank..][..self.rank];
                    let sum: f64 = b.iter().zip(&u).map(|(b, u)| b * u).sum();
                    y[row * OUT + out] = f64::from(SCALING) * sum;
                }
            }
        }
        y
    }

    /// y, and the gradients of Σ w·y with respect to x, A and B.
    fn run(&self, x: &[f32], w: &[f32]) -> [Vec<f32>; 4] {
        let (n, factors, routing) = (self.routing.len(), self.factors(), &self.routing);
        let parts = [0..FIRST, FIRST..OUT];
        let mut space = Workspace::default();
        let mut u = vec![f32::NAN; n * self.rank];
        factors.inner(x, routing, &mut u, &mut space);
        let mut du = vec![f32::NAN; n * self.rank];
        let mut db = vec![0.0; self.b.len()];
        let mut y = vec![0.0; n * OUT];
        let mut write = Write::Replace;
        for part in &parts {
            let mut own = vec![0.0; n * part.len()];
            factors.add(part, &u, routing, &mut own, &mut space);
            let dy: Vec<f32> = w
                .chunks(OUT)
                .flat_map(|w| w[part.clone()].to_vec())
                .collect();
            factors.inner_gradient(part, &dy, routing, (&mut du, write), &mut space);
            factors.b_gradient(part, &dy, &u, routing, &mut db);
            write = Write::Add;
            let rows = y.chunks_mut(OUT).zip(own.chunks(part.len()));
            rows.for_each(|(y, own)| y[part.clone()].copy_from_slice(own));
        }
        let mut da = vec![0.0; self.a.len()];
        factors.a_gradient(x, &du, routing, &mut da);
        let mut dx = vec![0.0; n * IN];
        factors.add_input_gradient(&du, routing, &mut dx, &mut space);
        [y, dx, da, db]
    }
}

#[test]
fn factors_of_experts_both_ways() {
    // Experts with many rows, few, none; one alone; ranks below and above a panel.
    for (tokens, experts, chosen, rank) in [
        (40, 3, 2, 3),
        (9, 6, 2, 1),
        (1, 5, 3, 8),
        (17, 1, 1, 5),
        (30, 4, 4, 33),
    ] {
        let case = Case::new(tokens, experts, chosen, rank);
        let n = case.routing.len();
        assert_eq!(n, tokens * chosen);
        let (x, w) = (values(n * IN, 3), values(n * OUT, 4));
        let [y, dx, da, db] = case.run(&x, &w);
        let [x64, a, b] = [&x, &case.a, &case.b].map(|values| wide(values));
        assert_close("y", &y, &case.reference(&x64, &a, &b), 2e-6);
        let of = |x: &[f64], a: &[f64], b: &[f64]| weigh(&w, &case.reference(x, a, b));
        assert_close("dx", &dx, &gradient(&x64, |x| of(x, &a, &b)), 5e-6);
        assert_close("dA", &da, &gradient(&a, |a| of(&x64, a, &b)), 5e-6);
        assert_close("dB", &db, &gradient(&b, |b| of(&x64, &a, b)), 5e-6);
        assert_eq!(case.experts, experts);
    }
}

#[test]
fn rows_are_scaled_by_the_weights_of_their_choice() {
    let case = Case::new(6, 3, 2, 1);
    let mut rows = vec![1.0; case.routing.len() * 2];
    experts::scale_rows(&mut rows, &case.routing);
    let mut sums = vec![0.0; 6 * 2];
    experts::add_rows(&rows, &case.routing, false, &mut sums);
    // The weights of a token's experts are divided by their sum.
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums:?}");
    assert!(rows.iter().any(|&weight| weight < 0.9));
}

#[test]
fn the_bits_of_factors_do_not_depend_on_threads() {
    let case = Case::new(150, 6, 2, 4);
    let n = case.routing.len();
    let (x, w) = (values(n * IN, 5), values(n * OUT, 6));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| case.run(&x, &w))
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

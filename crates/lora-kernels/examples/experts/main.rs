//! Measures the products of mixtures of experts, forward and backward, beside a plain layer's of as many operations:
//! `cargo run --release -p lora-kernels --example experts [THREADS [SECONDS]]`. Every figure is the median over rounds in
//! which all are measured in turn, as a share of the plain layer of the same round: machines are noisy.
#![allow(clippy::print_stdout)] // a measurement that prints its figures
#[path = "../support/mod.rs"]
mod support;
use lora_kernels::experts::{self, Choice, Routing};
use lora_kernels::linear::{self, Workspace};
use lora_kernels::matrix::{Mat, Place, Write};
use std::time::Instant;
use support::{Bf16, on_threads, values};

fn main() {
    on_threads(4.0, |limit| {
        println!("{}", lora_kernels::gemm::instruction_set());
        // One projection of Qwen3-30B-A3B, of OLMoE, and a quarter of one of Mixtral 8x7B.
        for (experts, chosen, hidden, width) in
            [(128, 8, 2048, 768), (64, 8, 2048, 1024), (8, 2, 4096, 3584)]
        {
            for tokens in [128, 512, 2048] {
                measure((experts, chosen), (hidden, width), tokens, limit);
            }
        }
    });
}

fn measure(
    (experts, chosen): (usize, usize),
    (hidden, width): (usize, usize),
    tokens: usize,
    limit: f64,
) {
    let choice = Choice::of_softmax(experts, chosen, true);
    let mut routing = Routing::default();
    routing.choose(&values(tokens * experts, 3), choice, None);
    let all: Vec<Bf16> = (0..experts as u32)
        .map(|seed| Bf16::new(width, hidden, seed))
        .collect();
    let one = Bf16::new(width, hidden, 1);
    let rows = routing.len();
    let x = values(rows * hidden, 7);
    let (mut y, mut dx) = (vec![0.0; rows * width], vec![0.0; rows * hidden]);
    let mut space = Workspace::default();
    let mut times: [Vec<f64>; 4] = Default::default();
    let began = Instant::now();
    while times[0].len() < 3 || began.elapsed().as_secs_f64() < limit {
        let to = Place::new(&mut y, rows, width);
        let plain = Mat::new(&x, rows, hidden);
        time(&mut times[0], || {
            linear::forward(&one, plain, to, &mut space)
        });
        time(&mut times[1], || {
            experts::forward(&all, &x, &routing, &mut y, &mut space);
        });
        let (dy, to) = (Mat::new(&y, rows, width), Place::new(&mut dx, rows, hidden));
        time(&mut times[2], || linear::backward(&one, dy, to, &mut space));
        let to = (&mut dx[..], Write::Replace);
        time(&mut times[3], || {
            experts::backward(&all, &y, &routing, to, &mut space);
        });
    }
    let share = |plain: &[f64], grouped: &[f64]| {
        let mut shares: Vec<f64> = plain.iter().zip(grouped).map(|(p, g)| p / g).collect();
        shares.sort_by(f64::total_cmp);
        shares[shares.len() / 2]
    };
    let operations = 2.0 * (rows * hidden * width) as f64;
    let mut plain = times[0].clone();
    plain.sort_by(f64::total_cmp);
    println!(
        "{chosen} of {experts} experts {hidden} x {width}, {tokens} tokens: forward {:.2}, backward {:.2} of {:.0} GFLOP/s",
        share(&times[0], &times[1]),
        share(&times[2], &times[3]),
        operations / plain[plain.len() / 2] / 1e9,
    );
}

fn time(times: &mut Vec<f64>, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    times.push(began.elapsed().as_secs_f64());
}

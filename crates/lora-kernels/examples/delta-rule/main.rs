//! Time of the gated delta rule by the length of a sequence: forward and backward, a layer of Qwen3.5-0.8B (16 heads of 128).
//! `cargo run --release -p lora-kernels --example delta-rule`. Linear time is a constant in the last two columns.
#![allow(clippy::print_stdout)] // a measurement that prints its figures
use lora_kernels::delta::{self, Gates, Gradients, Inputs, Shape};
use lora_kernels::layout::Layout;
use std::time::Instant;

const SHAPE: Shape = Shape {
    key_heads: 16,
    value_heads: 16,
    key_dim: 128,
    value_dim: 128,
};

/// Values in (−1, 1).
fn values(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The least of three times, milliseconds.
fn least(mut work: impl FnMut()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..3).map(once).fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("tokens  forward ms  backward ms  µs/token  µs/token");
    for tokens in [256, 512, 1024, 2048, 4096, 8192] {
        let (mixed, gates) = (
            values(tokens * SHAPE.columns()),
            values(tokens * SHAPE.value_heads),
        );
        let (a_log, dt_bias) = (vec![0.0; SHAPE.value_heads], vec![-4.0; SHAPE.value_heads]);
        let inputs = Inputs {
            mixed: &mixed,
            a: &gates,
            b: &gates,
            gates: Gates {
                a_log: &a_log,
                dt_bias: &dt_bias,
            },
        };
        let layout = Layout::packed(&[0, tokens]);
        let mut o = vec![0.0; tokens * SHAPE.values()];
        let forward = least(|| delta::forward(SHAPE, &layout, inputs, &mut o, None));
        let (mut d_mixed, mut d_a, mut d_b) = (mixed.clone(), gates.clone(), gates.clone());
        let backward = least(|| {
            let to = Gradients {
                mixed: &mut d_mixed,
                a: &mut d_a,
                b: &mut d_b,
            };
            delta::backward(SHAPE, &layout, inputs, &o, to);
        });
        let each = |ms: f64| ms * 1e3 / tokens as f64;
        println!(
            "{tokens:6}  {forward:10.1}  {backward:11.1}  {:8.1}  {:8.1}",
            each(forward),
            each(backward)
        );
    }
}

//! Time of Mamba-2's rule by the length of a sequence: forward and backward, a layer of Granite 4.0 h-micro (64 heads of 64, one
//! group, a state of 128). `cargo run --release -p lora-kernels --example ssd-rule`. Linear time is a constant in the last two
//! columns.
#![allow(clippy::print_stdout)] // a measurement that prints its figures
use lora_kernels::layout::Layout;
use lora_kernels::ssd::{self, Gradients, Inputs, Learned, Shape, shared_len};
use std::time::Instant;

const SHAPE: Shape = Shape {
    heads: 64,
    groups: 1,
    width: 64,
    state: 128,
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
        let (mixed, dt) = (
            values(tokens * SHAPE.columns()),
            values(tokens * SHAPE.heads),
        );
        let (zeros, low) = (vec![0.0; SHAPE.heads], vec![-4.0; SHAPE.heads]);
        let inputs = Inputs {
            mixed: &mixed,
            dt: &dt,
            learned: Learned {
                a_log: &zeros,
                dt_bias: &low,
                d: &zeros,
                limits: [0.0, f32::INFINITY],
            },
        };
        let layout = Layout::packed(&[0, tokens]);
        let mut y = vec![0.0; tokens * SHAPE.values()];
        let forward = least(|| ssd::forward(SHAPE, &layout, inputs, &mut y, None));
        let (mut d_mixed, mut d_dt) = (mixed.clone(), dt.clone());
        let mut shared = vec![0.0; tokens * shared_len(SHAPE)];
        let backward = least(|| {
            let to = Gradients {
                mixed: &mut d_mixed,
                dt: &mut d_dt,
            };
            ssd::backward(SHAPE, &layout, inputs, &y, &mut shared, to);
        });
        let each = |ms: f64| ms * 1e3 / tokens as f64;
        println!(
            "{tokens:6}  {forward:10.1}  {backward:11.1}  {:8.1}  {:8.1}",
            each(forward),
            each(backward)
        );
    }
}

//! Measures the adapted linear layers of SmolLM2-135M and of a 7B Llama, forward and backward, beside a plain product:
//! `cargo run --release -p lora-kernels --example products [THREADS [SECONDS]]`. Every figure is the median over rounds in
//! which all are measured in turn, as a share of the plain product of the same round: machines are noisy.
#![allow(clippy::print_stdout)] // a measurement that prints its figures
#[path = "../support/mod.rs"]
mod support;
use lora_kernels::adapted::Adapted;
use lora_kernels::attention::{self, Inputs, Outputs, Saved, Shape};
use lora_kernels::layout::{Layout, Span};
use lora_kernels::linear::Workspace;
use lora_kernels::lora::{Gradients, Lora};
use lora_kernels::matmul::matmul;
use lora_kernels::matrix::{Mat, Place};
use std::time::Instant;
use support::{Bf16, on_threads, values};

const RANK: usize = 16;

fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    on_threads(2.0, |limit| {
        println!(
            "{}; share of a plain product (512, 1024)·(1024, 1024)",
            lora_kernels::gemm::instruction_set()
        );
        attentions(limit);
        for t in [256, 512, 1024] {
            for (out, inn) in [
                (576, 576),
                (192, 576),
                (1536, 576),
                (576, 1536),
                (4096, 4096),
            ] {
                layer(t, out, inn, limit);
            }
        }
    });
}

/// Attention of SmolLM2-135M: `rows` sequences that begin with the same `shared` tokens and go on alone for `own`.
fn attentions(limit: f64) {
    for (rows, shared, own) in [
        (8, 24, 32),
        (8, 0, 56),
        (4, 150, 80),
        (4, 0, 256),
        (1, 0, 2048),
    ] {
        let mut layout = Layout::default();
        let prefix = Span {
            start: 0,
            len: shared,
        };
        if shared > 0 {
            layout.start_tree();
            layout.push(0, shared, [prefix]);
        }
        for row in 0..rows {
            if shared == 0 {
                layout.start_tree();
            }
            let start = shared + row * own;
            layout.push(start, own, [prefix, Span { start, len: own }]);
        }
        attention(
            &layout,
            shared + rows * own,
            &format!("{rows} rows of {shared} + {own} tokens"),
            limit,
        );
    }
}

fn attention(layout: &Layout, tokens: usize, name: &str, limit: f64) {
    let shape = Shape {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        scale: 0.125,
        window: None,
        softcap: None,
    };
    let (wide, narrow) = (tokens * 9 * 64, tokens * 3 * 64);
    let (q, k, v, d_o) = (
        values(wide, 1),
        values(narrow, 2),
        values(narrow, 3),
        values(wide, 4),
    );
    let (mut o, mut lse) = (vec![0.0; wide], vec![0.0; tokens * 9]);
    let (mut dq, mut dk, mut dv) = (vec![0.0; wide], vec![0.0; narrow], vec![0.0; narrow]);
    let mut workspace = attention::Workspace::default();
    let seen: usize = layout
        .segments()
        .iter()
        .map(|s| (1..=s.queries).map(|i| s.past + i).sum::<usize>())
        .sum();
    let once = (2 * seen * 9 * 64) as f64;
    let (left, right, mut plain) = (
        values(512 * 1024, 6),
        values(1024 * 1024, 7),
        vec![0.0; 512 * 1024],
    );
    let (mut forward, mut backward, mut peak, began) =
        (Vec::new(), Vec::new(), Vec::new(), Instant::now());
    while began.elapsed().as_secs_f64() < limit || forward.len() < 3 {
        let product = seconds(|| {
            let right = Mat::new(&right, 1024, 1024).t();
            let to = Place::new(&mut plain, 512, 1024);
            matmul(Mat::new(&left, 512, 1024), right, 1.0, to);
        });
        let rate = (2 * 512 * 1024 * 1024) as f64 / product;
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
            sinks: None,
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        let f = seconds(|| attention::forward(shape, layout, inputs, outputs));
        let saved = Saved {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            has_sinks: false,
            d_o: &d_o,
        };
        let to = attention::Gradients {
            q: &mut dq,
            k: &mut dk,
            v: &mut dv,
        };
        let g = seconds(|| attention::backward(shape, layout, saved, to, &mut workspace));
        forward.push(2.0 * once / f / rate);
        backward.push(5.0 * once / g / rate);
        peak.push(rate / 1e9);
    }
    let (forward, backward, peak) = (median(forward), median(backward), median(peak));
    println!(
        "attention, {name}: forward {forward:.2}, backward {backward:.2} of {peak:.0} GFLOP/s"
    );
}

fn layer(t: usize, out: usize, inn: usize, limit: f64) {
    let w = Bf16::new(out, inn, 2);
    let (x, dy, a, b) = (
        values(t * inn, 1),
        values(t * out, 3),
        values(RANK * inn, 4),
        values(out * RANK, 5),
    );
    let lora = Lora {
        a: Mat::new(&a, RANK, inn),
        b: Mat::new(&b, out, RANK),
        scaling: 1.0,
    };
    let adapted = Adapted {
        weight: &w,
        lora,
        x: Mat::new(&x, t, inn),
    };
    let (mut u, mut y, mut du, mut dx) = (
        vec![0.0; t * RANK],
        vec![0.0; t * out],
        vec![0.0; t * RANK],
        vec![0.0; t * inn],
    );
    let (mut da, mut db, mut workspace) =
        (vec![0.0; a.len()], vec![0.0; b.len()], Workspace::default());
    let (left, right, mut plain) = (
        values(512 * 1024, 6),
        values(1024 * 1024, 7),
        vec![0.0; 512 * 1024],
    );
    let weight = (2 * t * out * inn) as f64;
    let factors = (2 * t * RANK * (out + inn)) as f64;
    let (mut forward, mut backward, mut peak, began) =
        (Vec::new(), Vec::new(), Vec::new(), Instant::now());
    while began.elapsed().as_secs_f64() < limit || forward.len() < 3 {
        let product = seconds(|| {
            let right = Mat::new(&right, 1024, 1024).t();
            let to = Place::new(&mut plain, 512, 1024);
            matmul(Mat::new(&left, 512, 1024), right, 1.0, to);
        });
        let rate = (2 * 512 * 1024 * 1024) as f64 / product;
        let to = Place::new(&mut y, t, out);
        let f = seconds(|| adapted.forward(None, &mut u, to, &mut workspace));
        let g = seconds(|| {
            let to = Gradients {
                u: &mut du,
                a: &mut da,
                b: &mut db,
            };
            let inner = Mat::new(&u, t, RANK);
            let to_x = Place::new(&mut dx, t, inn);
            adapted.backward(inner, Mat::new(&dy, t, out), to_x, to, &mut workspace);
        });
        forward.push((weight + factors) / f / rate);
        backward.push((weight + 2.0 * factors) / g / rate);
        peak.push(rate / 1e9);
    }
    println!(
        "{t:5} tokens, ({out}, {inn}): forward {:.2}, backward {:.2} of {:.0} GFLOP/s",
        median(forward),
        median(backward),
        median(peak)
    );
}

//! The same bits for any number of threads.
use crate::harness::{Dense, values};
use lora_kernels::adapted::Adapted;
use lora_kernels::attention::{self, Inputs, Outputs, Saved, Shape, backward, forward};
use lora_kernels::layout::{Layout, Span};
use lora_kernels::linear::{self, Workspace};
use lora_kernels::lora::{Gradients, Lora};
use lora_kernels::matrix::{Mat, Place};

fn with_threads<R: Send>(n: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build()
        .unwrap()
        .install(work)
}

const T: usize = 190;

fn everything() -> Vec<Vec<f32>> {
    let mut outputs = linears();
    let q = values(T * 576, 2);
    outputs.extend(attends(&q, &outputs[0]));
    outputs
}

/// A plain layer, factors alone, and an adapted layer, both ways.
fn linears() -> Vec<Vec<f32>> {
    let (inn, out, rank) = (576, 1536, 16);
    let w = Dense {
        values: values(out * inn, 1),
        columns: inn,
        in_place: false,
    };
    let x = values(T * inn, 2);
    let a = values(rank * inn, 3);
    let b = values(out * rank, 4);
    let x = Mat::new(&x, T, inn);
    let lora = Lora {
        a: Mat::new(&a, rank, inn),
        b: Mat::new(&b, out, rank),
        scaling: 2.0,
    };
    let mut workspace = Workspace::default();
    let mut y = vec![0.0; T * out];
    let mut dx = vec![0.0; T * inn];
    linear::forward(&w, x, Place::new(&mut y, T, out), &mut workspace);
    let dy = Mat::new(&y, T, out);
    linear::backward(&w, dy, Place::new(&mut dx, T, inn), &mut workspace);

    let mut u = vec![0.0; T * rank];
    let mut du = vec![0.0; T * rank];
    let mut da = vec![0.0; a.len()];
    let mut db = vec![0.0; b.len()];
    let mut beside = y.clone();
    lora.forward(x, &mut u, Place::new(&mut beside, T, out));
    let to = Gradients {
        u: &mut du,
        a: &mut da,
        b: &mut db,
    };
    let d_beside = Mat::new(&beside, T, out);
    lora.backward(x, Mat::new(&u, T, rank), d_beside, to);

    let layer = Adapted {
        weight: &w,
        lora,
        x,
    };
    let mut adapted = vec![0.0; T * out];
    let mut dx_adapted = vec![0.0; T * inn];
    let to = Place::new(&mut adapted, T, out);
    layer.forward(None, &mut u, to, &mut workspace);
    let to = Gradients {
        u: &mut du,
        a: &mut da,
        b: &mut db,
    };
    let to_x = Place::new(&mut dx_adapted, T, inn);
    layer.backward(Mat::new(&u, T, rank), dy, to_x, to, &mut workspace);
    vec![y, dx, beside, adapted, dx_adapted, u, du, da, db]
}

/// Two sequences, and a beginning of 30 tokens with two continuations of it.
fn layout() -> Layout {
    let mut layout = Layout::packed(&[0, 100, 101]);
    layout.start_tree();
    let beginning = Span {
        start: 101,
        len: 30,
    };
    layout.push(101, 30, [beginning]);
    for (start, len) in [(131, 39), (170, T - 170)] {
        layout.push(start, len, [beginning, Span { start, len }]);
    }
    layout
}

/// Attention both ways.
fn attends(q: &[f32], values: &[f32]) -> Vec<Vec<f32>> {
    let shape = Shape {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        scale: 0.125,
        window: Some(70),
        softcap: Some(5.0),
    };
    let layout = layout();
    let k = &values[..T * 192];
    let v = &values[T * 192..T * 384];
    let mut o = vec![0.0; T * 576];
    let mut lse = vec![0.0; T * 9];
    let outputs = Outputs {
        o: &mut o,
        lse: &mut lse,
    };
    forward(
        shape,
        &layout,
        Inputs {
            q,
            k,
            v,
            sinks: None,
        },
        outputs,
    );
    let mut dq = vec![0.0; T * 576];
    let mut dk = vec![0.0; T * 192];
    let mut dv = vec![0.0; T * 192];
    let saved = Saved {
        q,
        k,
        v,
        o: &o,
        lse: &lse,
        has_sinks: false,
        d_o: q,
    };
    let to = attention::Gradients {
        q: &mut dq,
        k: &mut dk,
        v: &mut dv,
    };
    backward(shape, &layout, saved, to, &mut Default::default());
    vec![o, lse, dq, dk, dv]
}

#[test]
fn one_two_and_five_threads_give_the_same_bits() {
    let one = with_threads(1, everything);
    for n in [2, 5] {
        let many = with_threads(n, everything);
        for (i, (a, b)) in one.iter().zip(&many).enumerate() {
            let different = a
                .iter()
                .zip(b)
                .filter(|(x, y)| x.to_bits() != y.to_bits())
                .count();
            assert_eq!(
                different,
                0,
                "output {i} with {n} threads: {different} of {} values differ",
                a.len()
            );
        }
    }
}

//! The same bits for any number of threads.
use crate::harness::{Dense, values};
use lora_kernels::attention::{Saved, Shape, backward, forward};
use lora_kernels::layout::{Layout, Span};
use lora_kernels::linear::{self, Adapted, Gradients, Lora, Workspace};

fn with_threads<R: Send>(n: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build()
        .unwrap()
        .install(work)
}

fn everything() -> Vec<Vec<f32>> {
    let (t, inn, out, rank) = (190, 576, 1536, 16);
    let w = Dense {
        values: values(out * inn, 1),
        columns: inn,
        in_place: false,
    };
    let (x, a, b) = (
        values(t * inn, 2),
        values(rank * inn, 3),
        values(out * rank, 4),
    );
    let (mut y, mut dx, mut workspace) =
        (vec![0.0; t * out], vec![0.0; t * inn], Workspace::default());
    linear::forward(&w, &x, t, &mut y, false, &mut workspace);
    linear::backward(&w, &y, t, &mut dx, false, &mut workspace);
    let lora = Lora {
        a: &a,
        b: &b,
        rank,
        scaling: 2.0,
    };
    let (mut u, mut du) = (vec![0.0; t * rank], vec![0.0; t * rank]);
    let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    let mut adapted = y.clone();
    lora.forward(&x, t, &mut u, &mut adapted);
    lora.backward(&x, &u, &adapted, t, &mut du, &mut da, &mut db);
    let (mut beside, mut dx_beside) = (vec![0.0; t * out], vec![0.0; t * inn]);
    let layer = Adapted {
        weight: &w,
        lora,
        x: &x,
        tokens: t,
    };
    layer.forward(None, &mut u, &mut beside, false, &mut workspace);
    let to = Gradients {
        u: &mut du,
        a: &mut da,
        b: &mut db,
    };
    layer.backward(&u, &y, &mut dx_beside, false, to, &mut workspace);

    let shape = Shape {
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        scale: 0.125,
        window: Some(70),
        softcap: Some(5.0),
    };
    let (q, k, v) = (
        &x[..t * 576],
        &adapted[..t * 192],
        &adapted[t * 192..t * 384],
    );
    let (mut o, mut lse) = (vec![0.0; t * 576], vec![0.0; t * 9]);
    let mut s = Layout::packed(&[0, 100, 101]);
    s.start_tree(); // a beginning of 30 tokens and two continuations of it
    let beginning = Span {
        start: 101,
        len: 30,
    };
    s.push(101, 30, [beginning]);
    s.push(
        131,
        39,
        [
            beginning,
            Span {
                start: 131,
                len: 39,
            },
        ],
    );
    s.push(
        170,
        t - 170,
        [
            beginning,
            Span {
                start: 170,
                len: t - 170,
            },
        ],
    );
    forward(shape, &s, q, k, v, &mut o, &mut lse);
    let (mut dq, mut dk, mut dv) = (vec![0.0; t * 576], vec![0.0; t * 192], vec![0.0; t * 192]);
    backward(
        shape,
        &s,
        Saved {
            q,
            k,
            v,
            o: &o,
            lse: &lse,
            d_o: &x,
        },
        &mut dq,
        &mut dk,
        &mut dv,
        &mut Default::default(),
    );
    vec![
        y, dx, beside, dx_beside, u, adapted, du, da, db, o, lse, dq, dk, dv,
    ]
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

//! Packed causal attention with grouped queries.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::attention::{
    Gradients, Inputs, Outputs, Saved, Shape, Workspace, backward, forward,
};
use lora_kernels::layout::{Layout, Span};

const SHAPE: Shape = Shape {
    heads: 4,
    kv_heads: 2,
    head_dim: 3,
    scale: 0.577,
    window: None,
    softcap: None,
};

/// Plain, windowed, capped, and both.
fn shapes() -> [Shape; 4] {
    let (window, softcap) = (Some(4), Some(0.7));
    [
        SHAPE,
        Shape { window, ..SHAPE },
        Shape { softcap, ..SHAPE },
        Shape {
            window,
            softcap,
            ..SHAPE
        },
    ]
}

fn reference(shape: Shape, starts: &[usize], q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let (d, width, kv_width) = (
        SHAPE.head_dim,
        SHAPE.heads * SHAPE.head_dim,
        SHAPE.kv_heads * SHAPE.head_dim,
    );
    let mut o = vec![0.0; q.len()];
    for w in starts.windows(2) {
        for t in w[0]..w[1] {
            for head in 0..SHAPE.heads {
                let kv = head / (SHAPE.heads / SHAPE.kv_heads) * d;
                let at = t * width + head * d;
                let score = |s: usize| {
                    let score = (0..d)
                        .map(|i| q[at + i] * k[s * kv_width + kv + i])
                        .sum::<f64>()
                        * f64::from(SHAPE.scale);
                    shape
                        .softcap
                        .map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh())
                };
                let seen = (w[0]..=t).filter(|s| shape.window.is_none_or(|window| t - s < window));
                let e: Vec<f64> = seen.clone().map(|s| score(s).exp()).collect();
                let total: f64 = e.iter().sum();
                for (j, s) in seen.enumerate() {
                    for i in 0..d {
                        o[at + i] += e[j] / total * v[s * kv_width + kv + i];
                    }
                }
            }
        }
    }
    o
}

/// dq, dk and dv, whatever stood in their memory.
fn gradients(shape: Shape, layout: &Layout, saved: Saved<'_>) -> [Vec<f32>; 3] {
    let mut all = [saved.q, saved.k, saved.v].map(|x| vec![9.0; x.len()]);
    let [q, k, v] = &mut all;
    let to = Gradients { q, k, v };
    backward(shape, layout, saved, to, &mut Workspace::default());
    all
}

/// o and the log-sum-exp.
fn attend(shape: Shape, layout: &Layout, q: &[f32], k: &[f32], v: &[f32]) -> [Vec<f32>; 2] {
    let queries = q.len() / (shape.heads * shape.head_dim);
    let mut o = vec![0.0; q.len()];
    let mut lse = vec![0.0; queries * shape.heads];
    let outputs = Outputs {
        o: &mut o,
        lse: &mut lse,
    };
    forward(
        shape,
        layout,
        Inputs {
            q,
            k,
            v,
            sinks: None,
        },
        outputs,
    );
    [o, lse]
}

#[test]
fn values_and_gradients_of_packed_sequences() {
    let starts = [0usize, 5, 6, 13];
    let t = 13;
    let (q_len, kv_len) = (t * 12, t * 6);
    let (q, k, v, w) = (
        values(q_len, 1),
        values(kv_len, 2),
        values(kv_len, 3),
        values(q_len, 4),
    );
    let (qw, kw, vw) = (wide(&q), wide(&k), wide(&v));
    for shape in shapes() {
        let s = Layout::packed(&starts);
        let [o, lse] = attend(shape, &s, &q, &k, &v);
        assert_close("o", &o, &reference(shape, &starts, &qw, &kw, &vw), 1e-5);

        let saved = Saved {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            has_sinks: false,
            d_o: &w,
        };
        let [dq, dk, dv] = gradients(shape, &s, saved);
        assert_close(
            "dq",
            &dq,
            &gradient(&qw, |q| weigh(&w, &reference(shape, &starts, q, &kw, &vw))),
            1e-4,
        );
        assert_close(
            "dk",
            &dk,
            &gradient(&kw, |k| weigh(&w, &reference(shape, &starts, &qw, k, &vw))),
            1e-4,
        );
        assert_close(
            "dv",
            &dv,
            &gradient(&vw, |v| weigh(&w, &reference(shape, &starts, &qw, &kw, v))),
            1e-4,
        );
    }
}

/// Windows shorter and longer than a tile: the tiles' first keys move. Gradients by single values, the sequence is long.
#[test]
fn windows_move_across_tiles() {
    let starts = [0usize, 150, 160];
    let (q, k, v, w) = (
        values(160 * 12, 11),
        values(160 * 6, 12),
        values(160 * 6, 13),
        values(160 * 12, 14),
    );
    for window in [1, 7, 64, 100] {
        let shape = Shape {
            window: Some(window),
            softcap: Some(2.0),
            ..SHAPE
        };
        let s = Layout::packed(&starts);
        let [o, lse] = attend(shape, &s, &q, &k, &v);
        assert_close(
            "o",
            &o,
            &reference(shape, &starts, &wide(&q), &wide(&k), &wide(&v)),
            1e-5,
        );
        let saved = Saved {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            has_sinks: false,
            d_o: &w,
        };
        let [dq, dk, dv] = gradients(shape, &s, saved);
        for (name, place, found) in [("dq", 0, &dq), ("dk", 1, &dk), ("dv", 2, &dv)] {
            for at in [3, 6 * 70, 6 * 149 + 5, 6 * 155] {
                let loss = |h: f64| {
                    let mut moved = [wide(&q), wide(&k), wide(&v)];
                    moved[place][at] += h;
                    weigh(
                        &w,
                        &reference(shape, &starts, &moved[0], &moved[1], &moved[2]),
                    )
                };
                let want = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                let got = f64::from(found[at]);
                assert!(
                    (got - want).abs() <= 1e-4 * want.abs().max(1.0),
                    "{name}[{at}], window {window}: {got} instead of {want}"
                );
            }
        }
    }
}

#[test]
fn more_queries_than_one_tile() {
    let starts = [0usize, 150, 160];
    let (q, k, v) = (values(160 * 12, 5), values(160 * 6, 6), values(160 * 6, 7));
    let [o, _] = attend(SHAPE, &Layout::packed(&starts), &q, &k, &v);
    assert_close(
        "o",
        &o,
        &reference(SHAPE, &starts, &wide(&q), &wide(&k), &wide(&v)),
        1e-5,
    );
}

#[test]
fn a_cached_past_gives_what_the_whole_sequence_gives() {
    let (q, k, v) = (values(9 * 12, 8), values(9 * 6, 9), values(9 * 6, 10));
    for shape in shapes() {
        let want = reference(shape, &[0, 9], &wide(&q), &wide(&k), &wide(&v));
        let mut layout = Layout::default();
        layout.push(0, 2, [Span { start: 0, len: 4 }, Span { start: 4, len: 5 }]);
        let [o, _] = attend(shape, &layout, &q[7 * 12..], &k, &v);
        assert_close("o", &o, &want[7 * 12..], 1e-5);
    }
}

/// Rows of a tree with the sequences that it stands for: 70 shared tokens, then (3 shared, then 5 or 2) or 90.
fn tree() -> (Layout, Vec<Vec<usize>>) {
    let span = |start, len| Span { start, len };
    let mut layout = Layout::default();
    layout.push(0, 70, [span(0, 70)]);
    layout.push(70, 3, [span(0, 70), span(70, 3)]);
    layout.push(73, 5, [span(0, 70), span(70, 3), span(73, 5)]);
    layout.push(78, 2, [span(0, 70), span(70, 3), span(78, 2)]);
    layout.push(80, 90, [span(0, 70), span(80, 90)]);
    let rows = |parts: &[std::ops::Range<usize>]| parts.iter().cloned().flatten().collect();
    (
        layout,
        vec![
            rows(&[0..73, 73..78]),
            rows(&[0..73, 78..80]),
            rows(&[0..70, 80..170]),
        ],
    )
}

#[test]
fn a_shared_beginning_gives_what_each_sequence_gives_alone() {
    for window in [None, Some(1), Some(4), Some(72), Some(80)] {
        check_tree(Shape { window, ..SHAPE });
        check_tree(Shape {
            window,
            softcap: Some(0.7),
            ..SHAPE
        });
    }
}

fn check_tree(shape: Shape) {
    let (layout, sequences) = tree();
    let (t, width, kv_width) = (170, 12, 6);
    let (q, k, v, w) = (
        values(t * width, 11),
        values(t * kv_width, 12),
        values(t * kv_width, 13),
        values(t * width, 14),
    );
    let [o, lse] = attend(shape, &layout, &q, &k, &v);
    let saved = Saved {
        q: &q,
        k: &k,
        v: &v,
        o: &o,
        lse: &lse,
        has_sinks: false,
        d_o: &w,
    };
    let [dq, dk, dv] = gradients(shape, &layout, saved);

    let gather = |x: &[f32], rows: &[usize], width: usize| -> Vec<f32> {
        rows.iter()
            .flat_map(|&r| x[r * width..(r + 1) * width].to_vec())
            .collect()
    };
    let mut want = [
        vec![0.0f64; t * width],
        vec![0.0; t * kv_width],
        vec![0.0; t * kv_width],
    ];
    let mut given = vec![false; t]; // a shared row's own gradient is asked for once
    for rows in &sequences {
        let n = rows.len();
        let alone = Layout::packed(&[0, n]);
        let (q, k, v) = (
            gather(&q, rows, width),
            gather(&k, rows, kv_width),
            gather(&v, rows, kv_width),
        );
        let [own, lse] = attend(shape, &alone, &q, &k, &v);
        assert_close("o", &gather(&o, rows, width), &wide(&own), 1e-5);
        let mut d_o = gather(&w, rows, width);
        for (i, &row) in rows.iter().enumerate() {
            if std::mem::replace(&mut given[row], true) {
                d_o[i * width..(i + 1) * width].fill(0.0);
            }
        }
        let parts = gradients(
            shape,
            &alone,
            Saved {
                q: &q,
                k: &k,
                v: &v,
                o: &own,
                lse: &lse,
                has_sinks: false,
                d_o: &d_o,
            },
        );
        for ((want, part), width) in want.iter_mut().zip(&parts).zip([width, kv_width, kv_width]) {
            for (i, &row) in rows.iter().enumerate() {
                (0..width).for_each(|c| want[row * width + c] += f64::from(part[i * width + c]));
            }
        }
    }
    for ((name, got), want) in [("dq", &dq), ("dk", &dk), ("dv", &dv)]
        .into_iter()
        .zip(&want)
    {
        assert_close(name, got, want, 1e-5);
    }
}

/// A softmax of one element is 1 whatever the score, so no gradient passes through it: exactly 0, and not what rounding
/// leaves. The first query of each sequence sees one key, under a window of 1 every query does.
#[test]
fn queries_that_see_one_key_have_no_gradient() {
    let starts = [0usize, 1, 5, 6, 140];
    let (q, k, v, w) = (
        values(140 * 12, 21),
        values(140 * 6, 22),
        values(140 * 6, 23),
        values(140 * 12, 24),
    );
    let layout = Layout::packed(&starts);
    for shape in shapes() {
        for window in [shape.window, Some(1)] {
            let shape = Shape { window, ..shape };
            let [o, lse] = attend(shape, &layout, &q, &k, &v);
            let saved = Saved {
                q: &q,
                k: &k,
                v: &v,
                o: &o,
                lse: &lse,
                has_sinks: false,
                d_o: &w,
            };
            let [dq, dk, _] = gradients(shape, &layout, saved);
            for t in 0..140 {
                let is_alone = [0, 1, 5, 6].contains(&t) || window == Some(1);
                let row = &dq[t * 12..(t + 1) * 12];
                let is_zero = row.iter().all(|&d| d == 0.0);
                assert_eq!(is_zero, is_alone, "query {t}, window {window:?}");
            }
            for t in 0..140 {
                let is_seen_alone = [0, 5].contains(&t) || window == Some(1);
                let row = &dk[t * 6..(t + 1) * 6];
                let is_zero = row.iter().all(|&d| d == 0.0);
                assert_eq!(is_zero, is_seen_alone, "key {t}, window {window:?}");
            }
        }
    }
}

//! The same results by every instruction set.
use super::{Gradients, Inputs, Outputs, Saved, Shape, Workspace, backward, forward};
use crate::gemm::with_each;
use crate::layout::{Layout, Span};

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0)
        .collect()
}

/// A beginning of `shared` rows, then two continuations of it, then a sequence alone.
fn layout(shared: usize, own: [usize; 3]) -> (Layout, usize) {
    let beginning = Span {
        start: 0,
        len: shared,
    };
    let mut layout = Layout::default();
    layout.push(0, shared, [beginning]);
    let mut start = shared;
    for len in [own[0], own[1]] {
        layout.push(start, len, [beginning, Span { start, len }]);
        start += len;
    }
    layout.start_tree();
    layout.push(start, own[2], [Span { start, len: own[2] }]);
    (layout, start + own[2])
}

fn all(shape: Shape, layout: &Layout, t: usize) -> [Vec<f32>; 5] {
    let (wide, narrow) = (
        t * shape.heads * shape.head_dim,
        t * shape.kv_heads * shape.head_dim,
    );
    let (q, k, v, d_o) = (
        values(wide, 1),
        values(narrow, 2),
        values(narrow, 3),
        values(wide, 4),
    );
    let mut o = vec![9.0; wide];
    let mut lse = vec![9.0; t * shape.heads];
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
    forward(shape, layout, inputs, outputs);
    let [mut dq, mut dk, mut dv] = [wide, narrow, narrow].map(|n| vec![9.0; n]);
    let saved = Saved {
        q: &q,
        k: &k,
        v: &v,
        o: &o,
        lse: &lse,
        has_sinks: false,
        d_o: &d_o,
    };
    let to = Gradients {
        q: &mut dq,
        k: &mut dk,
        v: &mut dv,
    };
    backward(shape, layout, saved, to, &mut Workspace::default());
    [o, lse, dq, dk, dv]
}

#[test]
fn every_instruction_set_gives_the_same() {
    let sizes = [(4, 2, 3), (9, 3, 64), (5, 5, 44), (8, 1, 130), (40, 40, 8)];
    let masks = [
        (None, None),
        (Some(1), None),
        (Some(9), Some(3.0)),
        (Some(150), None),
    ];
    let shapes = sizes.iter().flat_map(|&(heads, kv_heads, head_dim)| {
        masks.map(|(window, softcap)| Shape {
            heads,
            kv_heads,
            head_dim,
            scale: 0.3,
            window,
            softcap,
        })
    });
    let (layout, t) = layout(37, [50, 3, 300]);
    let cases: Vec<_> = shapes
        .map(|shape| (shape, all(shape, &layout, t)))
        .collect();
    with_each(|name| {
        for (shape, want) in &cases {
            for (want, got) in want.iter().zip(&all(*shape, &layout, t)) {
                let largest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                for (i, (want, got)) in want.iter().zip(got).enumerate() {
                    assert!(
                        (want - got).abs() <= 2e-5 * largest,
                        "{name}, {shape:?}, {i}: {got} for {want}"
                    );
                }
            }
        }
    });
}

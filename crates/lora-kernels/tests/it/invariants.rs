//! What the unsafe code relies on can't be broken by safe code: every premise that a caller could violate is refused.
use crate::harness::values;
use lora_kernels::Rows;
use lora_kernels::adapted::Adapted;
use lora_kernels::attention::{self, Gradients, Inputs, Outputs, Saved, Shape, Workspace};
use lora_kernels::layout::{Layout, Span};
use lora_kernels::linear;
use lora_kernels::lora::{self, Lora};
use lora_kernels::matmul::matmul;
use lora_kernels::matrix::{Mat, Place};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a call panics with.
fn refusal(call: impl FnOnce()) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else {
        return String::new();
    };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string()))
        .unwrap_or_default()
}

#[track_caller]
fn assert_refused(want: &str, call: impl FnOnce()) {
    let found = refusal(call);
    assert!(found.contains(want), "{found:?} instead of {want:?}");
}

fn span(start: usize, len: usize) -> Span {
    Span { start, len }
}

#[test]
fn matrices_lie_inside_their_values() {
    let data = [0.0; 12];
    assert_refused("outside its 12 values", || {
        let _ = Mat::new(&data, 3, 5);
    });
    assert_refused("outside its 12 values", || {
        let _ = Mat::strided(&data, 3, 4, 5);
    });
    // (rows − 1) · stride + columns wraps around to 4.
    assert_refused("outside its 12 values", || {
        let _ = Mat::strided(&data, 3, 4, 1 << 63);
    });
    assert_refused("outside its 12 values", || {
        let _ = Place::new(&mut [0.0; 12], 1 << 32, 1 << 32);
    });
    assert_eq!(Mat::strided(&data, 2, 4, 8).values().len(), 12);
}

#[test]
fn products_have_fitting_shapes() {
    let data = [1.0; 12];
    let mat = Mat::new(&data, 3, 4);
    assert_refused("product: (3, 4)", || {
        matmul(mat, mat.t(), 1.0, Place::new(&mut [0.0; 12], 3, 4));
    });
    assert_refused("product: (3, 3)", || {
        matmul(mat, mat, 1.0, Place::new(&mut [0.0; 9], 3, 3));
    });
}

/// Each row of queries belongs to one segment: two that begin at the same row, or overlap, would be written at once.
#[test]
fn segments_share_no_queries() {
    let refused = "queries begin at row";
    let mut layout = Layout::default();
    layout.push(4, 3, [span(4, 3)]);
    for start in [0, 4, 5, 6] {
        let mut layout = layout.clone();
        assert_refused(refused, || layout.push(start, 2, [span(start, 2)]));
        layout.start_tree();
        assert_refused(refused, || layout.push(start, 2, [span(start, 2)]));
    }
    assert_refused("begins at row 5 and ends at row 3", || {
        Layout::packed(&[0, 5, 3, 8]).start_tree();
    });
    layout.push(7, 2, [span(7, 2)]);
    assert_refused(refused, || {
        layout.push(usize::MAX, 2, [span(0, 2)]);
    });
    assert_refused("more keys than memory can hold", || {
        layout.push(9, 1, [span(0, usize::MAX), span(9, 1)]);
    });
    assert_eq!(layout.segments().len(), 2);
}

/// Gradients of keys are added where segments of one tree alone see them.
#[test]
fn keys_with_gradients_are_rows_of_their_tree() {
    let mut fine = Layout::packed(&[0, 3, 5]);
    fine.start_tree();
    fine.push(5, 2, [span(5, 2)]);
    fine.push(7, 3, [span(5, 2), span(7, 3)]);
    assert!(fine.keys_are_own_rows());
    type Seen = (usize, usize, Vec<Span>);
    let foreign: [Seen; 5] = [
        (10, 2, vec![span(0, 2)]),               // own keys elsewhere
        (10, 2, vec![span(3, 2), span(10, 2)]),  // another tree's rows
        (10, 2, vec![span(4, 2), span(10, 2)]),  // some of them
        (10, 2, vec![span(8, 4)]),               // in one span, and of this tree: fine
        (10, 2, vec![span(10, 2), span(12, 2)]), // rows behind its own
    ];
    for (i, (start, queries, spans)) in foreign.into_iter().enumerate() {
        let mut layout = fine.clone();
        layout.push(start, queries, spans);
        assert_eq!(layout.keys_are_own_rows(), i == 3, "case {i}");
    }
    let mut cached = Layout::default();
    cached.push(0, 1, [span(0, 4), span(4, 1)]);
    let x = values(5 * 4, 1);
    assert_refused("rows of queries", || backward(&cached, SHAPE, &x));
}

const SHAPE: Shape = Shape {
    heads: 2,
    kv_heads: 1,
    head_dim: 2,
    scale: 1.0,
    window: None,
    softcap: None,
};

fn backward(layout: &Layout, shape: Shape, x: &[f32]) {
    let saved = Saved {
        q: x,
        k: x,
        v: x,
        o: x,
        lse: x,
        has_sinks: false,
        d_o: x,
    };
    let [mut q, mut k, mut v] = [0; 3].map(|_| vec![0.0; x.len()]);
    let to = Gradients {
        q: &mut q,
        k: &mut k,
        v: &mut v,
    };
    attention::backward(shape, layout, saved, to, &mut Workspace::default());
}

#[test]
fn attention_has_a_shape() {
    let x = values(12, 1);
    let layout = Layout::packed(&[0, 3]);
    let cases = [
        (
            Shape {
                heads: 3,
                kv_heads: 2,
                ..SHAPE
            },
            "3 query heads share 2",
        ),
        (
            Shape {
                kv_heads: 0,
                ..SHAPE
            },
            "share 0 key/value heads",
        ),
        (
            Shape {
                window: Some(0),
                ..SHAPE
            },
            "a window of no keys",
        ),
    ];
    for (shape, refused) in cases {
        assert_refused(refused, || backward(&layout, shape, &x));
        assert_refused(refused, || forward(&layout, shape, &x, 12));
    }
    assert_refused("part outside the slice", || forward(&layout, SHAPE, &x, 11));
}

fn forward(layout: &Layout, shape: Shape, x: &[f32], room: usize) {
    let inputs = Inputs {
        q: x,
        k: x,
        v: x,
        sinks: None,
    };
    let outputs = Outputs {
        o: &mut vec![0.0; room],
        lse: &mut vec![0.0; x.len()],
    };
    attention::forward(shape, layout, inputs, outputs);
}

/// More features in the input than A has would be written over each other.
#[test]
fn gradients_of_factors_have_the_shapes_of_the_factors() {
    let (a, b) = ([0.0; 4], [0.0; 6]);
    let lora = Lora {
        a: Mat::new(&a, 2, 2),
        b: Mat::new(&b, 3, 2),
        scaling: 1.0,
    };
    let (x, u, dy) = ([1.0; 12], [1.0; 8], [1.0; 12]);
    let (mut du, mut da, mut db) = ([0.0; 8], [0.0; 64], [0.0; 64]);
    let mut call = |x: Mat<'_>, u: Mat<'_>, dy: Mat<'_>| {
        let to = lora::Gradients {
            u: &mut du,
            a: &mut da,
            b: &mut db,
        };
        lora.backward(x, u, dy, to);
    };
    let (inner, out) = (Mat::new(&u, 4, 2), Mat::new(&dy, 4, 3));
    assert_refused("sums of outer products", || {
        call(Mat::new(&x, 4, 3), inner, out)
    });
    assert_refused("sums of outer products", || {
        call(Mat::new(&x, 4, 2), Mat::new(&u, 2, 4), out);
    });
    assert_refused("product:", || {
        call(Mat::new(&x, 4, 2), inner, Mat::new(&dy, 3, 4))
    });
    call(Mat::new(&x, 4, 2), inner, out);
}

/// A weight that says something else each time that it is asked.
struct Liar {
    asked: AtomicUsize,
    rows: usize,
    columns: usize,
}

impl Rows for Liar {
    fn rows(&self) -> usize {
        self.rows * (1 + self.asked.fetch_add(1, Ordering::Relaxed))
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read_rows(&self, _: usize, out: &mut [f32]) {
        out.fill(1.0);
    }
    fn unit(&self) -> usize {
        1
    }
    fn read_part(&self, _: usize, _: usize, out: &mut [f32]) {
        out.fill(1.0);
    }
}

#[test]
fn a_weight_that_lies_about_its_size_writes_nothing_outside() {
    for (t, out) in [(3, 40), (40, 70)] {
        let weight = Liar {
            asked: AtomicUsize::new(0),
            rows: out,
            columns: 8,
        };
        let x = values(t * 8, 1);
        let x = Mat::new(&x, t, 8);
        let mut y = vec![5.0; t * out + 1000];
        let (a, b) = (values(2 * 8, 2), values(out * 2, 3));
        let lora = Lora {
            a: Mat::new(&a, 2, 8),
            b: Mat::new(&b, out, 2),
            scaling: 1.0,
        };
        let adapted = Adapted {
            weight: &weight,
            lora,
            x,
        };
        for _ in 0..3 {
            weight.asked.store(0, Ordering::Relaxed);
            let to = Place::new(&mut y, t, out);
            refusal(|| linear::forward(&weight, x, to, &mut linear::Workspace::default()));
            let to = Place::new(&mut y, t, out);
            let mut u = vec![0.0; t * 2];
            weight.asked.store(0, Ordering::Relaxed);
            refusal(|| adapted.forward(None, &mut u, to, &mut linear::Workspace::default()));
        }
        assert!(y[t * out..].iter().all(|&v| v == 5.0));
    }
}

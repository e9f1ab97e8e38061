//! Heads that lie apart, and gates among them.
use crate::support::{Matrix, assert_close, each_case, twice};
use lora_gpu::{Apart, Mat};

const HEADS: usize = 3;

/// The heads of a wide row, beginning at its value `first`.
fn apart(all: Mat<'_>, first: usize, width: usize) -> Apart<'_> {
    let span = 2 * (HEADS - 1) * width + width;
    Apart {
        mat: all.of_columns(first..first + span),
        width,
        apart: 2 * width,
    }
}

/// What stands in the wide rows at each value of the heads, from `first` on.
fn of_heads(all: &Matrix, values: &[f64], first: usize, width: usize) -> Vec<f64> {
    let rows = values.chunks(all.columns);
    let row = |row: &[f64]| -> Vec<f64> {
        let heads = (0..HEADS).map(|head| first + 2 * width * head);
        heads.flat_map(|at| row[at..at + width].to_vec()).collect()
    };
    rows.flat_map(row).collect()
}

#[test]
fn heads_go_and_come_back_and_gates_open_them() {
    each_case(|gpu, rows, width, place| {
        let dtype = gpu.dtype();
        let (narrow, wide) = ((rows, HEADS * width), (rows, 2 * HEADS * width));
        let all = Matrix::noise(gpu, dtype, wide, place, (1, 3.0));
        let side = Matrix::unwritten(gpu, dtype, narrow, place);
        let found = twice(gpu, &[&side], || {
            gpu.take_heads(apart(all.mat(), 0, width), side.mat())
                .expect("it fits");
        });
        assert_eq!(found[0], of_heads(&all, &all.values, 0, width));

        let back = Matrix::noise(gpu, dtype, wide, place, (2, 1.0));
        let found = twice(gpu, &[&back], || {
            gpu.give_heads(side.mat(), apart(back.mat(), width, width))
                .expect("it fits");
        });
        let queries = of_heads(&all, &all.values, 0, width);
        assert_eq!(of_heads(&back, &found[0], width, width), queries);
        let between = of_heads(&back, &back.values, 0, width);
        assert_eq!(of_heads(&back, &found[0], 0, width), between);

        let x = Matrix::noise(gpu, dtype, narrow, place, (3, 2.0));
        let y = Matrix::unwritten(gpu, dtype, narrow, place);
        let gate = apart(all.mat(), width, width);
        let found = twice(gpu, &[&y], || {
            gpu.open(x.mat(), gate, y.mat()).expect("it fits");
        });
        let gates = of_heads(&all, &all.values, width, width);
        let sigmoid = |g: &f64| 1.0 / (1.0 + (-g).exp());
        let opened = x.values.iter().zip(&gates);
        let expected: Vec<f64> = opened.map(|(x, g)| x * sigmoid(g)).collect();
        assert_close("y", dtype, &found[0], &expected, 1e-6);

        let dy = Matrix::noise(gpu, dtype, narrow, place, (4, 1.0));
        let d_gate = Matrix::noise(gpu, dtype, wide, place, (5, 1.0));
        let found = twice(gpu, &[&dy, &d_gate], || {
            let to = apart(d_gate.mat(), width, width).mat;
            gpu.open_backward(x.mat(), gate, dy.mat(), to)
                .expect("it fits");
        });
        let step = 1e-5;
        let slope = |g: f64| (sigmoid(&(g + step)) - sigmoid(&(g - step))) / (2.0 * step);
        let both = dy.values.iter().zip(&gates);
        let expected: Vec<f64> = both.map(|(d, g)| d * sigmoid(g)).collect();
        assert_close("dx", dtype, &found[0], &expected, 1e-6);
        let all = dy.values.iter().zip(&x.values).zip(&gates);
        let expected: Vec<f64> = all.map(|((d, x), g)| d * x * slope(*g)).collect();
        let found = of_heads(&d_gate, &found[1], width, width);
        assert_close("gradient of the gate", dtype, &found, &expected, 3e-6);
    });
}

//! Columns of stacked matrices, and the scaled embedding.
use crate::harness::{Dense, values};
use lora_kernels::{embedding, stack};

#[test]
fn parts_taken_and_put_back_are_the_whole() {
    let (rows, widths) = (5, [4usize, 1, 7]);
    let width: usize = widths.iter().sum();
    let all = values(rows * width, 1);
    let mut again = vec![0.0; all.len()];
    let mut at = 0;
    for columns in widths {
        let mut part = vec![0.0; rows * columns];
        stack::take(&all, width, at, &mut part, columns);
        assert_eq!(
            part[columns..2 * columns],
            all[width + at..width + at + columns],
            "second row from {at}"
        );
        stack::put(&mut again, width, at, &part, columns);
        at += columns;
    }
    assert_eq!(again, all);
}

#[test]
fn embeddings_are_rows_times_the_scale() {
    let table = Dense {
        values: values(6 * 3, 2),
        columns: 3,
        in_place: false,
    };
    for scale in [1.0, 5.5] {
        let mut x = vec![9.0; 2 * 3];
        embedding::forward(&table, &[4, 0], scale, &mut x);
        let want: Vec<f32> = table.values[12..15]
            .iter()
            .chain(&table.values[..3])
            .map(|v| v * scale)
            .collect();
        assert_eq!(x, want);
    }
}

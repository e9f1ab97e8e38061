//! Rows that stand in the place of a table's own, and factors whose A is looked up by token.
use crate::support::{
    Matrix, assert_close, differences, each_case, largest, noise, twice, upload_u32,
};
use lora_gpu::{Dtype, Tensor};

/// Tokens by rows: where each one's list begins, and the lists.
fn by_token(ids: &[u32], tokens: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut starts, mut sources) = (vec![0], Vec::new());
    for token in tokens {
        let own = (0..ids.len() as u32).filter(|&t| ids[t as usize] == *token);
        sources.extend(own);
        starts.push(sources.len() as u32);
    }
    (starts, sources)
}

#[test]
fn rows_are_put_in_the_place_of_a_tables_own() {
    each_case(|gpu, rows, columns, place| {
        let many = rows + 3;
        let own = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let x = Matrix::noise(gpu, Dtype::F32, (many, columns), place, (2, 1.0));
        let at: Vec<u32> = [many as u32 - 1, 0].into();
        let ids: Vec<u32> = [0, rows as u32 - 1].into();
        let lists: [Tensor; 2] = [&ids, &at].map(|list| upload_u32(gpu, list));
        for count in [0, 1, 2] {
            let found = twice(gpu, &[&x], || {
                gpu.embed_at(own.mat(), (&lists[0], &lists[1], count), 1.5, x.mat())
                    .expect("it fits");
            });
            let mut expected = x.values.clone();
            for (&id, &at) in ids.iter().zip(&at).take(count) {
                let from = &own.values[id as usize * columns..][..columns];
                let to = expected[at as usize * columns..][..columns].iter_mut();
                to.zip(from).for_each(|(to, from)| *to = 1.5 * from);
            }
            assert_close("x", Dtype::F32, &found[0], &expected, 0.0);
        }
    });
}

/// u of an embedding's factors is A's columns of the tokens; its gradient goes to these columns, whatever tokens there are.
#[test]
fn columns_are_looked_up_and_their_gradients_are_the_differences() {
    each_case(|gpu, rank, vocabulary, place| {
        let a = Matrix::noise(gpu, Dtype::F32, (rank, vocabulary), place, (1, 1.0));
        let v = vocabulary as u32;
        let ids: Vec<u32> = [v - 1, 0, v / 2, 0, v / 3, v - 1, 0].into();
        let list = upload_u32(gpu, &ids);
        let rows = ids.len();
        let u = Matrix::unwritten(gpu, gpu.dtype(), (rows, rank), place);
        let found = twice(gpu, &[&u], || {
            gpu.gather_columns(a.mat(), &list, u.mat())
                .expect("it fits");
        });
        let looked_up = |a: &[f64]| -> Vec<f64> {
            let of_token = |&id: &u32| (0..rank).map(move |k| k * vocabulary + id as usize);
            ids.iter().flat_map(of_token).map(|at| a[at]).collect()
        };
        assert_close("u", gpu.dtype(), &found[0], &looked_up(&a.values), 0.0);

        let mut tokens = ids.clone();
        tokens.sort_unstable();
        tokens.dedup();
        let (starts, sources) = by_token(&ids, &tokens);
        let lists = [&starts, &sources, &tokens].map(|list| upload_u32(gpu, list));
        let d_u = Matrix::noise(gpu, Dtype::F32, (rows, rank), place, (2, 1.0));
        let d_a = Matrix::noise(gpu, Dtype::F32, (rank, vocabulary), place, (3, 1.0));
        let found = twice(gpu, &[&d_a], || {
            let columns = (&lists[2], tokens.len());
            gpu.add_columns(d_u.mat(), (&lists[0], &lists[1]), columns, d_a.mat())
                .expect("it fits");
        });
        let by_hand = differences_of_columns(&a, &tokens, |a| looked_up(a), &d_u.values);
        let mut expected = d_a.values.clone();
        by_hand.into_iter().for_each(|(at, d)| expected[at] += d);
        assert_close("d_a", Dtype::F32, &found[0], &expected, 1e-6);
    });
}

/// Of the columns that are looked up; the others' gradients are none.
fn differences_of_columns(
    a: &Matrix,
    tokens: &[u32],
    f: impl Fn(&[f64]) -> Vec<f64>,
    weights: &[f64],
) -> Vec<(usize, f64)> {
    let places = (0..a.rows).flat_map(|k| tokens.iter().map(move |&t| k * a.columns + t as usize));
    let places: Vec<usize> = places.collect();
    let own: Vec<f64> = places.iter().map(|&at| a.values[at]).collect();
    let with = |own: &[f64]| {
        let mut all = a.values.clone();
        places.iter().zip(own).for_each(|(&at, v)| all[at] = *v);
        f(&all)
    };
    let found = differences(&own, weights, with);
    places.into_iter().zip(found).collect()
}

/// Logits of rows of their own, and the way back: what is taken leaves nothing for the table's own rows.
#[test]
fn columns_are_put_and_taken() {
    each_case(|gpu, rows, columns, place| {
        let count = columns.div_ceil(2);
        let list: Vec<u32> = (0..count as u32)
            .map(|j| columns as u32 - 1 - 2 * j)
            .collect();
        assert!(list.iter().all(|&c| (c as usize) < columns));
        let on_device = upload_u32(gpu, &list);
        let own = Matrix::noise(gpu, Dtype::F32, (rows, count), place, (1, 1.0));
        let logits = Matrix::noise(gpu, Dtype::F32, (rows, columns), place, (2, 1.0));
        let found = twice(gpu, &[&logits], || {
            gpu.put_columns(own.mat(), &on_device, logits.mat())
                .expect("it fits");
        });
        let mut expected = logits.values.clone();
        for row in 0..rows {
            for (j, &column) in list.iter().enumerate() {
                expected[row * columns + column as usize] = own.values[row * count + j];
            }
        }
        assert_eq!(found[0], expected);

        let d = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (3, 1.0));
        let taken = Matrix::unwritten(gpu, gpu.dtype(), (rows, count), place);
        let found = twice(gpu, &[&d, &taken], || {
            gpu.take_columns(d.mat(), &on_device, taken.mat())
                .expect("it fits");
        });
        let (mut left, mut own) = (d.values.clone(), Vec::new());
        for row in 0..rows {
            for &column in &list {
                own.push(std::mem::take(&mut left[row * columns + column as usize]));
            }
        }
        assert_eq!(found, [left, own]);
    });
}

#[test]
fn squares_of_columns_are_summed() {
    each_case(|gpu, rows, columns, place| {
        let w = Matrix::noise(gpu, gpu.dtype(), (rows, columns), place, (1, 1.0));
        let before: Vec<f64> = noise(2, columns).iter().map(|v| v.abs()).collect();
        let squares = Matrix::new(gpu, Dtype::F32, (1, columns), place, &before);
        let found = twice(gpu, &[&squares], || {
            gpu.add_column_squares(w.mat(), squares.mat())
                .expect("it fits");
        });
        let mut expected = squares.values.clone();
        for row in w.values.chunks(columns) {
            let sums = expected.iter_mut().zip(row);
            sums.for_each(|(sum, v)| *sum += v * v);
        }
        assert!(largest(&expected) > 0.0);
        assert_close("squares", Dtype::F32, &found[0], &expected, 1e-6);
    });
}

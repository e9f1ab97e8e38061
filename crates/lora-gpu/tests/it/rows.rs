//! Rows picked out, put back and summed.
use crate::support::{Matrix, assert_close, each_case, twice, upload_u32};
use lora_gpu::{Dtype, Gpu};

const FIRST: usize = 2;

fn row(matrix: &Matrix, i: usize) -> &[f64] {
    &matrix.values[i * matrix.columns..(i + 1) * matrix.columns]
}

fn types(gpu: &Gpu) -> [Dtype; 2] {
    [Dtype::F32, gpu.dtype()]
}

#[test]
fn rows_are_gathered_and_put_back() {
    each_case(|gpu, rows, columns, place| {
        let many = rows + 4;
        // Some rows in another order, one twice.
        let order: Vec<u32> = (0..many as u32)
            .map(|i| (i * 3 + 1) % rows as u32)
            .collect();
        let list = upload_u32(gpu, &[&[0; FIRST], &order[..]].concat());
        for dtype in types(gpu) {
            let from = Matrix::noise(gpu, dtype, (rows, columns), place, (1, 1.0));
            let to = Matrix::unwritten(gpu, dtype, (many, columns), place);
            let found = twice(gpu, &[&to], || {
                gpu.gather(from.mat(), &list, FIRST, to.mat())
                    .expect("it fits");
            });
            let expected: Vec<f64> = order
                .iter()
                .flat_map(|&i| row(&from, i as usize).to_vec())
                .collect();
            assert_eq!(found[0], expected);
        }
        let order: Vec<u32> = (0..rows as u32)
            .map(|i| (i * 2 + 1) % many as u32)
            .collect();
        let distinct = (0..rows).all(|i| !order[..i].contains(&order[i]));
        assert!(distinct, "{order:?}");
        let list = upload_u32(gpu, &[&[0; FIRST], &order[..]].concat());
        for dtype in types(gpu) {
            let from = Matrix::noise(gpu, dtype, (rows, columns), place, (1, 1.0));
            let to = Matrix::noise(gpu, dtype, (many, columns), place, (2, 1.0));
            let found = twice(gpu, &[&to], || {
                gpu.put(from.mat(), &list, FIRST, to.mat())
                    .expect("it fits");
            });
            let (mut put, mut added) = (to.values.clone(), to.values.clone());
            for (i, &at) in order.iter().enumerate() {
                let range = at as usize * columns..(at as usize + 1) * columns;
                put[range.clone()].copy_from_slice(row(&from, i));
                let sums = added[range].iter_mut().zip(row(&from, i));
                sums.for_each(|(sum, v)| *sum += v);
            }
            assert_eq!(found[0], put);
            if dtype == Dtype::F32 {
                let found = twice(gpu, &[&to], || {
                    gpu.put_add(from.mat(), &list, FIRST, to.mat())
                        .expect("it fits");
                });
                assert_close("added", Dtype::F32, &found[0], &added, 0.0);
            }
        }
    });
}

#[test]
fn rows_are_summed_over_a_list() {
    each_case(|gpu, rows, columns, place| {
        let from = Matrix::noise(gpu, Dtype::F32, (rows, columns), place, (1, 1.0));
        let lists: [&[u32]; 4] = [&[0], &[], &[0, 0, 0], &[]];
        let mut all: Vec<Vec<u32>> = lists.iter().map(|list| list.to_vec()).collect();
        all.push((0..rows as u32).rev().collect());
        let mut starts = vec![0];
        all.iter()
            .for_each(|list| starts.push(starts[starts.len() - 1] + list.len() as u32));
        let to = Matrix::unwritten(gpu, Dtype::F32, (all.len(), columns), place);
        let (starts, sources) = (upload_u32(gpu, &starts), upload_u32(gpu, &all.concat()));
        let found = twice(gpu, &[&to], || {
            gpu.sum_rows(from.mat(), &starts, &sources, to.mat())
                .expect("it fits");
        });
        let expected: Vec<f64> = all
            .iter()
            .flat_map(|list| {
                let mut sum = vec![0f32; columns]; // in f32, in the list's order
                for &i in list {
                    let values = row(&from, i as usize);
                    sum.iter_mut()
                        .zip(values)
                        .for_each(|(s, &v)| *s += v as f32);
                }
                sum.into_iter().map(f64::from)
            })
            .collect();
        assert_eq!(found[0], expected);
    });
}

#[test]
fn embeddings_are_looked_up() {
    each_case(|gpu, rows, columns, place| {
        let table = Matrix::noise(gpu, gpu.dtype(), (rows + 1, columns), place, (1, 1.0));
        let ids: Vec<u32> = (0..9).map(|i| (i * 5 + 1) % (rows as u32 + 1)).collect();
        let x = Matrix::unwritten(gpu, Dtype::F32, (9, columns), place);
        let list = upload_u32(gpu, &ids);
        let found = twice(gpu, &[&x], || {
            gpu.embed(table.mat(), &list, 1.5, x.mat())
                .expect("it fits");
        });
        let expected: Vec<f64> = ids
            .iter()
            .flat_map(|&id| row(&table, id as usize).iter().map(|v| 1.5 * v))
            .collect();
        assert_close("x", Dtype::F32, &found[0], &expected, 0.0);
    });
}

//! Frozen linear layers read in panels, and the LoRA factors beside them.
use crate::harness::{Dense, assert_close, gradient, values, weigh, wide};
use lora_kernels::adapted::Adapted;
use lora_kernels::linear::{self, Workspace};
use lora_kernels::lora::{Gradients, Lora};
use lora_kernels::matrix::{Mat, Place};

/// x (t, inn) · wᵀ (out, inn)
fn product_nt(x: &[f64], w: &[f64], inn: usize) -> Vec<f64> {
    x.chunks(inn)
        .flat_map(|x| {
            w.chunks(inn)
                .map(move |w| x.iter().zip(w).map(|(a, b)| a * b).sum())
        })
        .collect()
}

#[test]
fn products_with_a_weight_both_ways() {
    // Few rows and many; inner dimensions of one block and of several, with ragged edges everywhere.
    for (t, inn, out) in [(3, 9_000, 75), (29, 1_100, 75), (29, 40, 1_000)] {
        let (x, dy) = (values(t * inn, 1), values(t * out, 3));
        let w = Dense {
            values: values(out * inn, 2),
            columns: inn,
            in_place: false,
        };
        let (mut y, mut workspace) = (vec![0.0; t * out], Workspace::default());
        let x = Mat::new(&x, t, inn);
        let dy = Mat::new(&dy, t, out);
        linear::forward(&w, x, Place::new(&mut y, t, out), &mut workspace);
        assert_close(
            "y",
            &y,
            &product_nt(&wide(x.values()), &wide(&w.values), inn),
            1e-5,
        );

        let mut dx = vec![5.0; t * inn];
        linear::backward(&w, dy, Place::new(&mut dx, t, inn), &mut workspace);
        let turned = (0..inn).flat_map(|i| (0..out).map(move |o| (o, i)));
        let transposed: Vec<f64> = turned
            .map(|(o, i)| f64::from(w.values[o * inn + i]))
            .collect();
        assert_close(
            "dx",
            &dx,
            &product_nt(&wide(dy.values()), &transposed, out),
            1e-5,
        );

        let in_place = Dense {
            in_place: true,
            ..w
        };
        let mut again = vec![1.0; t * out];
        let to = Place::new(&mut again, t, out).adding();
        linear::forward(&in_place, x, to, &mut workspace);
        let want: Vec<f64> = y.iter().map(|&v| f64::from(v) + 1.0).collect();
        assert_close("accumulated in place", &again, &want, 1e-5);
        let mut again = vec![1.0; t * inn];
        let to = Place::new(&mut again, t, inn).adding();
        linear::backward(&in_place, dy, to, &mut workspace);
        let want: Vec<f64> = dx.iter().map(|&v| f64::from(v) + 1.0).collect();
        assert_close("accumulated back in place", &again, &want, 1e-5);
    }
}

/// s · (x·aᵀ)·bᵀ
fn lora_reference(
    x: &[f64],
    a: &[f64],
    b: &[f64],
    (inn, rank): (usize, usize),
    s: f64,
) -> Vec<f64> {
    product_nt(&product_nt(x, a, inn), b, rank)
        .iter()
        .map(|v| v * s)
        .collect()
}

#[test]
fn lora_factors() {
    let (t, inn, out, rank, s) = (4, 7, 5, 3, 0.75f32);
    let (x, a, b, w) = (
        values(t * inn, 1),
        values(rank * inn, 2),
        values(out * rank, 3),
        values(t * out, 4),
    );
    let lora = Lora {
        a: Mat::new(&a, rank, inn),
        b: Mat::new(&b, out, rank),
        scaling: s,
    };
    let (mut u, mut y) = (vec![0.0; t * rank], vec![0.0; t * out]);
    let input = Mat::new(&x, t, inn);
    lora.forward(input, &mut u, Place::new(&mut y, t, out));
    let (xw, aw, bw, sw, shape) = (wide(&x), wide(&a), wide(&b), f64::from(s), (inn, rank));
    assert_close("y", &y, &lora_reference(&xw, &aw, &bw, shape, sw), 1e-5);

    let (mut du, mut da, mut db, mut dx) = (
        vec![0.0; t * rank],
        vec![0.0; a.len()],
        vec![0.0; b.len()],
        vec![0.0; x.len()],
    );
    let to = Gradients {
        u: &mut du,
        a: &mut da,
        b: &mut db,
    };
    let inner = Mat::new(&u, t, rank);
    lora.backward(input, inner, Mat::new(&w, t, out), to);
    lora.backward_input(Mat::new(&du, t, rank), Place::new(&mut dx, t, inn));
    assert_close(
        "da",
        &da,
        &gradient(&aw, |a| weigh(&w, &lora_reference(&xw, a, &bw, shape, sw))),
        1e-5,
    );
    assert_close(
        "db",
        &db,
        &gradient(&bw, |b| weigh(&w, &lora_reference(&xw, &aw, b, shape, sw))),
        1e-5,
    );
    assert_close(
        "dx",
        &dx,
        &gradient(&xw, |x| weigh(&w, &lora_reference(x, &aw, &bw, shape, sw))),
        1e-5,
    );
}

/// A weight and its factors in one pass, with what A sees equal to the input or not: values, and gradients by differences.
#[test]
fn lora_beside_a_weight() {
    // The last rank is more than a block of the inner dimension.
    for (t, inn, out, rank) in [(4, 7, 5, 3), (17, 10, 40, 20), (15, 9, 3, 400)] {
        let s = 0.75f32;
        let (x, a, b, g) = (
            values(t * inn, 1),
            values(rank * inn, 2),
            values(out * rank, 3),
            values(t * out, 4),
        );
        let w = Dense {
            values: values(out * inn, 5),
            columns: inn,
            in_place: false,
        };
        let lora = Lora {
            a: Mat::new(&a, rank, inn),
            b: Mat::new(&b, out, rank),
            scaling: s,
        };
        let (xw, aw, bw, ww) = (wide(&x), wide(&a), wide(&b), wide(&w.values));
        let whole = |x: &[f64], seen: &[f64], a: &[f64], b: &[f64]| -> Vec<f64> {
            let plain = product_nt(x, &ww, inn);
            let beside = lora_reference(seen, a, b, (inn, rank), f64::from(s));
            plain.iter().zip(&beside).map(|(p, q)| p + q).collect()
        };
        let adapted = Adapted {
            weight: &w,
            lora,
            x: Mat::new(&x, t, inn),
        };
        let mut workspace = Workspace::default();
        let (mut u, mut y) = (vec![0.0; t * rank], vec![1.0; t * out]);
        let seen = values(t * inn, 6);
        let seen = Mat::new(&seen, t, inn);
        let to = Place::new(&mut y, t, out).adding();
        adapted.forward(Some(seen), &mut u, to, &mut workspace);
        let want: Vec<f64> = whole(&xw, &wide(seen.values()), &aw, &bw)
            .iter()
            .map(|v| v + 1.0)
            .collect();
        assert_close("y with dropout", &y, &want, 1e-5);
        adapted.forward(None, &mut u, Place::new(&mut y, t, out), &mut workspace);
        assert_close("y", &y, &whole(&xw, &xw, &aw, &bw), 1e-5);

        let (mut du, mut da, mut db) =
            (vec![0.0; t * rank], vec![1.0; a.len()], vec![1.0; b.len()]);
        let mut dx = vec![1.0; x.len()];
        let to = Gradients {
            u: &mut du,
            a: &mut da,
            b: &mut db,
        };
        let inner = Mat::new(&u, t, rank);
        let dy = Mat::new(&g, t, out);
        let to_x = Place::new(&mut dx, t, inn).adding();
        adapted.backward(inner, dy, to_x, to, &mut workspace);
        let less_one = |v: &[f32]| -> Vec<f32> { v.iter().map(|v| v - 1.0).collect() };
        let differences =
            |at: &[f64], f: &dyn Fn(&[f64]) -> Vec<f64>| gradient(at, |p| weigh(&g, &f(p)));
        assert_close(
            "dx",
            &less_one(&dx),
            &differences(&xw, &|x| whole(x, x, &aw, &bw)),
            1e-5,
        );
        if rank < 100 {
            assert_close(
                "da",
                &less_one(&da),
                &differences(&aw, &|a| whole(&xw, &xw, a, &bw)),
                1e-5,
            );
            assert_close(
                "db",
                &less_one(&db),
                &differences(&bw, &|b| whole(&xw, &xw, &aw, b)),
                1e-5,
            );
        }
    }
}

#[test]
fn bias_is_added_to_every_row() {
    let mut y = vec![1.0, 2.0, 3.0, 4.0];
    linear::add_bias(&[10.0, 20.0], &mut y);
    assert_eq!(y, [11.0, 22.0, 13.0, 24.0]);
}

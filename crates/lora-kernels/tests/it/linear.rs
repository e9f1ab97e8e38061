//! Frozen linear layers read in panels, and the LoRA factors beside them.
use crate::harness::{Dense, assert_close, gradient, values, weigh, wide};
use lora_kernels::linear::{self, Lora};

/// x (t, inn) · wᵀ (out, inn)
fn product_nt(x: &[f64], w: &[f64], inn: usize) -> Vec<f64> {
    x.chunks(inn).flat_map(|x| w.chunks(inn).map(move |w| x.iter().zip(w).map(|(a, b)| a * b).sum())).collect()
}

#[test]
fn panels_give_the_whole_product_both_ways() {
    // Wide enough that a panel holds only some of the rows, with a ragged last one.
    let (t, inn, out) = (3, 9_000, 75);
    let (x, dy) = (values(t * inn, 1), values(t * out, 3));
    let w = Dense { values: values(out * inn, 2), columns: inn, in_place: false };
    let (mut y, mut panel) = (vec![0.0; t * out], Vec::new());
    linear::forward(&w, &x, t, &mut y, false, &mut panel);
    assert_close("y", &y, &product_nt(&wide(&x), &wide(&w.values), inn), 1e-5);
    assert!(panel.len() < out * inn, "the matrix was widened as a whole");

    let mut dx = vec![5.0; t * inn];
    linear::backward(&w, &dy, t, &mut dx, false, &mut panel);
    let transposed: Vec<f64> =
        (0..inn).flat_map(|i| (0..out).map(move |o| (o, i))).map(|(o, i)| f64::from(w.values[o * inn + i])).collect();
    assert_close("dx", &dx, &product_nt(&wide(&dy), &transposed, out), 1e-5);

    let in_place = Dense { in_place: true, ..w };
    let mut again = vec![1.0; t * out];
    linear::forward(&in_place, &x, t, &mut again, true, &mut panel);
    let want: Vec<f64> = y.iter().map(|&v| f64::from(v) + 1.0).collect();
    assert_close("accumulated in place", &again, &want, 1e-5);
}

/// s · (x·aᵀ)·bᵀ
fn lora_reference(x: &[f64], a: &[f64], b: &[f64], (inn, rank): (usize, usize), s: f64) -> Vec<f64> {
    product_nt(&product_nt(x, a, inn), b, rank).iter().map(|v| v * s).collect()
}

#[test]
fn lora_factors() {
    let (t, inn, out, rank, s) = (4, 7, 5, 3, 0.75f32);
    let (x, a, b, w) = (values(t * inn, 1), values(rank * inn, 2), values(out * rank, 3), values(t * out, 4));
    let lora = Lora { a: &a, b: &b, rank, scaling: s };
    let (mut u, mut y) = (vec![0.0; t * rank], vec![0.0; t * out]);
    lora.forward(&x, t, &mut u, &mut y);
    let (xw, aw, bw, sw, shape) = (wide(&x), wide(&a), wide(&b), f64::from(s), (inn, rank));
    assert_close("y", &y, &lora_reference(&xw, &aw, &bw, shape, sw), 1e-5);

    let (mut du, mut da, mut db, mut dx) =
        (vec![0.0; t * rank], vec![0.0; a.len()], vec![0.0; b.len()], vec![0.0; x.len()]);
    lora.backward(&x, &u, &w, t, &mut du, &mut da, &mut db);
    lora.backward_input(&du, t, &mut dx, false);
    assert_close("da", &da, &gradient(&aw, |a| weigh(&w, &lora_reference(&xw, a, &bw, shape, sw))), 1e-5);
    assert_close("db", &db, &gradient(&bw, |b| weigh(&w, &lora_reference(&xw, &aw, b, shape, sw))), 1e-5);
    assert_close("dx", &dx, &gradient(&xw, |x| weigh(&w, &lora_reference(x, &aw, &bw, shape, sw))), 1e-5);
}

#[test]
fn bias_is_added_to_every_row() {
    let mut y = vec![1.0, 2.0, 3.0, 4.0];
    linear::add_bias(&[10.0, 20.0], &mut y);
    assert_eq!(y, [11.0, 22.0, 13.0, 24.0]);
}

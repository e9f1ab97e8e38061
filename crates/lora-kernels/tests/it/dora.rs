//! DoRA's norms and gains, and the sums that trained weights, biases, norms and embeddings get.
use crate::harness::{Dense, assert_close, gradient, values, weigh, wide};
use lora_kernels::linear::{self, Workspace};
use lora_kernels::lora::Lora;
use lora_kernels::matrix::{Mat, Place};
use lora_kernels::{dora, embedding, norm};

const T: usize = 5;
const IN: usize = 9;
const OUT: usize = 70; // more than one thread's share
const RANK: usize = 3;
const S: f32 = 0.75;

/// W + s·B·A, (out, in).
fn whole(w: &[f64], a: &[f64], b: &[f64]) -> Vec<f64> {
    let delta = |o: usize, i: usize| {
        (0..RANK)
            .map(|j| b[o * RANK + j] * a[j * IN + i])
            .sum::<f64>()
    };
    (0..OUT * IN)
        .map(|k| w[k] + f64::from(S) * delta(k / IN, k % IN))
        .collect()
}

fn row_norms(w: &[f64]) -> Vec<f64> {
    w.chunks(IN)
        .map(|row| row.iter().map(|v| v * v).sum::<f64>().sqrt())
        .collect()
}

#[test]
fn norms_are_those_of_the_whole_weight() {
    let w = Dense {
        values: values(OUT * IN, 1),
        columns: IN,
        in_place: false,
    };
    let (a, b) = (values(RANK * IN, 2), values(OUT * RANK, 3));
    let lora = Lora {
        a: Mat::new(&a, RANK, IN),
        b: Mat::new(&b, OUT, RANK),
        scaling: S,
    };
    let want = row_norms(&whole(&wide(&w.values), &wide(&a), &wide(&b)));
    let (mut projected, mut workspace) = (vec![0.0; RANK * OUT], Workspace::default());
    let to = Place::new(&mut projected, RANK, OUT);
    linear::forward(&w, lora.a, to, &mut workspace);
    assert_close(
        "rows",
        &dora::norms(&lora, &dora::row_squares(&w), &projected),
        &want,
        1e-6,
    );

    // The same weight on its side, as an embedding has it.
    let turned = (0..IN * OUT)
        .map(|k| w.values[(k % OUT) * IN + k / OUT])
        .collect();
    let table = Dense {
        values: turned,
        columns: OUT,
        in_place: false,
    };
    let to = Place::new(&mut projected, RANK, OUT);
    linear::backward(&table, lora.a, to, &mut workspace);
    assert_close(
        "columns",
        &dora::norms(&lora, &dora::column_squares(&table), &projected),
        &want,
        1e-6,
    );
}

/// y = (m/norm)∘z with z = x·(W + s·B·A)ᵀ and the norm held: finite differences in m and in z.
#[test]
fn gains_forward_and_backward() {
    let (z, m, norms, dy) = (
        values(T * OUT, 1),
        values(OUT, 2),
        values(OUT, 3),
        values(T * OUT, 4),
    );
    let norms: Vec<f32> = norms.iter().map(|v| v.abs() + 0.5).collect();
    let gain: Vec<f32> = m.iter().zip(&norms).map(|(m, n)| m / n).collect();
    let reference = |z: &[f64], m: &[f64]| -> Vec<f64> {
        z.iter()
            .enumerate()
            .map(|(k, z)| m[k % OUT] / f64::from(norms[k % OUT]) * z)
            .collect()
    };
    let mut y = vec![1.0; T * OUT];
    dora::scale(&z, &gain, Place::new(&mut y, T, OUT));
    assert_close("y", &y, &reference(&wide(&z), &wide(&m)), 1e-6);
    dora::scale(&z, &gain, Place::new(&mut y, T, OUT).adding());
    let twice: Vec<f64> = reference(&wide(&z), &wide(&m))
        .iter()
        .map(|v| 2.0 * v)
        .collect();
    assert_close("y += y", &y, &twice, 1e-6);

    let mut dz = vec![0.0; T * OUT];
    dora::scale(&dy, &gain, Place::new(&mut dz, T, OUT));
    assert_close(
        "dz",
        &dz,
        &gradient(&wide(&z), |z| weigh(&dy, &reference(z, &wide(&m)))),
        1e-5,
    );
    let mut dm = vec![0.5; OUT];
    dora::magnitude_gradient(&dy, &z, &norms, &mut dm);
    let want = gradient(&wide(&m), |m| weigh(&dy, &reference(&wide(&z), m)));
    assert_close(
        "dm adds",
        &dm,
        &want.iter().map(|g| g + 0.5).collect::<Vec<_>>(),
        1e-5,
    );
    dora::magnitude_gradient(&dy, &z, &vec![0.0; OUT], &mut dm);
    assert!(
        dm.iter().all(|d| d.is_finite()),
        "a row of zeros has no direction"
    );
}

#[test]
fn weights_and_biases_that_train() {
    let (x, w, dy) = (values(T * IN, 1), values(OUT * IN, 2), values(T * OUT, 3));
    let product = |w: &[f64], bias: &[f64]| -> Vec<f64> {
        let row = |t: usize, o: usize| {
            (0..IN)
                .map(|i| f64::from(x[t * IN + i]) * w[o * IN + i])
                .sum::<f64>()
                + bias[o]
        };
        (0..T * OUT).map(|k| row(k / OUT, k % OUT)).collect()
    };
    let (bias, mut dw, mut db) = (vec![0.0; OUT], vec![0.0; OUT * IN], vec![0.0; OUT]);
    linear::weight_gradient(Mat::new(&x, T, IN), Mat::new(&dy, T, OUT), &mut dw);
    dora::bias_gradient(&dy, 1.0, &mut db);
    assert_close(
        "dw",
        &dw,
        &gradient(&wide(&w), |w| weigh(&dy, &product(w, &bias))),
        1e-5,
    );
    assert_close(
        "db",
        &db,
        &gradient(&bias, |bias| weigh(&dy, &product(&wide(&w), bias))),
        1e-5,
    );
}

#[test]
fn norm_weights_that_train() {
    let (x, gamma, dy) = (values(T * IN, 1), values(IN, 2), values(T * IN, 3));
    let (mut y, mut rstd) = (vec![0.0; T * IN], vec![0.0; T]);
    norm::forward(&x, &gamma, 1e-5, &mut y, &mut rstd);
    let mut d_gamma = vec![0.0; IN];
    norm::weight_gradient(&x, &rstd, &dy, &mut d_gamma);
    let reference = |gamma: &[f64]| -> Vec<f64> {
        (0..T * IN)
            .map(|k| f64::from(x[k]) * f64::from(rstd[k / IN]) * gamma[k % IN])
            .collect()
    };
    assert_close(
        "dγ",
        &d_gamma,
        &gradient(&wide(&gamma), |gamma| weigh(&dy, &reference(gamma))),
        1e-5,
    );
}

/// Tokens that come twice add up.
#[test]
fn embeddings_gather_and_scatter() {
    let ids = [3u32, 0, 3, 6, 1];
    let (a, e, du, dx) = (
        values(RANK * 7, 1),
        values(7 * IN, 2),
        values(T * RANK, 3),
        values(T * IN, 4),
    );
    let columns = |a: &[f64]| -> Vec<f64> {
        (0..T * RANK)
            .map(|k| a[(k % RANK) * 7 + ids[k / RANK] as usize])
            .collect()
    };
    let mut u = vec![0.0; T * RANK];
    embedding::gather_columns(&a, RANK, &ids, &mut u);
    assert_close("u", &u, &columns(&wide(&a)), 0.0);
    let mut da = vec![0.0; a.len()];
    embedding::scatter_columns(&du, RANK, &ids, &mut da);
    assert_close(
        "da",
        &da,
        &gradient(&wide(&a), |a| weigh(&du, &columns(a))),
        1e-5,
    );
    let rows = |e: &[f64]| -> Vec<f64> {
        (0..T * IN)
            .map(|k| 2.5 * e[ids[k / IN] as usize * IN + k % IN])
            .collect()
    };
    let mut de = vec![0.0; e.len()];
    embedding::scatter_rows(&dx, IN, &ids, 2.5, &mut de);
    assert_close(
        "de",
        &de,
        &gradient(&wide(&e), |e| weigh(&dx, &rows(e))),
        1e-5,
    );
}

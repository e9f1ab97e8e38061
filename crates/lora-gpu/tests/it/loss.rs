//! Cross-entropy.
use crate::support::{
    Matrix, PLACES, SHAPES, assert_close, differences, download, each_case, each_precision, noise,
    twice, upload_u32,
};
use lora_gpu::{Dtype, Gpu, RowLosses, Tensor};

fn capped(softcap: Option<f32>, x: f64) -> f64 {
    softcap.map_or(x, |cap| f64::from(cap) * (x / f64::from(cap)).tanh())
}

fn reference(softcap: Option<f32>, logits: &[f64], target: usize) -> f64 {
    let capped = |x: f64| capped(softcap, x);
    let largest = logits
        .iter()
        .map(|&l| capped(l))
        .fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|&l| (capped(l) - largest).exp()).sum();
    largest + total.ln() - capped(logits[target])
}

const FIRST: usize = 3;

/// Targets, losses and whether they are right, from FIRST on.
fn outputs(gpu: &Gpu, targets: &[u32]) -> (Tensor, Tensor, Tensor) {
    let all = [&[999; FIRST], targets].concat();
    let losses = gpu.alloc(Dtype::F32, all.len()).expect("there is memory");
    let correct = gpu.alloc(Dtype::U32, all.len()).expect("there is memory");
    (upload_u32(gpu, &all), losses, correct)
}

fn of_rows<'t>(targets: &'t Tensor, losses: &'t Tensor, correct: &'t Tensor) -> RowLosses<'t> {
    RowLosses {
        targets,
        losses,
        correct,
        first: FIRST,
    }
}

#[test]
fn losses_and_their_gradients_are_right() {
    each_precision(|gpu| {
        for (rows, columns) in SHAPES {
            for place in PLACES {
                for softcap in [None, Some(3.0)] {
                    check(gpu, (rows, columns), place, softcap);
                }
            }
        }
    });
}

fn check(gpu: &Gpu, shape: (usize, usize), place: crate::support::Place, softcap: Option<f32>) {
    let (rows, columns) = shape;
    let logits = Matrix::noise(gpu, Dtype::F32, shape, place, (1, 8.0));
    let targets: Vec<u32> = (0..rows).map(|t| ((t * 7 + 1) % columns) as u32).collect();
    let (list, losses, correct) = outputs(gpu, &targets);
    let d = Matrix::unwritten(gpu, gpu.dtype(), shape, place);
    let scale = 0.37f32;
    let found = twice(gpu, &[&d], || {
        gpu.cross_entropy(
            logits.mat(),
            of_rows(&list, &losses, &correct),
            softcap,
            Some((scale, d.mat())),
        )
        .expect("it fits");
    });
    let loss = |t: usize, row: &[f64]| reference(softcap, row, targets[t] as usize);
    let lines = || logits.values.chunks(columns).enumerate();
    let expected: Vec<f64> = lines().map(|(t, row)| loss(t, row)).collect();
    let found_losses = download(gpu, &losses);
    assert!(
        found_losses[..FIRST].iter().all(|v| v.is_nan()),
        "losses before the first"
    );
    assert_close("loss", Dtype::F32, &found_losses[FIRST..], &expected, 1e-6);
    for (t, row) in lines() {
        let values: Vec<f64> = row.iter().map(|&l| capped(softcap, l)).collect();
        let best = (0..columns).fold(0, |best, i| if values[i] > values[best] { i } else { best });
        let right = f64::from(u8::from(best == targets[t] as usize));
        assert_eq!(download(gpu, &correct)[FIRST + t], right);
    }
    let gradient: Vec<f64> = lines()
        .flat_map(|(t, row)| differences(row, &[f64::from(scale)], |row| vec![loss(t, row)]))
        .collect();
    assert_close("gradient", gpu.dtype(), &found[0], &gradient, 2e-6);

    // Without a gradient, the same losses.
    let again = gpu
        .alloc(Dtype::F32, FIRST + rows)
        .expect("there is memory");
    gpu.cross_entropy(
        logits.mat(),
        of_rows(&list, &again, &correct),
        softcap,
        None,
    )
    .expect("it fits");
    assert_eq!(download(gpu, &again)[FIRST..], found_losses[FIRST..]);
    if gpu.dtype() == Dtype::F32 {
        gpu.cross_entropy(
            logits.mat(),
            of_rows(&list, &losses, &correct),
            softcap,
            Some((scale, logits.mat())),
        )
        .expect("it fits");
        assert_eq!(logits.now(gpu), found[0], "in place");
        assert_eq!(download(gpu, &losses)[FIRST..], found_losses[FIRST..]);
    }
}

#[test]
fn of_equal_logits_the_first_is_the_largest() {
    each_precision(|gpu| {
        for columns in [6, 8, 2050] {
            let mut values = noise(1, columns);
            let (first, second) = (1, columns - 1);
            values[first] = 5.0;
            values[second] = 5.0;
            let logits = Matrix::new(gpu, Dtype::F32, (3, columns), PLACES[0], &values.repeat(3));
            let targets = [first as u32, second as u32, 0];
            let (list, losses, correct) = outputs(gpu, &targets);
            gpu.cross_entropy(logits.mat(), of_rows(&list, &losses, &correct), None, None)
                .expect("it fits");
            assert_eq!(download(gpu, &correct)[FIRST..], [1.0, 0.0, 0.0]);
        }
    });
}

#[test]
fn a_target_outside_of_the_vocabulary_and_nan_give_nan() {
    each_precision(|gpu| {
        let mut values = noise(1, 20);
        values[17] = f64::NAN;
        let logits = Matrix::new(gpu, Dtype::F32, (2, 10), PLACES[0], &values);
        let (list, losses, correct) = outputs(gpu, &[10, 3]);
        gpu.cross_entropy(logits.mat(), of_rows(&list, &losses, &correct), None, None)
            .expect("it fits");
        assert!(download(gpu, &losses)[FIRST..].iter().all(|v| v.is_nan()));
    });
}

#[test]
fn logits_are_capped() {
    each_case(|gpu, rows, columns, place| {
        let x = Matrix::noise(gpu, Dtype::F32, (rows, columns), place, (1, 90.0));
        let found = twice(gpu, &[&x], || gpu.soft_cap(x.mat(), 30.0).expect("it fits"));
        let expected: Vec<f64> = x.values.iter().map(|&v| capped(Some(30.0), v)).collect();
        assert_close("capped", Dtype::F32, &found[0], &expected, 1e-6);
    });
}

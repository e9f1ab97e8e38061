//! Output head and cross-entropy in chunks.
use crate::harness::{Dense, assert_close, gradient, values, wide};
use lora_kernels::loss::{Scratch, TokenLoss, cross_entropy};
use lora_kernels::profile::Profile;

fn reference(
    hidden: &[f64],
    head: &[f64],
    targets: &[u32],
    h: usize,
    cap: Option<f32>,
) -> Vec<f64> {
    let row = |(x, &target): (&[f64], &u32)| {
        let mut logits: Vec<f64> = head
            .chunks(h)
            .map(|w| x.iter().zip(w).map(|(a, b)| a * b).sum())
            .collect();
        if let Some(cap) = cap.map(f64::from) {
            logits.iter_mut().for_each(|l| *l = cap * (*l / cap).tanh());
        }
        logits.iter().map(|l: &f64| l.exp()).sum::<f64>().ln() - logits[target as usize]
    };
    hidden.chunks(h).zip(targets).map(row).collect()
}

#[test]
fn loss_and_gradient_over_several_chunks() {
    for cap in [None, Some(0.8)] {
        check(cap);
    }
}

fn check(cap: Option<f32>) {
    let (n, h, vocabulary, scale) = (300, 6, 41, 0.3f32);
    let head = Dense {
        values: values(vocabulary * h, 1),
        columns: h,
        in_place: false,
    };
    let x = values(n * h, 2);
    let targets: Vec<u32> = (0..n as u32).map(|i| (i * 7) % vocabulary as u32).collect();
    let want = reference(&wide(&x), &wide(&head.values), &targets, h, cap);

    let (mut losses, mut scratch) = (vec![TokenLoss::default(); n], Scratch::default());
    let mut hidden = x.clone();
    cross_entropy(
        &head,
        &mut hidden,
        &targets,
        cap,
        scale,
        false,
        &mut losses,
        &mut scratch,
        &Profile::default(),
    );
    assert_eq!(hidden, x, "without a gradient the hidden rows stay");
    assert_close(
        "nll",
        &losses.iter().map(|l| l.nll).collect::<Vec<_>>(),
        &want,
        1e-5,
    );

    cross_entropy(
        &head,
        &mut hidden,
        &targets,
        cap,
        scale,
        true,
        &mut losses,
        &mut scratch,
        &Profile::default(),
    );
    let total = |x: &[f64]| {
        reference(x, &wide(&head.values), &targets, h, cap)
            .iter()
            .sum::<f64>()
            * f64::from(scale)
    };
    // Differences of a few rows are enough: rows are independent.
    let few = wide(&x[..h * 3]);
    let part = gradient(&few, |f| {
        let mut all = wide(&x);
        all[..f.len()].copy_from_slice(f);
        total(&all)
    });
    assert_close("d hidden", &hidden[..h * 3], &part, 1e-4);
    let last = reference(
        &wide(&x[(n - 1) * h..]),
        &wide(&head.values),
        &targets[n - 1..],
        h,
        cap,
    )[0];
    assert!((f64::from(losses[n - 1].nll) - last).abs() < 1e-5);
}

#[test]
fn correct_means_the_target_is_the_largest() {
    let head = Dense {
        values: vec![1.0, 0.0, 0.0, 1.0],
        columns: 2,
        in_place: true,
    };
    let (mut losses, mut scratch) = (vec![TokenLoss::default(); 2], Scratch::default());
    cross_entropy(
        &head,
        &mut [3.0, 1.0, 3.0, 1.0],
        &[0, 1],
        None,
        1.0,
        false,
        &mut losses,
        &mut scratch,
        &Profile::default(),
    );
    assert!(losses[0].correct && !losses[1].correct);
}

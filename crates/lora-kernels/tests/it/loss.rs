//! Output head and cross-entropy in chunks.
use crate::harness::{Dense, assert_close, gradient, values, wide};
use lora_kernels::linear::Workspace;
use lora_kernels::loss::{CrossEntropy, Frozen, TokenLoss};
use lora_kernels::profile::Profile;

/// The losses of rows, which become their gradient if one is wanted.
fn losses(loss: CrossEntropy<'_>, head: &Dense, hidden: &mut [f32]) -> Vec<TokenLoss> {
    let mut head = Frozen {
        weight: head,
        workspace: &mut Workspace::default(),
    };
    loss.of(&mut head, hidden, &mut Vec::new())
}

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

    let profile = Profile::default();
    let loss = CrossEntropy {
        targets: &targets,
        softcap: cap,
        gradient: None,
        profile: &profile,
    };
    let mut hidden = x.clone();
    let found = losses(loss, &head, &mut hidden);
    assert_eq!(hidden, x, "without a gradient the hidden rows stay");
    assert_close(
        "nll",
        &found.iter().map(|l| l.nll).collect::<Vec<_>>(),
        &want,
        1e-5,
    );

    let loss = CrossEntropy {
        gradient: Some(scale),
        ..loss
    };
    let found = losses(loss, &head, &mut hidden);
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
    assert!((f64::from(found[n - 1].nll) - last).abs() < 1e-5);
}

#[test]
fn correct_means_the_target_is_the_largest() {
    let head = Dense {
        values: vec![1.0, 0.0, 0.0, 1.0],
        columns: 2,
        in_place: true,
    };
    let profile = Profile::default();
    let loss = CrossEntropy {
        targets: &[0, 1],
        softcap: None,
        gradient: None,
        profile: &profile,
    };
    let found = losses(loss, &head, &mut [3.0, 1.0, 3.0, 1.0]);
    assert!(found[0].correct && !found[1].correct);
}

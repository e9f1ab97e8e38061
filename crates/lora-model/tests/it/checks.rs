//! What every route must make of a golden case.
use crate::golden::{Golden, largest_difference, mean};
use lora_core::Adapter;
use lora_kernels::optim::{AdamW, Moments, Step, clip_factor, global_norm};
use lora_model::{Packed, Route, Scales, SequenceLoss};

/// Gradients of what transformers calls the loss, and that: with the loss for the balance of experts where the config asks for
/// it, which must be PEFT's at the adapter that PEFT began with.
fn learn(
    golden: &Golden,
    route: &mut dyn Route,
    adapter: &Adapter,
    nll: f32,
    gradients: &mut [f32],
) -> (Vec<SequenceLoss>, f64) {
    let packed = &golden.packed;
    let Some(coefficient) = golden.base.config().router_aux_loss else {
        let losses = route.gradients(adapter, packed, None, nll, gradients);
        let losses = losses.unwrap();
        let loss = mean(&losses);
        return (losses, loss);
    };
    let scales = Scales {
        nll,
        balance: coefficient as f32,
    };
    let (losses, balance) = route
        .balanced_gradients(adapter, packed, None, scales, gradients)
        .unwrap();
    if adapter.params == golden.adapter.params {
        let expected = golden.number("aux_loss");
        assert!(
            (balance / expected - 1.0).abs() <= 1e-5,
            "{balance} {expected}"
        );
    }
    let loss = mean(&losses) + coefficient * balance;
    (losses, loss)
}

/// Logits of base, adapter and trained adapter within 1e-4.
pub(crate) fn check_logits(golden: &Golden, route: &mut dyn Route) {
    let trained = golden.trained();
    for (name, adapter) in [
        ("logits_base", None),
        ("logits_adapter", Some(&golden.adapter)),
        ("logits_merged", Some(&golden.adapter)),
        ("logits_trained", Some(&trained)),
    ] {
        if name == "logits_merged" && !golden.has(name) {
            continue; // PEFT's merge is another model there: the case says why
        }
        let found = route.logits(adapter, &golden.packed).unwrap();
        let worst = largest_difference(&found, &golden.logits(name));
        assert!(worst <= 1e-4, "{} {name}: {worst}", golden.name());
    }
}

/// Loss within 1e-4 relative; gradients within 1e-4 of each tensor's largest entry.
pub(crate) fn check_gradients(golden: &Golden, route: &mut dyn Route) {
    let adapter = &golden.adapter;
    let mut found = vec![0f32; adapter.params.len()];
    let scale = 1.0 / golden.packed.supervised() as f32;
    let (losses, loss) = learn(golden, route, adapter, scale, &mut found);
    let expected = golden.number("loss");
    assert!((loss / expected - 1.0).abs() <= 1e-4, "{loss} {expected}");
    let without = route.losses(Some(adapter), &golden.packed).unwrap();
    for (a, b) in losses.iter().zip(&without) {
        assert!(
            (a.nll - b.nll).abs() <= 1e-4 && (a.tokens, a.correct) == (b.tokens, b.correct),
            "{a:?} {b:?}"
        );
    }
    let expected = golden.flat("grad");
    assert_eq!(adapter.tensors().len(), golden.trained_tensors());
    for tensor in adapter.tensors() {
        let (found, expected) = (&found[tensor.range.clone()], &expected[tensor.range]);
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = largest_difference(found, expected);
        assert!(
            worst <= 1e-4 * largest,
            "{}: {worst} of {largest}",
            tensor.name
        );
    }
}

/// Eight steps of AdamW with clipping follow PEFT's losses, gradient norms and end at its parameters.
pub(crate) fn check_trajectory(golden: &Golden, route: &mut dyn Route) {
    let optim = |key: &str| golden.optim(key);
    let adamw = AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: optim("weight_decay") as f32,
    };
    let mut adapter = golden.adapter.clone();
    let n = adapter.params.len();
    let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
    let scale = 1.0 / golden.packed.supervised() as f32;
    let (losses, norms) = (golden.numbers("losses"), golden.numbers("grad_norms"));
    assert_eq!(losses.len(), 8);
    for (t, (loss, norm)) in losses.iter().zip(&norms).enumerate() {
        let mut gradients = vec![0f32; n];
        let (_, found) = learn(golden, route, &adapter, scale, &mut gradients);
        assert!(
            (found / loss - 1.0).abs() <= 1e-4,
            "step {t}: {found} {loss}"
        );
        let found = global_norm(&gradients);
        assert!(
            (found / norm - 1.0).abs() <= 1e-3,
            "step {t}: norm {found} {norm}"
        );
        let clip = clip_factor(found, optim("clip"));
        let moments = Moments {
            first: &mut m,
            second: &mut v,
        };
        let step = Step {
            number: t as u64 + 1,
            lr: optim("lr"),
            clip,
        };
        adamw.step(&mut adapter.params, &gradients, moments, step);
    }
    let worst = largest_difference(&adapter.params, &golden.flat("trained"));
    assert!(worst <= 1e-3, "trained parameters: {worst}"); // a step moves a value by about lr = 1e-2
    let worst = largest_difference(
        &route.logits(Some(&adapter), &golden.packed).unwrap(),
        &golden.logits("logits_trained"),
    );
    assert!(worst <= 1e-3, "trained logits: {worst}");
}

/// A pack gives each of its sequences what the sequence gives alone, in any order; gradients add up.
pub(crate) fn check_packing(golden: &Golden, route: &mut dyn Route) {
    let (packed, adapter) = (&golden.packed, &golden.adapter);
    let n = adapter.params.len();
    let (mut together, mut apart) = (vec![0f32; n], vec![0f32; n]);
    let losses = route
        .gradients(adapter, packed, None, 1.0, &mut together)
        .unwrap();
    let logits = route.logits(Some(adapter), packed).unwrap();
    let vocabulary = logits.len() / packed.tokens();
    for (i, together) in losses.iter().enumerate() {
        let rows = packed.starts[i]..packed.starts[i + 1];
        let alone = Packed::from_rows([(
            &packed.input_ids[rows.clone()],
            &packed.labels[rows.clone()],
        )]);
        let loss = route
            .gradients(adapter, &alone, None, 1.0, &mut apart)
            .unwrap()[0];
        assert!((loss.nll - together.nll).abs() <= 1e-4 && loss.tokens == together.tokens);
        let found = route.logits(Some(adapter), &alone).unwrap();
        let worst = largest_difference(
            &found,
            &logits[rows.start * vocabulary..rows.end * vocabulary],
        );
        assert!(worst <= 1e-5, "sequence {i}: {worst}");
    }
    let largest = together.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest_difference(&together, &apart) <= 1e-5 * largest);
}

/// Packs without rows, without supervision, or with ids from elsewhere.
pub(crate) fn check_edges(golden: &Golden, route: &mut dyn Route) {
    let adapter = &golden.adapter;
    let mut gradients = vec![0f32; adapter.params.len()];
    let empty = Packed {
        starts: vec![0],
        ..Packed::default()
    };
    assert!(route.losses(Some(adapter), &empty).unwrap().is_empty());
    assert!(route.logits(None, &empty).unwrap().is_empty());
    let unsupervised = Packed::from_rows([
        (&[5u32, 6, 7][..], &[9i32, -100, -100][..]),
        (&[8][..], &[8][..]),
    ]);
    let losses = route
        .gradients(adapter, &unsupervised, None, 1.0, &mut gradients)
        .unwrap();
    assert_eq!(losses, [SequenceLoss::default(); 2]);
    assert!(gradients.iter().all(|&g| g == 0.0));
    let vocabulary = golden.base.config().vocab_size as u32;
    let elsewhere = Packed::from_rows([(&[vocabulary, 6][..], &[-100i32, 6][..])]);
    assert!(
        route
            .losses(None, &elsewhere)
            .unwrap_err()
            .to_string()
            .contains(&vocabulary.to_string())
    );
}

/// Dropout: the same (seed, step) gives the same gradients, another step gives others, and both differ from none. Beside
/// parameters of a mixture it is refused.
pub(crate) fn check_dropout(golden: &Golden, route: &mut dyn Route) {
    if !golden.drops() {
        let dropout = lora_model::Dropout {
            p: 0.3,
            seed: 7,
            step: 1,
        };
        let mut gradients = vec![0f32; golden.adapter.params.len()];
        let (adapter, packed) = (&golden.adapter, &golden.packed);
        let refused = route.gradients(adapter, packed, Some(dropout), 1.0, &mut gradients);
        assert!(refused.unwrap_err().to_string().contains("no dropout"));
        return;
    }
    let mut run = |dropout| {
        let mut gradients = vec![0f32; golden.adapter.params.len()];
        route
            .gradients(
                &golden.adapter,
                &golden.packed,
                dropout,
                1.0,
                &mut gradients,
            )
            .unwrap();
        gradients
    };
    let dropout = |step| {
        Some(lora_model::Dropout {
            p: 0.3,
            seed: 7,
            step,
        })
    };
    let (first, again, next, none) = (run(dropout(1)), run(dropout(1)), run(dropout(2)), run(None));
    assert_eq!(first, again);
    assert_ne!(first, next);
    assert_ne!(first, none);
    assert_eq!(
        run(Some(lora_model::Dropout {
            p: 0.0,
            seed: 7,
            step: 1
        })),
        none
    );
}

//! All weights as parameters: gradients against finite differences, packing, chunking, saving.
use crate::golden::{CASES, Golden, mean};
use lora_checkpoint::Checkpoint;
use lora_model::{Composite, FullModel, Packed, Route};

/// Many sequences: more than one chunk.
fn many(golden: &Golden) -> Packed {
    let mut packed = Packed {
        starts: vec![0],
        ..Packed::default()
    };
    for _ in 0..40 {
        let offset = packed.tokens();
        packed.input_ids.extend(&golden.packed.input_ids);
        packed.labels.extend(&golden.packed.labels);
        packed
            .starts
            .extend(golden.packed.starts[1..].iter().map(|s| s + offset));
    }
    packed
}

const WITH_CHOICE_BIAS: [&str; 2] = ["lfm2_moe_biased", "parameters_sigmoid"];

/// Those with numbers that nothing trains: all weights as parameters would change them.
fn is_refused(case: &str) -> bool {
    let of_gpt_oss = ["balance_biases", "parameters_turned", "parameters_mxfp4"];
    case.starts_with("gemma4")
        || case.starts_with("gpt_oss")
        || of_gpt_oss.contains(&case)
        || WITH_CHOICE_BIAS.contains(&case)
}

#[test]
fn a_model_that_holds_more_than_parameters_is_refused() {
    for case in CASES.into_iter().filter(|case| is_refused(case)) {
        let golden = Golden::open(case);
        let config = golden.base.config().clone();
        let refusals = [
            FullModel::from_base(&golden.base).unwrap_err(),
            FullModel::random(config, 1).unwrap_err(),
        ];
        for refusal in refusals {
            let reason = match case {
                gemma if gemma.starts_with("gemma4") => "layer_scalar",
                biased if WITH_CHOICE_BIAS.contains(&biased) => "adds to experts' scores",
                _ => "its experts stay",
            };
            assert!(refusal.to_string().contains(reason), "{refusal}");
        }
    }
}

#[test]
fn losses_are_the_composite_routes() {
    for case in CASES.into_iter().filter(|case| !is_refused(case)) {
        let golden = Golden::open(case);
        let full = FullModel::from_base(&golden.base).unwrap();
        assert_eq!(full.params.len() as u64, golden.base.total_parameters());
        let expected = Composite::new(&golden.base)
            .unwrap()
            .losses(None, &golden.packed)
            .unwrap();
        for (a, b) in full.losses(&golden.packed).unwrap().iter().zip(&expected) {
            assert!((a.nll - b.nll).abs() <= 1e-4 && a.tokens == b.tokens);
        }
    }
}

/// d(loss)/d(params) along random directions, one weight tensor at a time.
#[test]
fn gradients_are_finite_differences() {
    for case in CASES.into_iter().filter(|case| !is_refused(case)) {
        let golden = Golden::open(case);
        let mut full = FullModel::from_base(&golden.base).unwrap();
        let mut gradients = vec![0f32; full.params.len()];
        full.gradients(&golden.packed, 1.0, &mut gradients).unwrap();
        let original = full.params.clone();
        for (name, _, place) in full.tensors.clone() {
            let direction: Vec<f32> = place
                .clone()
                .map(|i| {
                    if (i * 2_654_435_761) >> 7 & 1 == 0 {
                        1.0
                    } else {
                        -1.0
                    }
                })
                .collect();
            let slope: f64 = gradients[place.clone()]
                .iter()
                .zip(&direction)
                .map(|(g, d)| f64::from(g * d))
                .sum();
            let norm: f64 = gradients[place.clone()]
                .iter()
                .map(|g| f64::from(g * g))
                .sum::<f64>()
                .sqrt();
            // Where a larger step would choose other experts, the loss has a jump, and in a smaller one the loss's rounding
            // shows: one of both must be free of it. The norm behind the delta rule divides by what a text's first tokens
            // leave of q·k, which may be near 0: steps must stay on one side of it.
            let steps: &[f32] = match full.config.experts {
                Some(_) => &[2e-5, 2e-4],
                None if full.config.is_recurrent() => &[2e-4],
                None => &[2e-3],
            };
            let mut at = |step: f32| {
                for (i, d) in place.clone().zip(&direction) {
                    full.params[i] = original[i] + step * d;
                }
                let losses = full.losses(&golden.packed).unwrap();
                losses.iter().map(|l| l.nll).sum::<f64>()
            };
            let measured: Vec<f64> = steps
                .iter()
                .map(|&step| (at(step) - at(-step)) / (2.0 * f64::from(step)))
                .collect();
            let is_slope = |m: &f64| (m - slope).abs() <= 0.02 * slope.abs() + 0.05 * norm;
            assert!(
                measured.iter().any(is_slope),
                "{case} {name}: {measured:?} {slope} {norm}"
            );
            full.params.copy_from_slice(&original);
        }
    }
}

#[test]
fn chunks_add_up_and_repeat_exactly() {
    let golden = Golden::open(CASES[0]);
    let full = FullModel::from_base(&golden.base).unwrap();
    let n = full.params.len();
    let (mut once, mut forty, mut again) = (vec![0f32; n], vec![0f32; n], vec![0f32; n]);
    let one = full.gradients(&golden.packed, 1.0, &mut once).unwrap();
    let all = full
        .gradients(&many(&golden), 1.0 / 40.0, &mut forty)
        .unwrap();
    full.gradients(&many(&golden), 1.0 / 40.0, &mut again)
        .unwrap();
    assert_eq!(forty, again);
    assert_eq!(all.len(), 40 * one.len());
    assert!((mean(&all) - mean(&one)).abs() <= 1e-6);
    let largest = once.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(
        once.iter()
            .zip(&forty)
            .all(|(a, b)| (a - b).abs() <= 1e-5 * largest)
    );
}

#[test]
fn random_weights_are_normal_and_saved_weights_come_back() {
    let golden = Golden::open(CASES[1]);
    let config = golden.base.checkpoint().config().clone();
    let full = FullModel::random(config.clone(), 3).unwrap();
    assert_eq!(
        full.params,
        FullModel::random(config.clone(), 3).unwrap().params
    );
    assert_ne!(full.params, FullModel::random(config, 4).unwrap().params);
    let embedding: Vec<f64> = full.params[full.tensors[0].2.clone()]
        .iter()
        .map(|&v| f64::from(v))
        .collect();
    let deviation = (embedding.iter().map(|v| v * v).sum::<f64>() / embedding.len() as f64).sqrt();
    assert!((deviation - 0.02).abs() < 1e-3, "{deviation}");
    let names: std::collections::BTreeSet<&String> = full.tensors.iter().map(|(n, ..)| n).collect();
    assert_eq!(
        names,
        golden.base.checkpoint().tensor_names().iter().collect()
    );
    for bf16 in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), golden_config()).unwrap();
        full.save(dir.path(), bf16).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        for (name, shape, place) in &full.tensors {
            let view = checkpoint.tensor(name).unwrap();
            assert_eq!(view.shape(), shape);
            let tolerance = if bf16 { 1.0 / 256.0 } else { 0.0 };
            assert!(
                view.to_f32()
                    .iter()
                    .zip(&full.params[place.clone()])
                    .all(|(a, b)| (a - b).abs() <= tolerance * b.abs())
            );
        }
    }
    assert!(full.save(std::path::Path::new("/nowhere"), false).is_err());
}

fn golden_config() -> Vec<u8> {
    std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden/llama_rope3_rslora/base/config.json"
    ))
    .unwrap()
}

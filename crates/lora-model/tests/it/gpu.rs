//! The route on a GPU against the golden cases: on the CPU's stand-in for one, and, where `LORA_TEST_DEVICE` is `cuda`, on the
//! card that is there.
use crate::checks;
use crate::golden::{self, CASES, Golden};
use lora_core::{Adapter, TargetedModule};
use lora_gpu::{Gpu, OnCpu, Precision};
use lora_model::{Dropout, Fused, Generate as _, OnGpu, Route};

pub(crate) fn device(precision: Precision) -> Gpu {
    match std::env::var("LORA_TEST_DEVICE").as_deref() {
        Ok("cuda") => lora_gpu::cuda(0, precision).unwrap(),
        _ => Gpu::new(OnCpu::new(precision), precision),
    }
}

/// Runs a check on every case: none is refused.
pub(crate) fn everywhere(precision: Precision, mut check: impl FnMut(&Golden, &mut OnGpu<'_>)) {
    for name in CASES {
        let golden = Golden::open(name);
        check(&golden, &mut route(&golden, precision));
    }
}

/// The route on a case's base, with room for its adapter.
pub(crate) fn route(golden: &Golden, precision: Precision) -> OnGpu<'_> {
    OnGpu::new(&golden.base, device(precision), Some(&golden.adapter)).unwrap()
}

#[test]
fn in_f32_it_gives_pefts_logits() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_logits(golden, route);
    });
}

#[test]
fn in_f32_it_gives_pefts_loss_and_every_gradient() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_gradients(golden, route);
    });
}

#[test]
fn in_f32_it_follows_pefts_adamw_trajectory() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_trajectory(golden, route);
    });
}

#[test]
fn it_packs_without_cross_talk() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_packing(golden, route);
    });
}

#[test]
fn it_survives_edges() {
    everywhere(Precision::Bf16, |golden, route| {
        checks::check_edges(golden, route);
    });
}

/// Gradients, with what each case's loss is beside them.
pub(crate) fn gradients(
    golden: &Golden,
    route: &mut dyn Route,
    dropout: Option<Dropout>,
) -> (f64, Vec<f32>) {
    let mut flat = vec![0.0; golden.adapter.params.len()];
    let losses = route
        .gradients(&golden.adapter, &golden.packed, dropout, 1.0, &mut flat)
        .unwrap();
    (golden::mean(&losses), flat)
}

const DROPOUT: Dropout = Dropout {
    p: 0.3,
    seed: 7,
    step: 3,
};

/// Whether there is dropout on all that trains: there is none on parameters of mixtures.
pub(crate) fn may_drop(golden: &Golden) -> bool {
    let mut modules = golden.adapter.modules.iter();
    !modules.any(TargetedModule::is_of_mixture)
}

#[test]
fn its_dropout_is_the_cpus() {
    everywhere(Precision::F32, |golden, route| {
        if !may_drop(golden) {
            return;
        }
        let mut fused = Fused::new(&golden.base, 2).unwrap();
        let (a, ours) = gradients(golden, route, Some(DROPOUT));
        let (b, cpus) = gradients(golden, &mut fused, Some(DROPOUT));
        assert!((a / b - 1.0).abs() < 1e-5, "loss {a} and {b}");
        let largest = cpus.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(golden::largest_difference(&ours, &cpus) <= 1e-4 * largest);
    });
}

#[test]
fn layers_that_are_computed_again_give_the_same_bits_and_so_does_a_second_run() {
    everywhere(Precision::Bf16, |golden, _| {
        let dropouts = [None, Some(DROPOUT)];
        let all = dropouts.into_iter();
        for dropout in all.filter(|dropout| dropout.is_none() || may_drop(golden)) {
            let route = |kept| {
                let route = OnGpu::new(&golden.base, device(Precision::Bf16), None).unwrap();
                route.with_kept_layers(kept)
            };
            let mut all = route(usize::MAX);
            let first = gradients(golden, &mut all, dropout);
            assert_eq!(
                gradients(golden, &mut all, dropout),
                first,
                "{}",
                golden.name()
            );
            let again = gradients(golden, &mut route(0), dropout);
            assert_eq!(again, first, "{}", golden.name());
        }
    });
}

#[test]
fn it_continues_texts_as_the_cpu_does() {
    everywhere(Precision::F32, |golden, route| {
        let packed = &golden.packed;
        let starts = packed.starts.windows(2);
        let texts: Vec<&[u32]> = starts.map(|w| &packed.input_ids[w[0]..w[1]]).collect();
        let mut prompts = texts.clone();
        prompts.extend(texts.iter().map(|text| &text[..text.len() / 2 + 1])); // they share their beginnings
        let adapter = Some(&golden.adapter);
        let mut fused = Fused::new(&golden.base, 2).unwrap();
        let expected = fused.generate(adapter, &prompts, 9, &[2]).unwrap();
        assert_eq!(
            route.generate(adapter, &prompts, 9, &[2]).unwrap(),
            expected
        );
        assert!(expected.iter().any(|text| text.len() > 3));
    });
}

#[test]
fn of_two_adapters_of_one_shape_each_takes_its_own_factors_out_of_the_base() {
    let golden = Golden::open("pissa");
    let first = &golden.adapter;
    let mut second = first.clone();
    let origin = second.origin.as_mut().unwrap();
    origin.iter_mut().for_each(|value| *value *= 1.5);
    let logits = |route: &mut OnGpu<'_>, adapter: &Adapter| {
        route.logits(Some(adapter), &golden.packed).unwrap()
    };
    let fresh = || OnGpu::new(&golden.base, device(Precision::F32), Some(first)).unwrap();
    let expected = logits(&mut fresh(), &second);
    let mut route = fresh();
    assert_ne!(logits(&mut route, first), expected);
    assert_eq!(logits(&mut route, &second), expected);
}

//! Laws of the fused route.
use crate::checks;
use crate::golden::{self, CASES, Golden, largest_difference};
use lora_model::{Composite, Dropout, Fused, Packed, Plan, Route};

/// The rows of a packed batch one by one.
pub fn rows(packed: &Packed) -> Vec<Packed> {
    let row = |w: &[usize]| {
        Packed::from_rows([(&packed.input_ids[w[0]..w[1]], &packed.labels[w[0]..w[1]])])
    };
    packed.starts.windows(2).map(row).collect()
}

/// Runs a check on every case.
fn everywhere(check: impl Fn(&Golden, &mut Fused<'_>)) {
    for name in CASES {
        let golden = Golden::open(name);
        check(&golden, &mut Fused::new(&golden.base, 2).unwrap());
    }
}

#[test]
fn gives_pefts_logits() {
    everywhere(|golden, route| checks::check_logits(golden, route));
}

#[test]
fn gives_pefts_loss_and_every_gradient() {
    everywhere(|golden, route| checks::check_gradients(golden, route));
}

#[test]
fn follows_pefts_adamw_trajectory() {
    everywhere(|golden, route| checks::check_trajectory(golden, route));
}

#[test]
fn packs_without_cross_talk() {
    everywhere(|golden, route| checks::check_packing(golden, route));
}

#[test]
fn survives_edges() {
    everywhere(|golden, route| checks::check_edges(golden, route));
}

#[test]
fn drops_by_seed_and_step() {
    everywhere(|golden, route| checks::check_dropout(golden, route));
}

#[test]
fn agrees_with_the_composite_route_with_and_without_dropout() {
    everywhere(|golden, fused| {
        let mut composite = Composite::new(&golden.base).unwrap();
        for dropout in [
            None,
            Some(Dropout {
                p: 0.3,
                seed: 7,
                step: 3,
            }),
        ] {
            if dropout.is_some() && !golden.drops() {
                continue;
            }
            let gradients = |route: &mut dyn Route| {
                let mut flat = vec![0.0; golden.adapter.params.len()];
                let losses = route
                    .gradients(&golden.adapter, &golden.packed, dropout, 1.0, &mut flat)
                    .unwrap();
                (golden::mean(&losses), flat)
            };
            let ((a, fused), (b, composite)) = (gradients(fused), gradients(&mut composite));
            assert!((a / b - 1.0).abs() < 1e-5, "loss {a} and {b}");
            let largest = composite.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest_difference(&fused, &composite) <= 1e-4 * largest);
        }
    });
}

/// Layers that are computed again give the bits that they gave the first time; with activations kept in bfloat16 gradients
/// are off by its rounding, 2⁻⁹ an activation.
#[test]
fn every_memory_plan_gives_the_same_gradients() {
    for name in CASES {
        let case = Golden::open(name);
        let with = |plan, dropout| {
            let mut route = Fused::new(&case.base, 2).unwrap().with_plan(plan);
            let mut gradients = vec![0.0; case.adapter.params.len()];
            for _ in 0..2 {
                gradients.fill(0.0);
                route
                    .gradients(&case.adapter, &case.packed, dropout, 0.1, &mut gradients)
                    .unwrap();
            }
            gradients
        };
        for dropout in [
            None,
            Some(Dropout {
                p: 0.1,
                seed: 5,
                step: 2,
            }),
        ] {
            if dropout.is_some() && !case.drops() {
                continue;
            }
            let all = with(Plan::ALL, dropout);
            let largest = all.iter().fold(0f32, |m, v| m.max(v.abs()));
            for kept in 0..3 {
                let again = with(Plan::keeping(kept, 0), dropout);
                assert!(
                    all.iter()
                        .zip(&again)
                        .all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{name}, {kept} kept"
                );
                let rounded = with(Plan::keeping(0, kept), dropout);
                let off = largest_difference(&all, &rounded);
                assert!(
                    off <= 0.02 * largest,
                    "{name}, {kept} kept in bfloat16: {off} of {largest}"
                );
                // What rounds may be kept or computed again, to the same bits.
                for held in 0..kept {
                    let plan = Plan {
                        rounded: held,
                        ..Plan::keeping(0, kept)
                    };
                    assert!(
                        with(plan, dropout) == rounded,
                        "{name}, {held} of {kept} that round are kept"
                    );
                }
                if kept > 0 {
                    assert!(off > 0.0, "{name}: nothing was rounded");
                }
            }
        }
    }
}

#[test]
fn gradients_have_the_same_bits_for_any_number_of_threads() {
    for name in CASES {
        let case = Golden::open(name);
        let with = |threads| {
            let mut gradients = vec![0.0; case.adapter.params.len()];
            let dropout = case.drops().then_some(Dropout {
                p: 0.1,
                seed: 5,
                step: 2,
            });
            Fused::new(&case.base, threads)
                .unwrap()
                .gradients(&case.adapter, &case.packed, dropout, 0.1, &mut gradients)
                .unwrap();
            gradients.iter().map(|g| g.to_bits()).collect::<Vec<_>>()
        };
        let one = with(1);
        assert_eq!(one, with(2));
        assert_eq!(one, with(3));
    }
}

#[test]
fn with_b_zero_the_adapter_is_the_identity() {
    let mut case = Golden::open(CASES[0]);
    for m in &case.adapter.modules {
        case.adapter.params[m.b.clone()].fill(0.0);
    }
    let mut route = Fused::new(&case.base, 1).unwrap();
    assert_eq!(
        route.logits(None, &case.packed).unwrap(),
        route.logits(Some(&case.adapter), &case.packed).unwrap()
    );
    // … every A then has no gradient and every B has one.
    let mut gradients = vec![0.0; case.adapter.params.len()];
    route
        .gradients(&case.adapter, &case.packed, None, 1.0, &mut gradients)
        .unwrap();
    for m in &case.adapter.modules {
        assert!(
            gradients[m.a.clone()].iter().all(|&g| g == 0.0),
            "{}",
            m.path
        );
        assert!(
            gradients[m.b.clone()].iter().any(|&g| g != 0.0),
            "{}",
            m.path
        );
    }
}

#[test]
fn gradients_under_dropout_are_the_differences_of_the_loss_under_the_same_mask() {
    let case = Golden::open(CASES[0]);
    let mut route = Fused::new(&case.base, 1).unwrap();
    let dropout = Some(Dropout {
        p: 0.3,
        seed: 1,
        step: 4,
    });
    let n = case.adapter.params.len();
    let mut gradients = vec![0.0; n];
    let mut loss = |adapter: &lora_core::Adapter, g: &mut [f32]| -> f64 {
        route
            .gradients(adapter, &case.packed, dropout, 1.0, g)
            .unwrap()
            .iter()
            .map(|l| l.nll)
            .sum()
    };
    loss(&case.adapter, &mut gradients);
    let largest = gradients.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    // Along random directions, because single f32 differences drown in rounding.
    for seed in 0..4u64 {
        let direction: Vec<f32> = (0..n)
            .map(|i| {
                if lora_random::dropout_keep(9, seed, 0, i as u64, 0.5) {
                    1.0
                } else {
                    -1.0
                }
            })
            .collect();
        let h = 1e-3f32;
        let mut moved = |sign: f32| {
            let mut adapter = case.adapter.clone();
            adapter
                .params
                .iter_mut()
                .zip(&direction)
                .for_each(|(p, d)| *p += sign * h * d);
            loss(&adapter, &mut vec![0.0; n])
        };
        let difference = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(h));
        let along: f64 = gradients
            .iter()
            .zip(&direction)
            .map(|(&g, &d)| f64::from(g) * f64::from(d))
            .sum();
        let tolerance = 2e-3 * f64::from(largest) * (n as f64).sqrt();
        assert!(
            (difference - along).abs() < tolerance,
            "{difference} instead of {along} (± {tolerance})"
        );
    }
}

/// Rows that begin alike: of 30, 30 and 24 tokens with 24 in common, twice the same row, one of its own, one of one token.
pub fn beginnings_in_common(vocabulary: u32) -> Packed {
    let ids =
        |seed: u32, n: u32| (0..n).map(move |i| (i * i * 7 + i * 13 + seed * 31 + 3) % vocabulary);
    let rows: Vec<Vec<u32>> = vec![
        ids(0, 24).chain(ids(1, 6)).collect(),
        ids(0, 24).chain(ids(2, 6)).collect(),
        ids(0, 24).collect(),
        ids(0, 24).chain(ids(1, 6)).collect(),
        ids(5, 17).collect(),
        ids(0, 1).collect(),
    ];
    let labels: Vec<Vec<i32>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .enumerate()
                .map(|(i, &id)| if i % 3 == 0 { -100 } else { id as i32 })
                .collect()
        })
        .collect();
    Packed::from_rows(
        rows.iter()
            .zip(&labels)
            .map(|(ids, labels)| (&ids[..], &labels[..])),
    )
}

#[test]
fn shared_beginnings_change_nothing_but_the_work() {
    for name in CASES {
        let case = Golden::open(name);
        let packed = beginnings_in_common(case.base.config().vocab_size as u32);
        let run = |share: bool| {
            let mut route = Fused::new(&case.base, 2)
                .unwrap()
                .with_shared_prefixes(share);
            let mut flat = vec![0.0; case.adapter.params.len()];
            let losses = route
                .gradients(&case.adapter, &packed, None, 0.1, &mut flat)
                .unwrap();
            let alone = route.losses(Some(&case.adapter), &packed).unwrap();
            assert_eq!(losses, alone);
            (route.computed_tokens(&packed, None), losses, flat)
        };
        let ((few, shared, a), (all, unshared, b)) = (run(true), run(false));
        // 24 tokens of four rows; where the rotation depends on the length, rows of other lengths have rows of their own.
        let by_length = case
            .base
            .config()
            .ropes
            .iter()
            .any(|r| r.variant(24) != r.variant(30));
        let rows = packed.tokens();
        if case.base.config().is_recurrent() {
            assert_eq!((few, all), (rows, rows), "states are not shared");
            assert_eq!((shared, a), (unshared, b));
            continue;
        }
        assert_eq!(
            (few, all),
            (
                24 + 6 + 6 + 6 + 17 + 1 + if by_length { 24 } else { 0 },
                packed.tokens()
            )
        );
        for (x, y) in shared.iter().zip(&unshared) {
            assert!(
                (x.nll - y.nll).abs() <= 1e-5 * y.nll.max(1.0) && x.tokens == y.tokens,
                "{x:?} and {y:?}"
            );
        }
        let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(
            largest_difference(&a, &b) <= 1e-5 * largest,
            "{}",
            largest_difference(&a, &b) / largest
        );
        let dropout = Some(Dropout {
            p: 0.1,
            seed: 1,
            step: 1,
        });
        assert_eq!(
            Fused::new(&case.base, 1)
                .unwrap()
                .computed_tokens(&packed, dropout),
            packed.tokens()
        );
    }
}

/// transformers' module names without weights, which PEFT refuses as targets.
#[test]
fn modules_without_weights_are_named_as_in_transformers() {
    let weightless = |case: &str| -> Vec<String> {
        let modules = lora_model::spec::modules(Golden::open(case).base.config());
        modules
            .into_iter()
            .filter(|m| m.kind == lora_core::ModuleKind::Weightless)
            .map(|m| m.path)
            .collect()
    };
    let llama = [
        "model.layers.0.mlp.act_fn",
        "model.layers.1.mlp.act_fn",
        "model.rotary_emb",
    ];
    assert_eq!(weightless("llama_gqa_tied"), llama);
    let phi3 = [
        "mlp.activation_fn",
        "resid_attn_dropout",
        "resid_mlp_dropout",
    ];
    let expected = (0..2).flat_map(|layer| phi3.map(|path| format!("model.layers.{layer}.{path}")));
    assert_eq!(
        weightless("phi3_fused"),
        expected
            .chain(["model.rotary_emb".to_owned()])
            .collect::<Vec<_>>()
    );
}

//! Several adapters become one: the sum is exact, what is not exact says by how much, and the rest is PEFT's.
use crate::support::{CASES, Told, golden, golden_modules, list, llama, small};
use lora_core::{Adapter, Combination, Combined, LoraConfig, Module, combine};
use safetensors::SafeTensors;

/// s·B·A of a module in f64, (out, in) row-major; zeros where the adapter has no such module.
fn delta(adapter: &Adapter, module: &Module) -> Vec<f64> {
    let mut delta = vec![0.0; module.out_features * module.in_features];
    let Some(index) = adapter.find(&module.path) else {
        return delta;
    };
    let (a, b) = adapter.factors(index);
    let (rank, scaling) = (
        adapter.modules[index].rank,
        f64::from(adapter.modules[index].scaling),
    );
    for (row, values) in delta
        .chunks_exact_mut(module.in_features)
        .zip(b.chunks_exact(rank))
    {
        for (&b, a_row) in values.iter().zip(a.chunks_exact(module.in_features)) {
            row.iter_mut()
                .zip(a_row)
                .for_each(|(d, &a)| *d += scaling * f64::from(b) * f64::from(a));
        }
    }
    delta
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖result − Σ w·ΔW‖ and ‖Σ w·ΔW‖ of a module.
fn against_sum(adapters: &[(&Adapter, f64)], result: &Adapter, module: &Module) -> (f64, f64) {
    let mut sum = vec![0.0; module.out_features * module.in_features];
    for (adapter, weight) in adapters {
        sum.iter_mut()
            .zip(delta(adapter, module))
            .for_each(|(s, d)| *s += weight * d);
    }
    let apart: Vec<f64> = delta(result, module)
        .iter()
        .zip(&sum)
        .map(|(x, y)| x - y)
        .collect();
    (norm(&apart), norm(&sum))
}

/// An adapter of other rank, scaling and targets on the small model, B not zero.
fn other(rank: usize, rslora: bool, targets: &[&str], seed: u64) -> Adapter {
    let modules = llama(2, 8, 4, 12, 20);
    let mut config = LoraConfig::new(rank, 6.0, list(targets));
    config.use_rslora = rslora;
    let mut adapter = Adapter::init(config, &modules, seed).unwrap();
    adapter
        .params
        .iter_mut()
        .enumerate()
        .for_each(|(i, value)| *value += (i as f32 * 0.7).sin() * 0.1);
    adapter
}

fn combined(adapters: &[(&Adapter, f64)], how: Combination) -> Combined {
    combine(adapters, how, &llama(2, 8, 4, 12, 20)).unwrap()
}

#[test]
fn cat_is_the_exact_sum_over_ranks_scalings_targets_and_signs() {
    let (modules, first) = small();
    let (second, third) = (
        other(3, true, &["k_proj", "v_proj"], 1),
        other(1, false, &["model.layers.1.mlp.up_proj"], 2),
    );
    let adapters = [(&first, 0.7), (&second, -1.3), (&third, 2.0)];
    let result = combined(&adapters, Combination::Cat);
    assert_eq!(
        result.adapter.modules.len(),
        2 * 3 + 1,
        "q, k, v of both layers and one up"
    );
    assert!(
        result
            .adapter
            .modules
            .iter()
            .all(|m| m.scaling == 1.0 && m.rank == 2 + 3)
    );
    for module in &modules {
        let (apart, sum) = against_sum(&adapters, &result.adapter, module);
        assert!(apart <= 1e-6 * sum, "{}: {apart} of {sum}", module.path);
    }
    for deviation in &result.deviations {
        let module = modules.iter().find(|m| m.path == deviation.path).unwrap();
        let (_, sum) = against_sum(&adapters, &result.adapter, module);
        assert!((deviation.sum - sum).abs() < 1e-9 && deviation.error == 0.0);
    }
}

#[test]
fn svd_of_the_full_rank_is_cat_and_a_lower_one_states_its_error() {
    let (modules, first) = small();
    let second = other(3, true, &["q_proj", "v_proj"], 1);
    let adapters = [(&first, 1.0), (&second, -0.5)];
    let mut before = 0.0;
    for rank in (1..=5).rev() {
        let result = combined(&adapters, Combination::Svd { rank });
        assert_eq!(result.adapter.config.r, rank);
        for deviation in &result.deviations {
            let module = modules.iter().find(|m| m.path == deviation.path).unwrap();
            let (apart, sum) = against_sum(&adapters, &result.adapter, module);
            assert!(
                (apart - deviation.error).abs() < 1e-6 * sum,
                "rank {rank} {}: {apart}",
                deviation.path
            );
            assert!(rank < 5 || apart < 1e-6 * sum);
        }
        let error = result.relative_error().unwrap();
        assert!(
            error >= before && (rank < 5 || error < 1e-9),
            "rank {rank}: {error}"
        );
        before = error;
    }
    assert!(before > 0.01, "rank 1 can't hold it");
}

#[test]
fn the_result_saves_and_loads_as_peft_would() {
    let (modules, first) = small();
    let second = other(3, true, &["k_proj"], 1);
    let result = combined(&[(&first, 1.0), (&second, 1.0)], Combination::Cat).adapter;
    let dir = tempfile::tempdir().unwrap();
    result.save(dir.path()).unwrap();
    let (loaded, warnings) = Adapter::load(dir.path(), &modules).unwrap();
    assert!(warnings.is_empty() && loaded == result);
    assert_eq!(
        result.config.target_modules,
        list(&["k_proj", "q_proj", "v_proj"]),
        "the lists together say it"
    );
    assert!(!result.config.use_rslora);
    let partial = other(3, false, &["model.layers.1.mlp.up_proj"], 1);
    let result = combined(&[(&partial, 1.0), (&second, 1.0)], Combination::Cat).adapter;
    assert_eq!(result.modules.len(), 3);
}

#[test]
fn linear_of_one_adapter_is_that_adapter_and_of_two_states_its_error() {
    let (modules, first) = small();
    for weight in [1.0, -2.5] {
        let result = combined(&[(&first, weight)], Combination::Linear);
        for module in &modules {
            let (apart, sum) = against_sum(&[(&first, weight)], &result.adapter, module);
            assert!(apart <= 1e-6 * sum);
        }
    }
    let second = other(2, false, &["q_proj", "v_proj"], 1);
    let adapters = [(&first, 0.5), (&second, 0.5)];
    for how in [
        Combination::Linear,
        Combination::Ties { density: 0.5 },
        Combination::Dare {
            density: 0.5,
            seed: 3,
        },
        Combination::DareTies {
            density: 0.5,
            seed: 3,
        },
    ] {
        let result = combined(&adapters, how);
        for deviation in &result.deviations {
            let module = modules.iter().find(|m| m.path == deviation.path).unwrap();
            let (apart, sum) = against_sum(&adapters, &result.adapter, module);
            assert!(
                (apart - deviation.error).abs() < 1e-6 * (apart + sum),
                "{how:?} {}",
                deviation.path
            );
        }
        assert!(result.relative_error().unwrap() > 0.01, "{how:?}");
    }
}

#[test]
fn dare_is_seeded_keeps_its_share_and_its_mean() {
    let config = LoraConfig::new(64, 64.0, list(&["q_proj"]));
    let modules = llama(1, 128, 4, 12, 20);
    let mut adapter = Adapter::init(config, &modules, 7).unwrap();
    adapter.params.fill(1.0);
    let dare = |seed| {
        combine(
            &[(&adapter, 1.0)],
            Combination::Dare {
                density: 0.25,
                seed,
            },
            &modules,
        )
        .unwrap()
        .adapter
    };
    let (one, again, other) = (dare(1), dare(1), dare(2));
    assert_eq!(one, again);
    assert_ne!(one.params, other.params);
    let kept = one.params.iter().filter(|x| **x != 0.0).count() as f64 / one.params.len() as f64;
    assert!(
        (kept - 0.25).abs() < 4.0 * (0.25 * 0.75 / one.params.len() as f64).sqrt(),
        "{kept}"
    );
    assert!(one.params.iter().all(|&x| x == 0.0 || x == 4.0));
}

#[test]
fn linear_and_ties_are_pefts() {
    let (mut compared, folder) = (0, golden("../combinations"));
    for case in CASES {
        let modules = golden_modules(case);
        let load = |name: &str| Adapter::load(&golden(case).join(name), &modules).unwrap().0;
        let (first, second) = (load("adapter"), load("adapter_trained"));
        for (kind, how) in [
            ("linear", Combination::Linear),
            ("ties", Combination::Ties { density: 0.5 }),
        ] {
            let ours = combine(&[(&first, 0.7), (&second, -0.4)], how, &modules)
                .unwrap()
                .adapter;
            let bytes = std::fs::read(folder.join(format!("{case}.{kind}.safetensors"))).unwrap();
            let theirs = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(theirs.len(), 2 * ours.modules.len());
            for (index, module) in ours.modules.iter().enumerate() {
                let (a, b) = ours.factors(index);
                for (name, ours) in [(module.a_name(), a), (module.b_name(), b)] {
                    let wanted = theirs.tensor(&name).unwrap();
                    let wanted = wanted
                        .data()
                        .chunks_exact(4)
                        .map(|x| f32::from_le_bytes(x.try_into().unwrap()));
                    let worst = ours
                        .iter()
                        .zip(wanted)
                        .map(|(x, y)| (x - y).abs())
                        .fold(0.0, f32::max);
                    assert!(worst < 1e-6, "{case} {kind} {name}: {worst}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 2 * (28 + 8));
}

#[test]
fn what_can_not_be_combined_is_refused() {
    let (modules, first) = small();
    let second = other(3, false, &["q_proj"], 1);
    let says = |adapters: &[(&Adapter, f64)], how, words: &str| {
        let error = combine(adapters, how, &modules).unwrap_err().told();
        assert!(error.contains(words), "{error}");
    };
    says(
        &[(&first, 1.0), (&second, 1.0)],
        Combination::Linear,
        "rank 2 in one adapter and 3",
    );
    says(&[], Combination::Cat, "no adapters");
    says(&[(&first, f64::NAN)], Combination::Cat, "finite");
    says(&[(&first, 1.0)], Combination::Svd { rank: 0 }, "at least 1");
    says(
        &[(&first, 1.0)],
        Combination::Ties { density: 0.0 },
        "(0, 1]",
    );
    let wide = llama(2, 12, 4, 12, 20);
    let third = Adapter::init(LoraConfig::new(2, 4.0, list(&["q_proj"])), &wide, 1).unwrap();
    says(
        &[(&first, 1.0), (&third, 1.0)],
        Combination::Cat,
        "same base",
    );
}

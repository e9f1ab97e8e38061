//! Two adapters side by side, against dense arithmetic.
use crate::support::{CASES, Told, golden, golden_modules, list, llama, small};
use lora_core::{Adapter, LoraConfig, diff};

#[test]
fn an_adapter_against_itself_points_the_same_way() {
    for case in CASES {
        let (adapter, _) =
            Adapter::load(&golden(case).join("adapter"), &golden_modules(case)).unwrap();
        let diff = diff(&adapter, &adapter).unwrap();
        assert_eq!(diff.modules.len(), adapter.modules.len());
        for (path, c) in diff
            .modules
            .iter()
            .chain([&("total".to_owned(), diff.total.clone())])
        {
            assert!((c.cosine.unwrap() - 1.0).abs() < 1e-12, "{path}: {c:?}");
            assert!(
                c.norms.0 == c.norms.1 && c.norms.0 > 0.0 && c.distance < 1e-12 * c.norms.0,
                "{path}: {c:?}"
            );
        }
    }
}

#[test]
fn a_scaled_b_scales_the_norm_and_a_negative_one_turns_it() {
    let (_, adapter) = small();
    let mut scaled = adapter.clone();
    for module in &adapter.modules {
        scaled.params[module.b.clone()]
            .iter_mut()
            .for_each(|x| *x *= -3.0);
    }
    let diff = diff(&adapter, &scaled).unwrap();
    for (path, c) in &diff.modules {
        assert!((c.norms.1 / c.norms.0 - 3.0).abs() < 1e-6, "{path}");
        assert!((c.cosine.unwrap() + 1.0).abs() < 1e-12, "{path}");
        assert!((c.distance / c.norms.0 - 4.0).abs() < 1e-6, "{path}");
    }
}

/// Norms, cosine and distance of one module from the dense matrices.
#[test]
fn figures_are_those_of_the_dense_matrices() {
    let modules = llama(1, 8, 4, 12, 20);
    let make = |rank, alpha, rslora, seed| {
        let mut config = LoraConfig::new(rank, alpha, list(&["up_proj"]));
        config.use_rslora = rslora;
        let mut adapter = Adapter::init(config, &modules, seed).unwrap();
        adapter
            .params
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x += (i as f32 + seed as f32).cos() * 0.2);
        adapter
    };
    let (one, two) = (make(2, 4.0, false, 1), make(3, 5.0, true, 2));
    let dense = |adapter: &Adapter| -> Vec<f64> {
        let ((a, b), m) = (adapter.factors(0), &adapter.modules[0]);
        let cell = |i: usize, j: usize| -> f64 {
            (0..m.rank)
                .map(|r| f64::from(b[i * m.rank + r]) * f64::from(a[r * m.in_features + j]))
                .sum()
        };
        (0..m.out_features * m.in_features)
            .map(|at| f64::from(m.scaling) * cell(at / m.in_features, at % m.in_features))
            .collect()
    };
    let (x, y) = (dense(&one), dense(&two));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let apart: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y - x).collect();
    let c = &diff(&one, &two).unwrap().modules[0].1;
    assert!(
        (c.norms.0 - dot(&x, &x).sqrt()).abs() < 1e-12
            && (c.norms.1 - dot(&y, &y).sqrt()).abs() < 1e-12
    );
    assert!((c.cosine.unwrap() - dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt()).abs() < 1e-12);
    assert!((c.distance - dot(&apart, &apart).sqrt()).abs() < 1e-12);
}

#[test]
fn a_module_that_only_one_has_is_listed_and_other_shapes_are_refused() {
    let (modules, adapter) = small();
    let other = Adapter::init(
        LoraConfig::new(2, 4.0, list(&["v_proj", "o_proj"])),
        &modules,
        3,
    )
    .unwrap();
    let both = diff(&adapter, &other).unwrap();
    assert_eq!(both.modules.len(), 6);
    let of = |name: &str| {
        &both
            .modules
            .iter()
            .find(|(path, _)| path.ends_with(name))
            .unwrap()
            .1
    };
    assert!(
        of("q_proj").cosine.is_none() && of("q_proj").norms.0 > 0.0 && of("q_proj").norms.1 == 0.0
    );
    assert!((of("q_proj").distance - of("q_proj").norms.0).abs() < 1e-12);
    assert_eq!(of("o_proj").norms, (0.0, 0.0), "B is still zero");
    let wide = Adapter::init(
        LoraConfig::new(2, 4.0, list(&["q_proj"])),
        &llama(2, 12, 4, 12, 20),
        3,
    )
    .unwrap();
    assert!(
        diff(&adapter, &wide)
            .unwrap_err()
            .told()
            .contains("same base")
    );
}

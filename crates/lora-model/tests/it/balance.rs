//! The loss for the balance of experts, beside what the golden cases say of it.
use crate::golden::{Golden, largest_difference};
use lora_core::Adapter;
use lora_model::{Composite, Error, FullModel, Fused, Packed, Plan, Route, Scales};

const CASES: [&str; 4] = [
    "balance_attention",
    "balance_parameters",
    "balance_biases",
    "balance_shared",
];

const SCALES: Scales = Scales {
    nll: 0.02,
    balance: 0.5,
};

fn learn(
    route: &mut dyn Route,
    adapter: &Adapter,
    packed: &Packed,
    scales: Scales,
) -> (f64, Vec<f32>, f64) {
    let mut gradients = vec![0.0; adapter.params.len()];
    let (losses, balance) = route
        .balanced_gradients(adapter, packed, None, scales, &mut gradients)
        .unwrap();
    (balance, gradients, losses.iter().map(|l| l.nll).sum())
}

fn assert_near(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.0, "{what}");
    let worst = largest_difference(a, b);
    assert!(worst <= tolerance * largest, "{what}: {worst} of {largest}");
}

/// Sequences that begin alike, and one that does not.
fn alike(golden: &Golden) -> Packed {
    let beginning = &golden.packed.input_ids[..12];
    let rows: Vec<Vec<u32>> = vec![
        [beginning, &[5, 9, 11, 20]].concat(),
        [beginning, &[30, 7]].concat(),
        vec![8, 40, 13, 6, 22],
        beginning.to_vec(),
    ];
    let labels = |row: &Vec<u32>| {
        let learned = row.iter().enumerate();
        let learned = learned.map(|(t, &id)| if t < 9 { -100 } else { id as i32 });
        learned.collect::<Vec<i32>>()
    };
    let labels: Vec<Vec<i32>> = rows.iter().map(labels).collect();
    Packed::from_rows(rows.iter().zip(&labels).map(|(r, l)| (&r[..], &l[..])))
}

#[test]
fn a_token_that_is_computed_once_for_several_sequences_counts_for_each() {
    for name in CASES {
        let golden = Golden::open(name);
        let (packed, adapter) = (alike(&golden), &golden.adapter);
        let fused = |shared| {
            Fused::new(&golden.base, 2)
                .unwrap()
                .with_shared_prefixes(shared)
        };
        let computed = fused(true).computed_tokens(&packed, None);
        assert!(computed < packed.tokens(), "{computed}");
        let (shared, of_shared, _) = learn(&mut fused(true), adapter, &packed, SCALES);
        let (apart, of_apart, _) = learn(&mut fused(false), adapter, &packed, SCALES);
        let mut composite = Composite::new(&golden.base).unwrap();
        let (graph, of_graph, _) = learn(&mut composite, adapter, &packed, SCALES);
        assert!((shared / apart - 1.0).abs() < 1e-6, "{shared} {apart}");
        assert!((graph / apart - 1.0).abs() < 1e-5, "{graph} {apart}");
        assert_near(name, &of_shared, &of_apart, 1e-5);
        assert_near(name, &of_apart, &of_graph, 1e-4);
    }
}

#[test]
fn every_memory_plan_and_any_number_of_threads_give_the_same_bits() {
    for name in CASES {
        let golden = Golden::open(name);
        let with = |threads, plan| {
            let mut route = Fused::new(&golden.base, threads).unwrap().with_plan(plan);
            learn(&mut route, &golden.adapter, &golden.packed, SCALES);
            learn(&mut route, &golden.adapter, &golden.packed, SCALES)
        };
        let all = with(2, Plan::ALL);
        for (threads, plan) in [(2, Plan::LEANEST), (1, Plan::ALL), (5, Plan::LEANEST)] {
            assert_eq!(with(threads, plan), all, "{name}");
        }
        let rounded = with(2, Plan::keeping(0, 9));
        assert_eq!(rounded.0, all.0, "{name}");
        assert_near(name, &rounded.1, &all.1, 0.02);
    }
}

/// Along the gradient, the loss grows by its square: of the balance alone, where no token is learned, and of both.
#[test]
fn gradients_are_those_of_finite_differences() {
    for name in CASES {
        let golden = Golden::open(name);
        let mut route = Fused::new(&golden.base, 2).unwrap();
        let unsupervised = Packed {
            labels: vec![-100; golden.packed.tokens()],
            ..golden.packed.clone()
        };
        for packed in [&golden.packed, &unsupervised] {
            let mut of = |adapter: &Adapter| learn(&mut route, adapter, packed, SCALES);
            let (_, gradients, _) = of(&golden.adapter);
            let square: f64 = gradients.iter().map(|g| f64::from(*g).powi(2)).sum();
            assert!(square > 0.0, "{name}");
            // So short a way that no token meets a tie of two experts on it.
            let step = 4e-4 / square.sqrt();
            let mut moved = |by: f64| {
                let mut adapter = golden.adapter.clone();
                let values = adapter.params.iter_mut().zip(&gradients);
                values.for_each(|(v, g)| *v += (by * f64::from(*g)) as f32);
                let (balance, _, nll) = of(&adapter);
                f64::from(SCALES.nll) * nll + f64::from(SCALES.balance) * balance
            };
            let found = (moved(step) - moved(-step)) / (2.0 * step);
            assert!(
                (found / square - 1.0).abs() < 0.01,
                "{name}: {found} {square}"
            );
        }
    }
}

#[test]
fn without_weight_it_is_told_and_changes_nothing() {
    for name in CASES {
        let golden = Golden::open(name);
        let (adapter, packed) = (&golden.adapter, &golden.packed);
        let scales = Scales {
            balance: 0.0,
            ..SCALES
        };
        for route in [
            &mut Fused::new(&golden.base, 2).unwrap() as &mut dyn Route,
            &mut Composite::new(&golden.base).unwrap(),
        ] {
            let (balance, with, _) = learn(route, adapter, packed, scales);
            assert!((balance / golden.number("aux_loss") - 1.0).abs() < 1e-5);
            let mut without = vec![0.0; adapter.params.len()];
            route
                .gradients(adapter, packed, None, SCALES.nll, &mut without)
                .unwrap();
            assert_near(name, &with, &without, 1e-5);
        }
    }
}

/// A pack in several chunks is one set of tokens: the same sequences many times over are as balanced as once.
#[test]
fn all_weights_train_with_it_over_all_chunks() {
    let golden = Golden::open("balance_parameters");
    let full = FullModel::from_base(&golden.base).unwrap();
    let times = 30;
    let rows = golden.packed.starts.windows(2).map(|w| {
        let rows = w[0]..w[1];
        (
            &golden.packed.input_ids[rows.clone()],
            &golden.packed.labels[rows],
        )
    });
    let rows: Vec<_> = rows.collect();
    let many = Packed::from_rows((0..times).flat_map(|_| rows.clone()));
    assert!(many.tokens() > 3 * 256);
    let learn = |model: &FullModel, packed: &Packed, scales| {
        let mut gradients = vec![0.0; model.params.len()];
        let (losses, balance) = model
            .balanced_gradients(packed, scales, &mut gradients)
            .unwrap();
        (
            balance,
            gradients,
            losses.iter().map(|l| l.nll).sum::<f64>(),
        )
    };
    let (once, of_once, _) = learn(&full, &golden.packed, SCALES);
    let scales = Scales {
        nll: SCALES.nll / times as f32,
        ..SCALES
    };
    let (often, of_often, _) = learn(&full, &many, scales);
    assert!((once / often - 1.0).abs() < 1e-5, "{once} {often}");
    assert_near("many", &of_often, &of_once, 1e-4);
    let square: f64 = of_once.iter().map(|g| f64::from(*g).powi(2)).sum();
    let step = 1e-3 / square.sqrt();
    let moved = |by: f64| {
        let mut model = full.clone();
        let values = model.params.iter_mut().zip(&of_once);
        values.for_each(|(v, g)| *v += (by * f64::from(*g)) as f32);
        let (balance, _, nll) = learn(&model, &golden.packed, SCALES);
        f64::from(SCALES.nll) * nll + f64::from(SCALES.balance) * balance
    };
    let found = (moved(step) - moved(-step)) / (2.0 * step);
    assert!((found / square - 1.0).abs() < 0.01, "{found} {square}");
}

#[test]
fn a_base_without_experts_has_none() {
    let golden = Golden::open(crate::golden::LLAMA[0]);
    let mut gradients = vec![0.0; golden.adapter.params.len()];
    let mut of = |route: &mut dyn Route| {
        let (adapter, packed) = (&golden.adapter, &golden.packed);
        route.balanced_gradients(adapter, packed, None, SCALES, &mut gradients)
    };
    let refused = |result: Result<_, Error>| {
        let error = result.map(|(_, _): (Vec<_>, f64)| ()).unwrap_err();
        assert!(error.to_string().contains("without experts"), "{error}");
    };
    refused(of(&mut Fused::new(&golden.base, 1).unwrap()));
    refused(of(&mut Composite::new(&golden.base).unwrap()));
    let full = FullModel::from_base(&golden.base).unwrap();
    let mut gradients = vec![0.0; full.params.len()];
    refused(full.balanced_gradients(&golden.packed, SCALES, &mut gradients));
}

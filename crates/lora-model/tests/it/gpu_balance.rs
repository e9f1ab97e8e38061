//! The loss for the balance of experts on a GPU beside the CPU's.
use crate::golden::{Golden, largest_difference};
use crate::gpu::device;
use lora_gpu::Precision;
use lora_model::{Fused, OnGpu, Packed, Route, Scales};

/// Cases whose config asks for the loss.
const CASES: [&str; 4] = [
    "balance_attention",
    "balance_biases",
    "balance_parameters",
    "balance_shared",
];

const SCALES: Scales = Scales {
    nll: 0.02,
    balance: 0.5,
};

fn learn(route: &mut dyn Route, golden: &Golden, packed: &Packed) -> (f64, Vec<f32>) {
    let mut gradients = vec![0.0; golden.adapter.params.len()];
    let found = route.balanced_gradients(&golden.adapter, packed, None, SCALES, &mut gradients);
    (found.unwrap().1, gradients)
}

/// Sequences that begin alike, of which the GPU computes the beginning once, and one that does not.
fn alike(golden: &Golden) -> Packed {
    let beginning = &golden.packed.input_ids[..12];
    let rows = [
        [beginning, &[5, 9, 11, 20]].concat(),
        [beginning, &[30, 7]].concat(),
        vec![8, 40, 13, 6, 22],
    ];
    let labels: Vec<Vec<i32>> = rows
        .iter()
        .map(|row| row.iter().map(|&id| id as i32).collect())
        .collect();
    Packed::from_rows(rows.iter().zip(&labels).map(|(r, l)| (&r[..], &l[..])))
}

fn route<'b>(golden: &'b Golden, precision: Precision, kept: usize) -> OnGpu<'b> {
    OnGpu::new(&golden.base, device(precision), Some(&golden.adapter))
        .unwrap()
        .with_kept_layers(kept)
}

/// Also where no token is learned: those count, too.
#[test]
fn the_loss_for_the_balance_of_experts_is_the_cpus() {
    for name in CASES {
        let golden = Golden::open(name);
        let together = alike(&golden);
        let unsupervised = Packed {
            labels: vec![-100; golden.packed.tokens()],
            ..golden.packed.clone()
        };
        for packed in [&golden.packed, &together, &unsupervised] {
            let mut fused = Fused::new(&golden.base, 2).unwrap();
            let (expected, gradients) = learn(&mut fused, &golden, packed);
            let mut gpu = route(&golden, Precision::F32, usize::MAX);
            let (found, ours) = learn(&mut gpu, &golden, packed);
            assert!((found / expected - 1.0).abs() < 1e-5, "{name} {found}");
            let largest = gradients.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.0);
            let off = largest_difference(&ours, &gradients);
            assert!(off <= 1e-4 * largest, "{name}: {off} of {largest}");
        }
    }
}

#[test]
fn layers_that_are_computed_again_count_once() {
    for name in CASES {
        let golden = Golden::open(name);
        let with = |kept| {
            let mut gpu = route(&golden, Precision::Bf16, kept);
            learn(&mut gpu, &golden, &golden.packed)
        };
        let all = with(usize::MAX);
        assert_eq!(with(0), all, "{name}");
        assert_eq!(with(usize::MAX), all, "{name}");
    }
}

/// A leaf of the sum that stays on the device is the same gradient.
#[test]
fn it_is_learned_on_the_device() {
    for name in CASES {
        let golden = Golden::open(name);
        let count = golden.adapter.params.len();
        let (balance, gradients) = learn(
            &mut route(&golden, Precision::F32, usize::MAX),
            &golden,
            &golden.packed,
        );
        let mut gpu = route(&golden, Precision::F32, usize::MAX);
        let there = gpu.resident().unwrap();
        let zeros = vec![0.0; count];
        there.set(&golden.adapter, &zeros, &zeros).unwrap();
        let weights = (SCALES.nll, Some(SCALES.balance));
        let (_, found) = there
            .accumulate(&golden.adapter, &golden.packed, None, weights)
            .unwrap();
        assert_eq!(found, Some(balance));
        let mut ours = zeros;
        there.gradients(&mut ours).unwrap();
        assert_eq!(ours, gradients, "{name}");
    }
}

#[test]
fn a_base_without_experts_has_none() {
    let golden = Golden::open("llama_gqa_tied");
    let mut gradients = vec![0.0; golden.adapter.params.len()];
    let mut gpu = route(&golden, Precision::F32, usize::MAX);
    let found = gpu.balanced_gradients(
        &golden.adapter,
        &golden.packed,
        None,
        SCALES,
        &mut gradients,
    );
    assert!(found.unwrap_err().to_string().contains("without experts"));
    assert!(gradients.iter().all(|&g| g == 0.0));
}

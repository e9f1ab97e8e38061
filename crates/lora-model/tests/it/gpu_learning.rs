//! Learning on the device, where tables, rows of them and whole linear layers train: step after step, and going on.
use crate::golden::{self, Golden};
use crate::gpu::device;
use lora_core::Adapter;
use lora_gpu::Precision;
use lora_kernels::optim::{AdamW, Moments, Step};
use lora_model::{Fused, OnGpu, Route, SlotStep};

const ADAMW: AdamW = AdamW {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
};

/// The step of a number, for all parameters.
fn step(number: u64, count: usize) -> SlotStep {
    SlotStep {
        range: 0..count,
        adamw: ADAMW,
        step: Step {
            number,
            lr: 1e-2,
            clip: 1.0,
        },
    }
}

/// Cases in which each kind of thing trains.
const LEARN: [&str; 4] = [
    "embed_head_tied",
    "embed_head_dora",
    "tokens_untied",
    "saved_bias_all",
];

/// Learning on the device is learning on the CPU, in two micro-batches a step: parameters go to where they are read afterwards.
#[test]
fn steps_on_the_device_are_the_cpus() {
    for name in LEARN {
        let golden = Golden::open(name);
        let (base, packed) = (&golden.base, &golden.packed);
        let n = golden.adapter.params.len();
        let mut own = golden.adapter.clone();
        let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
        let mut fused = Fused::new(base, 2).unwrap();
        let mut route = OnGpu::new(base, device(Precision::F32), Some(&own)).unwrap();
        let learns = route.resident().unwrap();
        learns.set(&golden.adapter, &m, &v).unwrap();
        for number in 1..=3 {
            let mut gradients = vec![0f32; n];
            learns.clear();
            for scale in [0.1, 0.2] {
                let losses = fused.gradients(&own, packed, None, scale, &mut gradients);
                let expected = golden::mean(&losses.unwrap());
                let found = learns.accumulate(&golden.adapter, packed, None, (scale, None));
                let found = golden::mean(&found.unwrap().0);
                let off = (found / expected - 1.0).abs();
                assert!(off <= 1e-4, "{name} {number}: {found} {expected}");
            }
            let slot = step(number, n);
            let moments = Moments {
                first: &mut m,
                second: &mut v,
            };
            ADAMW.step(&mut own.params, &gradients, moments, slot.step);
            learns.step(&[slot]).unwrap();
        }
    }
}

/// What a run goes on from is its parameters and moments: the next step's bits are those of the run that was not interrupted.
#[test]
fn it_goes_on_from_parameters_and_moments() {
    for name in LEARN {
        let golden = Golden::open(name);
        let (base, packed) = (&golden.base, &golden.packed);
        let n = golden.adapter.params.len();
        let new = || OnGpu::new(base, device(Precision::Bf16), Some(&golden.adapter)).unwrap();
        let learn = |route: &mut OnGpu<'_>, number: u64| {
            let learns = route.resident().unwrap();
            learns.clear();
            let found = learns.accumulate(&golden.adapter, packed, None, (0.1, None));
            learns.step(&[step(number, n)]).unwrap();
            let mut params = vec![0f32; n];
            learns.params(&mut params).unwrap();
            (found.unwrap(), params)
        };
        let zeros = vec![0f32; n];
        let mut whole = new();
        let learns = whole.resident().unwrap();
        learns.set(&golden.adapter, &zeros, &zeros).unwrap();
        let (_, params) = learn(&mut whole, 1);
        let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
        let learns = whole.resident().unwrap();
        learns.moments(&mut m, &mut v).unwrap();
        let expected = learn(&mut whole, 2);
        let so_far = Adapter {
            params,
            ..golden.adapter.clone()
        };
        let mut again = new();
        again.resident().unwrap().set(&so_far, &m, &v).unwrap();
        assert_eq!(learn(&mut again, 2), expected, "{name}");
    }
}

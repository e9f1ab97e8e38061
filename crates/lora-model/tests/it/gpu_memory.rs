//! The memory that a run on a GPU is predicted to take is what it takes: counted on the CPU's stand-in for one.
use crate::golden::{CASES, Golden};
use crate::gpu::may_drop;
use lora_core::Adapter;
use lora_gpu::{Gpu, OnCpu, Precision};
use lora_model::{Base, BatchSize, Dropout, GpuBase, GpuDemand, GpuPeak, OnGpu, Packed, Route};

/// Bytes on the device after a base was loaded, and after steps whose layers are all computed again, and all kept.
pub(crate) fn measured(
    base: &Base,
    (adapter, packed): (&Adapter, &Packed),
    dropout: Option<Dropout>,
    shared: bool,
) -> [u64; 3] {
    let gpu = Gpu::new(OnCpu::new(Precision::Bf16), Precision::Bf16);
    let total = gpu.free_memory().unwrap();
    let held = |gpu: &Gpu| total - gpu.free_memory().unwrap();
    let step = |kept: usize| {
        let route = OnGpu::new(base, gpu.clone(), Some(adapter)).unwrap();
        let mut route = route.with_shared_prefixes(shared).with_kept_layers(kept);
        let weights = held(&gpu);
        let zeros = vec![0.0; adapter.params.len()];
        let learns = route.resident().unwrap();
        learns.set(adapter, &zeros, &zeros).unwrap();
        learns
            .accumulate(adapter, packed, dropout, (1.0, None))
            .unwrap();
        [weights, held(&gpu)]
    };
    let [weights, again] = step(0);
    [weights, again, step(usize::MAX)[1]]
}

/// Allocations have 16 bytes at least; a pass has fewer than these that could be smaller.
const SMALLEST: u64 = 64 * 16;

pub(crate) fn check(peak: &GpuPeak, found: [u64; 3], name: &str) {
    let layers = peak.step.layers.len();
    let after = |kept| peak.total(kept) - peak.step.passing; // what passes is gone by then
    let predicted = [peak.weights, after(0), after(layers)];
    for (predicted, found) in predicted.into_iter().zip(found) {
        assert!(
            (predicted..predicted + SMALLEST).contains(&found),
            "{name}: {predicted} bytes predicted, {found} found: {peak:?}"
        );
    }
}

fn is_computed(golden: &Golden) -> bool {
    let gpu = Gpu::new(OnCpu::new(Precision::Bf16), Precision::Bf16);
    OnGpu::new(&golden.base, gpu, Some(&golden.adapter)).is_ok()
}

#[test]
fn a_step_takes_what_was_predicted() {
    let mut checked = 0;
    for name in CASES {
        let golden = Golden::open(name);
        if !is_computed(&golden) {
            continue;
        }
        let of_case = (&golden.adapter, &golden.packed);
        let dropout = Dropout {
            p: 0.3,
            seed: 7,
            step: 3,
        };
        let ways = [(None, true), (None, false), (Some(dropout), false)];
        let ways = ways.into_iter();
        for (dropout, shared) in ways.filter(|(d, _)| d.is_none() || may_drop(&golden)) {
            let config = golden.base.config();
            let demand = GpuDemand {
                config,
                modules: &golden.adapter.modules,
                trained: &golden.adapter.trained,
                rows: &golden.adapter.rows,
                keeps_origin: golden.adapter.origin.is_some(),
                base: GpuBase::Files(&golden.base),
                batch: BatchSize::of(config, &golden.packed, shared),
                dropout: dropout.is_some(),
            };
            let found = measured(&golden.base, of_case, dropout, shared);
            check(&demand.peak(), found, name);
        }
        checked += 1;
    }
    assert!(checked > 10, "{checked} cases");
}

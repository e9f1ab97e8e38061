//! What a training step allocates after the first one, counted by the allocator. A binary of its own: nothing else may run.
#![allow(clippy::unwrap_used, unsafe_code)]
use lora_core::{Adapter, LoraConfig, TargetModules};
use lora_model::{Base, Fused, Packed, Plan, Route};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;
static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls, bytes, and the largest allocation of the last of three steps, and the tokens of a step.
fn third_step(plan: Plan) -> ([usize; 3], usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/golden/llama_gqa_tied/base");
    let base = Base::open(&root).unwrap();
    let adapter =
        Adapter::init(LoraConfig::new(8, 8.0, TargetModules::AllLinear), &base, 1).unwrap();
    let ids: Vec<u32> = (0..60).map(|i| 3 + (i * 7) % 50).collect();
    let labels: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let packed = Packed::from_rows((0..8).map(|row| (&ids[row..50 + row], &labels[row..50 + row])));
    // One thread: with more, chance decides at which step each of them first needs its scratch.
    let mut fused = Fused::new(&base, 1).unwrap().with_plan(plan);
    let mut gradients = vec![0.0; adapter.params.len()];
    for _ in 0..3 {
        [&CALLS, &BYTES, &LARGEST]
            .iter()
            .for_each(|count| count.store(0, Relaxed));
        fused
            .gradients(&adapter, &packed, None, 1.0, &mut gradients)
            .unwrap();
    }
    (
        [&CALLS, &BYTES, &LARGEST].map(|count| count.load(Relaxed)),
        packed.tokens(),
    )
}

/// The kernels and the layers allocate nothing: what is left is the description of the batch and of the adapter, some words a
/// token. A row of activations alone would be 4 · 48 bytes a token here.
#[test]
fn a_step_after_the_first_allocates_no_activations() {
    for plan in [Plan::ALL, Plan::keeping(0, 1), Plan::LEANEST] {
        let ([calls, bytes, largest], tokens) = third_step(plan);
        assert!(
            calls < 250 && bytes < 128 * tokens && largest < 32 * tokens,
            "{plan:?}: {calls} allocations, {bytes} bytes, at most {largest} in one, for {tokens} tokens"
        );
    }
}

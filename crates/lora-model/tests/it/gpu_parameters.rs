//! LoRA on experts and routers on a GPU beside the CPU's: where golden cases don't go, which are bases in blocks and adapters of
//! other ranks, and their memory.
use crate::golden::{Golden, list};
use crate::gpu::device;
use crate::gpu_beside_cpu::check_adapter;
use crate::gpu_mixtures::{CASES, OF_32, OF_256, check_memory_of, in_blocks, packed};
use lora_checkpoint::GgufDtype;
use lora_core::{Adapter, BaseModel as _, LoraConfig, Parameters};
use lora_gpu::Precision;
use lora_model::{Base, GpuBase, OnGpu, Packed, Route as _};

/// LoRA on queries, experts and routers, with B that is not zero.
fn on_experts(base: &Base, rank: usize) -> Adapter {
    let parameters: Parameters = "experts,router".parse().unwrap();
    let mut config = LoraConfig::new(rank, 8.0, list(&["q_proj"]));
    config.target_parameters = Some(parameters.resolve(&base.modules()).unwrap());
    let mut adapter = Adapter::init(config, base, 3).unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += 0.02 * (i as f32 * 0.37).sin();
    }
    adapter
}

/// Of ranks that take all the columns that there are, and that don't.
#[test]
fn beside_blocks_it_computes_what_the_cpu_does() {
    let kinds = [
        (GgufDtype::Q8_0, OF_32),
        (GgufDtype::Q4_0, OF_32),
        (GgufDtype::Q4K, OF_256),
    ];
    for (case, (dtype, widths)) in CASES.into_iter().zip(kinds.into_iter().cycle()) {
        let (_folder, base) = in_blocks(case, dtype, widths);
        for rank in [3, 8] {
            let adapter = on_experts(&base, rank);
            let run = (&adapter, &packed(&base), None);
            check_adapter(&base, run, case, |route| assert!(route.holds_blocks()));
        }
    }
}

#[test]
fn a_step_takes_what_was_predicted() {
    let (_folder, base) = in_blocks(CASES[0], GgufDtype::Q8_0, OF_32);
    let of_shapes = GpuBase::Blocks {
        values: 32,
        bytes: 34,
    };
    let planned = [GpuBase::Files(&base), of_shapes];
    let adapter = on_experts(&base, 3);
    check_memory_of(&base, (&adapter, None), &packed(&base), planned, "blocks");
    for case in ["parameters_all", "gpt_oss_sinks", "qwen3_moe_mixed"] {
        let golden = Golden::open(case);
        let planned = [GpuBase::Files(&golden.base), GpuBase::Dense];
        let adapter = on_experts(&golden.base, 9);
        check_memory_of(
            &golden.base,
            (&adapter, None),
            &golden.packed,
            planned,
            case,
        );
    }
}

/// What a wider adapter has left behind, in the base's memory and in what is widened, is not read.
#[test]
fn after_a_wider_adapter_a_narrower_one_gives_the_same_bits() {
    let golden = Golden::open("parameters_all");
    let (_folder, blocks) = in_blocks(CASES[0], GgufDtype::Q8_0, OF_32);
    for (base, packed) in [
        (&golden.base, golden.packed.clone()),
        (&blocks, packed(&blocks)),
    ] {
        let [narrow, wide] = [3, 17].map(|rank| on_experts(base, rank));
        let learn = |route: &mut OnGpu<'_>, adapter: &Adapter, packed: &Packed| {
            let mut flat = vec![0.0; adapter.params.len()];
            let losses = route.gradients(adapter, packed, None, 0.1, &mut flat);
            (losses.unwrap(), flat)
        };
        let new = |adapter| OnGpu::new(base, device(Precision::Bf16), adapter).unwrap();
        let expected = learn(&mut new(Some(&narrow)), &narrow, &packed);
        let mut route = new(None); // makes room as it meets them
        let first = learn(&mut route, &wide, &packed);
        assert_eq!(learn(&mut route, &narrow, &packed), expected);
        assert_eq!(learn(&mut route, &wide, &packed), first);
    }
}

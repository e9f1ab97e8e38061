//! Mixtures on a GPU whose experts stay the file's blocks: their passes and their memory.
use crate::golden::Golden;
use crate::{gpu_beside_cpu, gpu_memory};
use lora_checkpoint::{Checkpoint, Error, GgufDtype, ModelConfig, save_gguf};
use lora_core::Adapter;
use lora_gpu::{Gpu, OnCpu, Precision};
use lora_model::{Base, BatchSize, Dropout, FullModel, GpuBase, GpuDemand, OnGpu, Packed};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// Golden cases of each family of mixtures.
pub(crate) const CASES: [&str; 4] = [
    "qwen3_moe_experts",
    "olmoe_experts",
    "mixtral_windows",
    "granitemoe_multipliers",
];

/// Blocks of 32 values fit.
pub(crate) const OF_32: Widths = [96, 64, 32, 32];
/// Blocks of 256 values fit, but for attention's output.
pub(crate) const OF_256: Widths = [256, 256, 256, 32];

/// Of the hidden state, of the MLP, of an expert, of a head.
type Widths = [usize; 4];

/// A model as a case's, but as wide as blocks are, with random weights and the embedded model's tokens, as a GGUF file.
pub(crate) fn in_blocks(case: &str, dtype: GgufDtype, widths: Widths) -> (TempDir, Base) {
    let folder = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &Path| -> Value {
        let text = std::fs::read_to_string(repository.join(path)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let of_tokens = Path::new("data/tiny-chat");
    let cases = Path::new("tests/fixtures/golden");
    let mut config = read(&cases.join(case).join("base/config.json"));
    let keys = [
        "hidden_size",
        "intermediate_size",
        "moe_intermediate_size",
        "head_dim",
    ];
    let of_states = [
        ("shared_intermediate_size", 64),
        ("mamba_n_heads", 12),
        ("mamba_d_head", 16),
        ("mamba_d_ssm", 192),
        ("linear_value_head_dim", 16),
    ];
    for (key, size) in keys.into_iter().zip(widths).chain(of_states) {
        if config[key].is_number() {
            config[key] = size.into();
        }
    }
    let own = read(&of_tokens.join("config.json"));
    for key in ["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"] {
        config[key] = own[key].clone();
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let from = repository.join(of_tokens).join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    let shape = ModelConfig::from_json(&folder.path().join("config.json")).unwrap();
    let model = FullModel::random(shape, 5).unwrap();
    model.save(folder.path(), false).unwrap();
    let path = folder.path().join("model.gguf");
    let model = Checkpoint::open(folder.path()).unwrap();
    save_gguf(&path, &model, dtype, "m", |_| Ok::<(), Error>(())).unwrap();
    let base = Base::open(&path).unwrap();
    (folder, base)
}

/// Two sequences that begin alike, and another.
pub(crate) fn packed(base: &Base) -> Packed {
    let vocabulary = base.config().vocab_size as u32;
    let ids: Vec<u32> = (0..40).map(|i| (5 + i * 13) % vocabulary).collect();
    let labels: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Packed::from_rows([
        (&ids[..25], &labels[..25]),
        (&ids[25..], &labels[25..]),
        (&ids[..30], &labels[..30]),
    ])
}

#[test]
fn experts_in_blocks_are_widened_as_on_the_cpu() {
    for case in CASES {
        for dtype in [GgufDtype::Q8_0, GgufDtype::Q4_0] {
            let (_folder, base) = in_blocks(case, dtype, OF_32);
            gpu_beside_cpu::check_beside_the_cpu(&base, &packed(&base), case, |route| {
                assert!(route.holds_blocks());
            });
        }
    }
}

/// That a step on a base takes the memory that is predicted, however the base is said to lie.
pub(crate) fn check_memory(base: &Base, packed: &Packed, planned: [GpuBase<'_>; 2], what: &str) {
    let adapter = gpu_beside_cpu::plain_lora(base);
    let drops = Dropout {
        p: 0.3,
        seed: 7,
        step: 3,
    };
    for dropout in [None, Some(drops)] {
        check_memory_of(base, (&adapter, dropout), packed, planned, what);
    }
}

/// The same of an adapter.
pub(crate) fn check_memory_of(
    base: &Base,
    (adapter, dropout): (&Adapter, Option<Dropout>),
    packed: &Packed,
    planned: [GpuBase<'_>; 2],
    what: &str,
) {
    let shared = dropout.is_none();
    let found = gpu_memory::measured(base, (adapter, packed), dropout, shared);
    for planned in planned {
        let batch = BatchSize::of(base.config(), packed, shared);
        let demand = GpuDemand {
            config: base.config(),
            modules: &adapter.modules,
            trained: &adapter.trained,
            rows: &adapter.rows,
            keeps_origin: adapter.origin.is_some(),
            base: planned,
            batch,
            dropout: dropout.is_some(),
        };
        let peak = demand.peak();
        gpu_memory::check(&peak, found, what);
        // What a run reckons with, whose base is loaded, is the same.
        let gpu = Gpu::new(OnCpu::new(Precision::Bf16), Precision::Bf16);
        let mut route = OnGpu::new(base, gpu, Some(adapter)).unwrap();
        let (count, drops) = (adapter.params.len(), dropout.is_some());
        let fitted = route.fit(batch, count, drops, None).unwrap();
        let step = peak.factors + peak.step.bytes(fitted.kept_layers);
        assert_eq!(fitted.step_bytes, step, "{what}");
    }
}

#[test]
fn a_step_with_experts_in_blocks_takes_what_was_predicted() {
    for case in CASES {
        let (_folder, base) = in_blocks(case, GgufDtype::Q8_0, OF_32);
        let of_shapes = GpuBase::Blocks {
            values: 32,
            bytes: 34,
        };
        let planned = [GpuBase::Files(&base), of_shapes];
        check_memory(&base, &packed(&base), planned, case);
    }
}

/// Of cases whose own adapters a GPU refuses; of one some layers have an MLP in the place of experts.
#[test]
fn a_step_with_dense_experts_takes_what_was_predicted() {
    for case in [
        "qwen3_moe_mixed",
        "olmoe_tied",
        "mixtral_tied",
        "granitemoe_untied",
        "gpt_oss_sinks",
    ] {
        let golden = Golden::open(case);
        let planned = [GpuBase::Files(&golden.base), GpuBase::Dense];
        check_memory(&golden.base, &golden.packed, planned, case);
    }
}

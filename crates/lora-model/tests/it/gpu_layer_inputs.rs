//! Decoders whose layers have inputs of their own and read the keys and values of earlier ones, on a GPU beside the CPU's: where
//! golden cases don't go, which are bases in blocks, adapters in some layers, embeddings that train, and long sequences.
use crate::golden::{self, Golden};
use crate::gpu::device;
use crate::gpu_beside_cpu::{check_adapter, check_beside_the_cpu, lora_on, plain_lora, saving};
use crate::gpu_mixtures::{check_memory, check_memory_of};
use crate::gpu_states::{packed, tokens};
use lora_checkpoint::{Checkpoint, Error, GgufDtype, ModelConfig, save_gguf};
use lora_gpu::Precision;
use lora_model::{Base, Fused, Generate as _, GpuBase, OnGpu};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// One with shared keys and inputs of layers; one whose full layers have their keys as values.
const CASES: [&str; 2] = ["gemma4_shared", "gemma4_keys_as_values"];

/// A case's decoder, but as wide as blocks of 32 are, with random weights and the embedded model's tokens, as a GGUF file.
fn in_blocks(case: &str, dtype: GgufDtype) -> (TempDir, Base) {
    let folder = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(repository.join(path)).unwrap()).unwrap()
    };
    let mut config = read(&format!("tests/fixtures/golden/{case}/base/config.json"));
    for (key, size) in [
        ("hidden_size", 96),
        ("intermediate_size", 64),
        ("head_dim", 32),
        ("hidden_size_per_layer_input", 32),
    ] {
        if config[key].as_u64().is_some_and(|size| size > 0) {
            config[key] = size.into();
        }
    }
    let of_full_layers = config["per_layer_config"].as_object_mut().unwrap();
    for own in of_full_layers.values_mut() {
        own["head_dim"] = 64.into();
    }
    let own = read("data/tiny-chat/config.json");
    for key in ["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"] {
        config[key] = own[key].clone();
    }
    config["vocab_size_per_layer_input"] = own["vocab_size"].clone();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let from = repository.join("data/tiny-chat").join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    let shape = ModelConfig::from_json(&folder.path().join("config.json")).unwrap();
    write_random(&shape, &folder.path().join("model.safetensors"));
    let path = folder.path().join("model.gguf");
    let model = Checkpoint::open(folder.path()).unwrap();
    save_gguf(&path, &model, dtype, "m", |_| Ok::<(), Error>(())).unwrap();
    let base = Base::open(&path).unwrap();
    (folder, base)
}

/// Weights of a decoder: vectors and numbers near 1, matrices that keep the size of what they read.
fn write_random(config: &ModelConfig, to: &Path) {
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut all = Vec::new();
    for (name, shape) in config.weights() {
        let value = |noise: f32| match shape[..] {
            [_, columns] => noise * (3.0 / columns as f32).sqrt(),
            _ => 1.0 + 0.2 * noise,
        };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| value(noise()))
            .collect();
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        all.push((name, shape, bytes));
    }
    let views = all.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name, view)
    });
    serialize_to_file(views, None, to).unwrap();
}

#[test]
fn a_base_in_blocks_is_widened_as_on_the_cpu() {
    for case in CASES {
        for dtype in [GgufDtype::Q8_0, GgufDtype::Q4_0] {
            let (_folder, base) = in_blocks(case, dtype);
            let rows = packed(&base, &[25, 15, 9]);
            check_beside_the_cpu(&base, &rows, case, |route| assert!(route.holds_blocks()));
        }
    }
}

/// Its table of layers' inputs stays blocks, too: it is most of such a model.
#[test]
fn a_step_on_blocks_takes_what_was_predicted() {
    for case in CASES {
        let (_folder, base) = in_blocks(case, GgufDtype::Q8_0);
        let of_shapes = GpuBase::Blocks {
            values: 32,
            bytes: 34,
        };
        let planned = [GpuBase::Files(&base), of_shapes];
        check_memory(&base, &packed(&base, &[25, 15, 9]), planned, case);
    }
}

#[test]
fn sequences_of_several_tiles_are_the_cpus() {
    for case in CASES.into_iter().chain(["gemma4_per_layer"]) {
        let base = Golden::open(case).base;
        for lengths in [&[150][..], &[20, 129, 1, 64, 70]] {
            check_beside_the_cpu(&base, &packed(&base, lengths), case, |_| ());
        }
    }
}

#[test]
fn texts_go_on_as_on_the_cpu() {
    for case in CASES {
        let (_folder, base) = in_blocks(case, GgufDtype::Q8_0);
        let adapter = plain_lora(&base);
        let prompts = [40, 5, 40, 17].map(|n| tokens(&base, n, 1));
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut fused = Fused::new(&base, 2).unwrap();
        let expected = fused.generate(Some(&adapter), &prompts, 6, &[]).unwrap();
        let mut route = OnGpu::new(&base, device(Precision::F32), Some(&adapter)).unwrap();
        let found = route.generate(Some(&adapter), &prompts, 6, &[]).unwrap();
        assert_eq!(found, expected, "{case}");
        assert!(expected.iter().all(|text| text.len() == 6));
    }
}

/// Layers below the lowest with an adapter have no backward pass: among them can be those whose keys and values others read, and
/// some of the readers.
#[test]
fn adapters_in_some_layers_have_the_cpus_gradients() {
    let golden = Golden::open("gemma4_shared");
    let base = &golden.base;
    for lowest in 0..base.config().num_hidden_layers {
        for last in [lowest, base.config().num_hidden_layers - 1] {
            let paths = (lowest..=last).flat_map(|layer| {
                let own = ["self_attn.q_proj", "mlp.up_proj", "per_layer_input_gate"];
                own.map(|path| format!("layers.{layer}.{path}"))
            });
            let paths: Vec<String> = paths.collect();
            let names: Vec<&str> = paths.iter().map(String::as_str).collect();
            let adapter = lora_on(base, golden::list(&names));
            let what = format!("{lowest} to {last}");
            check_adapter(base, (&adapter, &golden.packed, None), &what, |_| ());
            let planned = [GpuBase::Files(base), GpuBase::Dense];
            check_memory_of(base, (&adapter, None), &golden.packed, planned, &what);
        }
    }
}

/// The embedding is read by the first layer and by what makes the inputs of all: its gradient is the sum.
#[test]
fn an_embedding_that_trains_has_the_cpus_gradient() {
    for case in ["gemma4_shared", "gemma4_per_layer"] {
        let golden = Golden::open(case);
        let adapter = saving(&golden.base, vec!["embed_tokens".to_owned()]);
        let run = (&adapter, &golden.packed, None);
        check_adapter(&golden.base, run, case, |_| ());
    }
}

//! The golden cases: PEFT's logits, losses, gradients and AdamW trajectories.
use lora_core::{Adapter, AdapterTensor, LoraConfig, TargetModules};
use lora_model::{Adding, Base, Packed, SequenceLoss, open_for};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;

/// Families, and what an adapter can train.
pub(crate) const CASES: [&str; 90] = [
    "llama_gqa_tied",
    "llama_rope3_rslora",
    "qwen2_bias_all_linear",
    "gemma3_text",
    "phi3_fused",
    "gemma2_capped",
    "gemma3_linear",
    "smollm3_nope",
    "qwen3_yarn_odd_heads",
    "llama_dynamic",
    "phi3_longrope",
    "mistral_sharded_bf16",
    "gemma_wide_heads",
    "granite_multipliers",
    "glm4_partial",
    "ernie4_5_pairs",
    "helium_pairs",
    "seed_oss_biases",
    "olmo2_norms_after",
    "olmo3_windows",
    "exaone4_windows",
    "ministral3_growth",
    "hunyuan_alpha",
    "ministral_mixed",
    "starcoder2_biases",
    "starcoder2_norms",
    "apertus_xielu",
    "apertus_tied",
    "cohere2_parallel",
    "cohere2_norms",
    "qwen3_moe_experts",
    "qwen3_moe_mixed",
    "olmoe_experts",
    "olmoe_tied",
    "mixtral_windows",
    "mixtral_tied",
    "granitemoe_multipliers",
    "granitemoe_untied",
    "gpt_oss_sinks",
    "gpt_oss_mxfp4",
    "qwen3_5_grouped",
    "qwen3_5_recurrent",
    "lfm2_mixed",
    "lfm2_tied",
    "lfm2_moe_biased",
    "lfm2_moe_scaled",
    "granitemoehybrid_dense",
    "granitemoehybrid_mamba",
    "granitemoehybrid_limits",
    "granitemoehybrid_experts",
    "granitemoeshared_norms",
    "falcon_h1_multipliers",
    "falcon_h1_tied",
    "falcon_h1_biases",
    "gemma4_shared",
    "gemma4_keys_as_values",
    "gemma4_per_layer",
    "llama_dora",
    "mistral_patterns",
    "qwen3_modules_to_save",
    "bias_all",
    "bias_lora_only",
    "embed_head_tied",
    "embed_head_dora",
    "save_embed_norms",
    "save_linear_head_tied",
    "exclude_layers",
    "pissa",
    "olora",
    "pissa_dora",
    "saved_bias_all",
    "tokens_tied",
    "tokens_untied",
    "tokens_added_tied",
    "tokens_added_untied",
    "saved_resized",
    "lora_resized",
    "parameters_all",
    "parameters_gate_up",
    "parameters_down",
    "parameters_converted",
    "parameters_stacked",
    "parameters_turned",
    "parameters_mxfp4",
    "parameters_beside",
    "parameters_sigmoid",
    "balance_attention",
    "balance_parameters",
    "balance_biases",
    "balance_shared",
];
/// Those of [`CASES`] that are plain Llama.
pub(crate) const LLAMA: [&str; 2] = [CASES[0], CASES[1]];

/// One golden case; its padded rows are sequences of their true lengths.
pub(crate) struct Golden {
    folder: PathBuf,
    pub(crate) base: Base,
    pub(crate) adapter: Adapter,
    pub(crate) packed: Packed,
    lengths: Vec<usize>,
    bytes: Vec<u8>,
    case: Value,
}

impl Golden {
    pub(crate) fn open(case: &str) -> Self {
        let folder = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/golden"
        ))
        .join(case);
        let adding = Adding {
            adapters: &[folder.join("adapter")],
            dataset: None,
        };
        let base = open_for(&folder.join("base"), adding).unwrap().base;
        let (adapter, warnings) = Adapter::load(&folder.join("adapter"), &base).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        Self::with(folder, base, adapter)
    }

    fn with(folder: PathBuf, base: Base, adapter: Adapter) -> Self {
        let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
        let case =
            serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (ids, labels) = (
            integers(&tensors, "input_ids"),
            integers(&tensors, "labels"),
        );
        let width = tensors.tensor("input_ids").unwrap().shape()[1];
        let mask = integers(&tensors, "attention_mask");
        let lengths: Vec<usize> = mask
            .chunks(width)
            .map(|row| row.iter().sum::<i64>() as usize)
            .collect();
        let mut packed = Packed {
            starts: vec![0],
            ..Packed::default()
        };
        for (i, &length) in lengths.iter().enumerate() {
            packed
                .input_ids
                .extend(ids[i * width..][..length].iter().map(|&id| id as u32));
            packed
                .labels
                .extend(labels[i * width..][..length].iter().map(|&l| l as i32));
            packed.starts.push(packed.input_ids.len());
        }
        Self {
            folder,
            base,
            adapter,
            packed,
            lengths,
            bytes,
            case,
        }
    }

    /// A number of its record.
    pub(crate) fn number(&self, key: &str) -> f64 {
        self.case[key].as_f64().unwrap()
    }

    /// A setting of the optimiser.
    pub(crate) fn optim(&self, key: &str) -> f64 {
        self.case["optim"][key].as_f64().unwrap()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.case["name"].as_str().unwrap()
    }

    /// One of its folders.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether its adapter can drop inputs.
    pub(crate) fn drops(&self) -> bool {
        !self.adapter.config.targets_parameters()
    }

    /// The adapter after training.
    pub(crate) fn trained(&self) -> Adapter {
        Adapter::load(&self.folder.join("adapter_trained"), &self.base)
            .unwrap()
            .0
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let bytes = tensors.tensor(name).unwrap().data();
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    }

    /// Golden logits (B, T, V) of the unpadded positions, (ΣT, V).
    pub(crate) fn logits(&self, name: &str) -> Vec<f32> {
        let all = self.values(name);
        let width = all.len() / self.lengths.len();
        let vocabulary = self.base.checkpoint().config().vocab_size;
        let rows = self.lengths.iter().zip(all.chunks(width));
        rows.flat_map(|(length, row)| row[..length * vocabulary].to_vec())
            .collect()
    }

    pub(crate) fn numbers(&self, key: &str) -> Vec<f64> {
        self.case[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    }

    /// Golden tensors of all that trains, laid out as the adapter's parameters.
    pub(crate) fn flat(&self, prefix: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let of_tensor = |tensor: AdapterTensor| {
            let name = format!("{prefix}.{}", tensor.name);
            // torch names a magnitude's parameter by its module, the file does not.
            let values = match tensors.tensor(&name) {
                Ok(_) => self.values(&name),
                Err(_) => self.values(&format!("{name}.weight")),
            };
            tensor.from_file(&values).unwrap_or(values)
        };
        self.adapter
            .tensors()
            .into_iter()
            .flat_map(of_tensor)
            .collect()
    }

    /// How many tensors PEFT has a gradient for.
    pub(crate) fn trained_tensors(&self) -> usize {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        tensors
            .names()
            .iter()
            .filter(|name| name.starts_with("grad."))
            .count()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes)
            .unwrap()
            .tensor(name)
            .is_ok()
    }
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(
            0.0,
            |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) },
        )
}

/// Mean loss per supervised token.
pub(crate) fn mean(losses: &[SequenceLoss]) -> f64 {
    losses.iter().map(|l| l.nll).sum::<f64>()
        / losses.iter().map(|l| l.tokens).sum::<usize>() as f64
}

fn integers(tensors: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b))
        .collect()
}

/// Targets by name.
pub fn list(names: &[&str]) -> TargetModules {
    TargetModules::List(names.iter().map(|name| (*name).to_owned()).collect())
}

/// How many modules of a case's base a config's adapter has, or why it is refused.
pub fn targeted(golden: &Golden, config: LoraConfig) -> Result<usize, String> {
    let adapter = Adapter::init(config, &golden.base, 1);
    adapter.map(|a| a.modules.len()).map_err(|e| e.to_string())
}

//! The golden cases, and what every route must make of them: PEFT's logits, losses, gradients and AdamW trajectories.
use lora_core::{Adapter, AdapterTensor};
use lora_kernels::optim::{AdamW, Moments, Step, clip_factor, global_norm};
use lora_model::{Adding, Base, Packed, Route, SequenceLoss, open_for};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;

/// Families, and what an adapter can train.
pub(crate) const CASES: [&str; 75] = [
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
    "granitemoehybrid_dense",
    "granitemoehybrid_mamba",
    "granitemoehybrid_limits",
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

    fn numbers(&self, key: &str) -> Vec<f64> {
        self.case[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    }

    /// Golden tensors of all that trains, laid out as the adapter's parameters.
    fn flat(&self, prefix: &str) -> Vec<f32> {
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
    fn trained_tensors(&self) -> usize {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        tensors
            .names()
            .iter()
            .filter(|name| name.starts_with("grad."))
            .count()
    }

    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes)
            .unwrap()
            .tensor(name)
            .is_ok()
    }
}

/// Logits of base, adapter and trained adapter within 1e-4.
pub(crate) fn check_logits(golden: &Golden, route: &mut dyn Route) {
    let trained = golden.trained();
    for (name, adapter) in [
        ("logits_base", None),
        ("logits_adapter", Some(&golden.adapter)),
        ("logits_merged", Some(&golden.adapter)),
        ("logits_trained", Some(&trained)),
    ] {
        if name == "logits_merged" && !golden.has(name) {
            continue; // PEFT's merge is another model there: the case says why
        }
        let found = route.logits(adapter, &golden.packed).unwrap();
        let worst = largest_difference(&found, &golden.logits(name));
        assert!(worst <= 1e-4, "{} {name}: {worst}", golden.case["name"]);
    }
}

/// Loss within 1e-4 relative; gradients within 1e-4 of each tensor's largest entry.
pub(crate) fn check_gradients(golden: &Golden, route: &mut dyn Route) {
    let adapter = &golden.adapter;
    let mut found = vec![0f32; adapter.params.len()];
    let scale = 1.0 / golden.packed.supervised() as f32;
    let losses = route
        .gradients(adapter, &golden.packed, None, scale, &mut found)
        .unwrap();
    let expected = golden.case["loss"].as_f64().unwrap();
    assert!(
        (mean(&losses) / expected - 1.0).abs() <= 1e-4,
        "{} {expected}",
        mean(&losses)
    );
    let without = route.losses(Some(adapter), &golden.packed).unwrap();
    for (a, b) in losses.iter().zip(&without) {
        assert!(
            (a.nll - b.nll).abs() <= 1e-4 && (a.tokens, a.correct) == (b.tokens, b.correct),
            "{a:?} {b:?}"
        );
    }
    let expected = golden.flat("grad");
    assert_eq!(adapter.tensors().len(), golden.trained_tensors());
    for tensor in adapter.tensors() {
        let (found, expected) = (&found[tensor.range.clone()], &expected[tensor.range]);
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = largest_difference(found, expected);
        assert!(
            worst <= 1e-4 * largest,
            "{}: {worst} of {largest}",
            tensor.name
        );
    }
}

/// Eight steps of AdamW with clipping follow PEFT's losses, gradient norms and end at its parameters.
pub(crate) fn check_trajectory(golden: &Golden, route: &mut dyn Route) {
    let optim = |key: &str| golden.case["optim"][key].as_f64().unwrap();
    let adamw = AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: optim("weight_decay") as f32,
    };
    let mut adapter = golden.adapter.clone();
    let n = adapter.params.len();
    let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
    let scale = 1.0 / golden.packed.supervised() as f32;
    let (losses, norms) = (golden.numbers("losses"), golden.numbers("grad_norms"));
    assert_eq!(losses.len(), 8);
    for (t, (loss, norm)) in losses.iter().zip(&norms).enumerate() {
        let mut gradients = vec![0f32; n];
        let found = mean(
            &route
                .gradients(&adapter, &golden.packed, None, scale, &mut gradients)
                .unwrap(),
        );
        assert!(
            (found / loss - 1.0).abs() <= 1e-4,
            "step {t}: {found} {loss}"
        );
        let found = global_norm(&gradients);
        assert!(
            (found / norm - 1.0).abs() <= 1e-3,
            "step {t}: norm {found} {norm}"
        );
        let clip = clip_factor(found, optim("clip"));
        let moments = Moments {
            first: &mut m,
            second: &mut v,
        };
        let step = Step {
            number: t as u64 + 1,
            lr: optim("lr"),
            clip,
        };
        adamw.step(&mut adapter.params, &gradients, moments, step);
    }
    let worst = largest_difference(&adapter.params, &golden.flat("trained"));
    assert!(worst <= 1e-3, "trained parameters: {worst}"); // a step moves a value by about lr = 1e-2
    let worst = largest_difference(
        &route.logits(Some(&adapter), &golden.packed).unwrap(),
        &golden.logits("logits_trained"),
    );
    assert!(worst <= 1e-3, "trained logits: {worst}");
}

/// A pack gives each of its sequences what the sequence gives alone, in any order; gradients add up.
pub(crate) fn check_packing(golden: &Golden, route: &mut dyn Route) {
    let (packed, adapter) = (&golden.packed, &golden.adapter);
    let n = adapter.params.len();
    let (mut together, mut apart) = (vec![0f32; n], vec![0f32; n]);
    let losses = route
        .gradients(adapter, packed, None, 1.0, &mut together)
        .unwrap();
    let logits = route.logits(Some(adapter), packed).unwrap();
    let vocabulary = logits.len() / packed.tokens();
    for (i, together) in losses.iter().enumerate() {
        let rows = packed.starts[i]..packed.starts[i + 1];
        let alone = Packed::from_rows([(
            &packed.input_ids[rows.clone()],
            &packed.labels[rows.clone()],
        )]);
        let loss = route
            .gradients(adapter, &alone, None, 1.0, &mut apart)
            .unwrap()[0];
        assert!((loss.nll - together.nll).abs() <= 1e-4 && loss.tokens == together.tokens);
        let found = route.logits(Some(adapter), &alone).unwrap();
        let worst = largest_difference(
            &found,
            &logits[rows.start * vocabulary..rows.end * vocabulary],
        );
        assert!(worst <= 1e-5, "sequence {i}: {worst}");
    }
    let largest = together.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest_difference(&together, &apart) <= 1e-5 * largest);
}

/// Packs without rows, without supervision, or with ids from elsewhere.
pub(crate) fn check_edges(golden: &Golden, route: &mut dyn Route) {
    let adapter = &golden.adapter;
    let mut gradients = vec![0f32; adapter.params.len()];
    let empty = Packed {
        starts: vec![0],
        ..Packed::default()
    };
    assert!(route.losses(Some(adapter), &empty).unwrap().is_empty());
    assert!(route.logits(None, &empty).unwrap().is_empty());
    let unsupervised = Packed::from_rows([
        (&[5u32, 6, 7][..], &[9i32, -100, -100][..]),
        (&[8][..], &[8][..]),
    ]);
    let losses = route
        .gradients(adapter, &unsupervised, None, 1.0, &mut gradients)
        .unwrap();
    assert_eq!(losses, [SequenceLoss::default(); 2]);
    assert!(gradients.iter().all(|&g| g == 0.0));
    let vocabulary = golden.base.config().vocab_size as u32;
    let elsewhere = Packed::from_rows([(&[vocabulary, 6][..], &[-100i32, 6][..])]);
    assert!(
        route
            .losses(None, &elsewhere)
            .unwrap_err()
            .to_string()
            .contains(&vocabulary.to_string())
    );
}

/// Dropout: the same (seed, step) gives the same gradients, another step gives others, and both differ from none. Beside
/// parameters of a mixture it is refused.
pub(crate) fn check_dropout(golden: &Golden, route: &mut dyn Route) {
    if !golden.drops() {
        let dropout = lora_model::Dropout {
            p: 0.3,
            seed: 7,
            step: 1,
        };
        let mut gradients = vec![0f32; golden.adapter.params.len()];
        let (adapter, packed) = (&golden.adapter, &golden.packed);
        let refused = route.gradients(adapter, packed, Some(dropout), 1.0, &mut gradients);
        assert!(refused.unwrap_err().to_string().contains("no dropout"));
        return;
    }
    let mut run = |dropout| {
        let mut gradients = vec![0f32; golden.adapter.params.len()];
        route
            .gradients(
                &golden.adapter,
                &golden.packed,
                dropout,
                1.0,
                &mut gradients,
            )
            .unwrap();
        gradients
    };
    let dropout = |step| {
        Some(lora_model::Dropout {
            p: 0.3,
            seed: 7,
            step,
        })
    };
    let (first, again, next, none) = (run(dropout(1)), run(dropout(1)), run(dropout(2)), run(None));
    assert_eq!(first, again);
    assert_ne!(first, next);
    assert_ne!(first, none);
    assert_eq!(
        run(Some(lora_model::Dropout {
            p: 0.0,
            seed: 7,
            step: 1
        })),
        none
    );
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

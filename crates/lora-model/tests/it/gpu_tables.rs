//! What trains at the embedding, at the head and at whole linear layers on a GPU, beside the CPU's route: on decoders where golden
//! cases don't have it, in pieces of a batch, beside blocks, and one adapter after another.
use crate::golden::{Golden, list};
use crate::gpu::device;
use crate::gpu_beside_cpu::check_adapter;
use crate::gpu_mixtures::{check_memory_of, packed};
use lora_checkpoint::{Checkpoint, Error, GgufDtype, ModelConfig, save_gguf};
use lora_core::{Adapter, Init, LoraConfig, TargetModules, TokenIndices};
use lora_gpu::Precision;
use lora_model::{Base, Dropout, FullModel, Fused, Generate as _, GpuBase, OnGpu, Packed, Route};

const DROPOUT: Dropout = Dropout {
    p: 0.3,
    seed: 7,
    step: 3,
};

/// An adapter whose B is not zero.
fn adapter(base: &Base, config: LoraConfig) -> Adapter {
    let mut adapter = Adapter::init(config, base, 3).unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += 0.02 * (i as f32 * 0.37).sin();
    }
    adapter
}

fn lora(names: &[&str]) -> LoraConfig {
    LoraConfig::new(3, 6.0, list(names))
}

const TABLES: [&str; 3] = ["embed_tokens", "lm_head", "o_proj"];

/// LoRA on both tables, plain and otherwise.
fn on_tables() -> Vec<(&'static str, LoraConfig)> {
    vec![
        ("LoRA", lora(&TABLES)),
        (
            "DoRA",
            LoraConfig {
                use_dora: true,
                ..lora(&TABLES)
            },
        ),
        (
            "biases on B",
            LoraConfig {
                lora_bias: true,
                ..lora(&["lm_head", "o_proj"])
            },
        ),
        (
            "PiSSA",
            LoraConfig {
                init: Init::Pissa(None),
                ..lora(&["lm_head"])
            },
        ),
        (
            "PiSSA with DoRA",
            LoraConfig {
                init: Init::Pissa(None),
                use_dora: true,
                ..lora(&["lm_head"])
            },
        ),
    ]
}

/// Rows of both tables, of tokens that are in the case's batch and of one that may not be.
fn on_rows(base: &Base, packed: &Packed) -> Vec<(&'static str, LoraConfig)> {
    let vocabulary = base.config().vocab_size;
    let mut rows: Vec<usize> = packed.input_ids.iter().map(|&id| id as usize).collect();
    rows.push(vocabulary - 1);
    rows.sort_unstable();
    rows.dedup();
    rows.truncate(4);
    rows.reverse();
    let with = |indices| LoraConfig {
        trainable_token_indices: indices,
        ..lora(&["o_proj"])
    };
    let of_both = |head: &[usize]| {
        let named = [
            ("embed_tokens".to_owned(), rows.clone()),
            ("lm_head".to_owned(), head.to_vec()),
        ];
        with(TokenIndices::Modules(named.to_vec()))
    };
    vec![
        ("rows", with(TokenIndices::Embedding(rows.clone()))),
        ("rows apart", of_both(&rows[1..])),
    ]
}

/// Decoders with factors on embeddings and logits, caps, norms with 1 added, and a head of its own.
const CASES: [&str; 5] = [
    "gemma2_capped",
    "granite_multipliers",
    "cohere2_norms",
    "falcon_h1_tied",
    "tokens_untied",
];

fn each_way(base: &Base, of: (&Packed, &str), configs: Vec<(&'static str, LoraConfig)>) {
    let (packed, name) = of;
    for (what, config) in configs {
        let adapter = adapter(base, config);
        for dropout in [None, Some(DROPOUT)] {
            let run = (&adapter, packed, dropout);
            check_adapter(base, run, &format!("{name}, {what}"), |_| ());
        }
        check_texts(base, &adapter, packed);
    }
}

/// Generation counts what trains at the tables, too.
fn check_texts(base: &Base, adapter: &Adapter, packed: &Packed) {
    let starts = packed.starts.windows(2);
    let texts: Vec<&[u32]> = starts.map(|w| &packed.input_ids[w[0]..w[1]]).collect();
    let mut route = OnGpu::new(base, device(Precision::F32), Some(adapter)).unwrap();
    let found = route.generate(Some(adapter), &texts, 5, &[]).unwrap();
    let mut fused = Fused::new(base, 2).unwrap();
    let expected = fused.generate(Some(adapter), &texts, 5, &[]).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn lora_on_tables_is_the_cpus() {
    for name in CASES {
        let golden = Golden::open(name);
        each_way(&golden.base, (&golden.packed, name), on_tables());
    }
}

#[test]
fn rows_of_tables_are_the_cpus() {
    for name in CASES {
        let golden = Golden::open(name);
        let configs = on_rows(&golden.base, &golden.packed);
        each_way(&golden.base, (&golden.packed, name), configs);
    }
}

/// Plain LoRA, or DoRA, beside linear layers that train as a whole.
fn saving(names: &[&str], use_dora: bool) -> LoraConfig {
    let targets = r".*\.(q_proj|up_proj|w3|c_fc)".to_owned();
    LoraConfig {
        modules_to_save: names.iter().map(|name| (*name).to_owned()).collect(),
        use_dora,
        ..LoraConfig::new(3, 6.0, TargetModules::Regex(targets))
    }
}

/// Alone in their group and among others, with biases, with factors around them, with norms of outputs, beside layers that keep
/// a state, beside DoRA in the same group; the base alone is itself again afterwards.
#[test]
fn whole_linear_layers_are_the_cpus() {
    for (name, saved) in [
        ("qwen2_bias_all_linear", &["k_proj", "down_proj"][..]),
        ("seed_oss_biases", &["v_proj", "o_proj"]),
        ("gemma2_capped", &["gate_proj", "o_proj"]),
        ("granite_multipliers", &["v_proj", "down_proj"]),
        ("falcon_h1_tied", &["k_proj", "gate_proj", "down_proj"]),
        ("starcoder2_biases", &["c_proj", "v_proj"]),
        ("lfm2_tied", &["w1", "w2"]),
    ] {
        let golden = Golden::open(name);
        let base = &golden.base;
        for use_dora in [false, true] {
            let adapter = adapter(base, saving(saved, use_dora));
            assert!(adapter.trained.len() >= saved.len(), "{name}");
            for dropout in [None, Some(DROPOUT)] {
                let run = (&adapter, &golden.packed, dropout);
                check_adapter(base, run, name, |_| ());
            }
            let mut route = OnGpu::new(base, device(Precision::F32), Some(&adapter)).unwrap();
            let alone = route.logits(None, &golden.packed).unwrap();
            assert_ne!(route.logits(Some(&adapter), &golden.packed).unwrap(), alone);
            assert_eq!(route.logits(None, &golden.packed).unwrap(), alone);
        }
    }
}

/// Of adapters that train other things at the same places none leaves anything to the next.
#[test]
fn one_after_another_each_gives_the_bits_that_it_gives_alone() {
    for name in ["embed_head_dora", "tokens_tied", "granite_multipliers"] {
        let golden = Golden::open(name);
        let (base, packed) = (&golden.base, &golden.packed);
        let mut configs = on_tables();
        configs.extend(on_rows(base, packed));
        configs.push(("whole", saving(&["lm_head", "down_proj"], false)));
        let all: Vec<Adapter> = configs
            .into_iter()
            .map(|(_, config)| adapter(base, config))
            .collect();
        let new = || OnGpu::new(base, device(Precision::Bf16), None).unwrap();
        let learn = |route: &mut OnGpu<'_>, adapter: &Adapter| {
            let mut flat = vec![0.0; adapter.params.len()];
            let losses = route.gradients(adapter, packed, None, 0.1, &mut flat);
            (losses.unwrap(), flat)
        };
        let alone: Vec<_> = all.iter().map(|own| learn(&mut new(), own)).collect();
        let mut route = new();
        for _ in 0..2 {
            for (own, expected) in all.iter().zip(&alone) {
                assert_eq!(learn(&mut route, own), *expected, "{name}");
            }
        }
    }
}

/// More rows than the head computes at once: what is dropped in later ones is what the CPU drops there.
#[test]
fn the_heads_rows_in_pieces_are_the_cpus() {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 24, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": true,
    });
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let shape = ModelConfig::from_json(&path).unwrap();
    FullModel::random(shape, 5)
        .unwrap()
        .save(folder.path(), false)
        .unwrap();
    let base = Base::open(folder.path()).unwrap();
    let rows: Vec<Vec<u32>> = (0..90)
        .map(|row| (0..50).map(|i| (row * 7 + i * i * 5 + i) % 24).collect())
        .collect();
    let labels = |ids: &Vec<u32>| ids.iter().map(|&id| id as i32).collect::<Vec<_>>();
    let rows: Vec<_> = rows.into_iter().map(|ids| (labels(&ids), ids)).collect();
    let packed = Packed::from_rows(rows.iter().map(|(labels, ids)| (&ids[..], &labels[..])));
    assert!(packed.supervised() > 4096, "{}", packed.supervised());
    let mut configs = on_tables();
    configs.extend(on_rows(&base, &packed));
    for (what, config) in configs {
        let adapter = adapter(&base, config);
        let dropout = Some(DROPOUT);
        check_adapter(&base, (&adapter, &packed, dropout), what, |_| ());
    }
}

/// A base of tables and linear layers in blocks.
fn in_blocks(dtype: GgufDtype) -> (tempfile::TempDir, Base) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");
    let folder = tempfile::tempdir().unwrap();
    let model = Checkpoint::open(root.as_ref()).unwrap();
    let path = folder.path().join("model.gguf");
    save_gguf(&path, &model, dtype, "m", |_| Ok::<(), Error>(())).unwrap();
    let base = Base::open(&path).unwrap();
    (folder, base)
}

#[test]
fn beside_blocks_they_are_the_cpus_and_take_what_was_predicted() {
    for (dtype, bytes) in [(GgufDtype::Q8_0, 34), (GgufDtype::Q4_0, 18)] {
        let (_folder, base) = in_blocks(dtype);
        let packed = packed(&base);
        let mut configs = on_tables();
        configs.extend(on_rows(&base, &packed));
        configs.push(("whole", saving(&["lm_head", "k_proj", "down_proj"], false)));
        for (what, config) in configs {
            let adapter = adapter(&base, config);
            for dropout in [None, Some(DROPOUT)] {
                let run = (&adapter, &packed, dropout);
                check_adapter(&base, run, what, |route| assert!(route.holds_blocks()));
                let of_shapes = GpuBase::Blocks { values: 32, bytes };
                let planned = match dtype {
                    GgufDtype::Q8_0 => [GpuBase::Files(&base), of_shapes],
                    _ => [GpuBase::Files(&base); 2], // tables in other blocks
                };
                check_memory_of(&base, (&adapter, dropout), &packed, planned, what);
            }
        }
    }
}

#[test]
fn a_step_takes_what_was_predicted() {
    for name in CASES {
        let golden = Golden::open(name);
        let (base, packed) = (&golden.base, &golden.packed);
        let mut configs = on_tables();
        configs.extend(on_rows(base, packed));
        configs.push(("whole", saving(&["lm_head", "v_proj"], true)));
        for (what, config) in configs {
            let adapter = adapter(base, config);
            for dropout in [None, Some(DROPOUT)] {
                let planned = [GpuBase::Files(base), GpuBase::Dense];
                let what = format!("{name}, {what}");
                check_memory_of(base, (&adapter, dropout), packed, planned, &what);
            }
        }
    }
}

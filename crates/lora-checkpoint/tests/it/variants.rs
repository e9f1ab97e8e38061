//! Attention layers that differ beside windows: heads of another width, keys and values of earlier layers, inputs of each layer.
use crate::support::{config_with, keep, model};
use lora_checkpoint::{
    Checkpoint, GgufDtype, Heads, ModelConfig, PerLayer, Projection, RopeScaling, Vocabulary,
    save_gguf,
};
use lora_testkit::{Told as _, floats, golden, json as read_json};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

fn config(changes: Value) -> Value {
    let mut all = json!({"model_type": "gemma4_text", "num_hidden_layers": 4, "sliding_window": 8, "global_head_dim": 24,
        "hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 400, "rope_parameters": null,
        "layer_types": [SLIDING, FULL, SLIDING, FULL]});
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    config_with(all)
}

fn parse(changes: Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config(changes).to_string()).unwrap();
    ModelConfig::from_json(&path).map_err(|e| e.told())
}

#[test]
fn keys_of_full_layers_say_what_transformers_takes_them_for() {
    let heads = |changes: Value| {
        let config = parse(changes).unwrap();
        [0, 1].map(|layer| config.heads_of(layer))
    };
    let of = |kv, width| Heads { kv, width };
    let usual = of(2, 16);
    assert_eq!(heads(json!({})), [usual, of(2, 24)]);
    let without_key = config_with(json!({"model_type": "gemma4_text", "rope_parameters": null}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, without_key.to_string()).unwrap();
    let defaults = ModelConfig::from_json(&path).unwrap();
    assert_eq!(defaults.heads_of(defaults.num_hidden_layers - 1).width, 512);
    assert_eq!(
        defaults.per_layer(),
        Some(PerLayer {
            width: 256,
            vocabulary: 262_144
        })
    );
    assert_eq!(defaults.layers[0].window, Some(512));
    // The number of heads is read where keys are values, and nowhere else.
    assert_eq!(
        heads(json!({"num_global_key_value_heads": 1})),
        [usual, of(2, 24)]
    );
    let keys = json!({"num_global_key_value_heads": 1, "attention_k_eq_v": true});
    assert_eq!(heads(keys), [usual, of(1, 24)]);
    let named = json!({"global_head_dim": null, "per_layer_config": {}});
    assert!(
        parse(named)
            .unwrap_err()
            .contains("global_head_dim is null")
    );
    // transformers pads the numbers of layers.
    let padded = json!({"global_head_dim": null, "per_layer_config": {"01": {"head_dim": 32}, "03": {"head_dim": 32}}});
    let mut padded = config(padded);
    padded.as_object_mut().unwrap().remove("global_head_dim");
    std::fs::write(&path, padded.to_string()).unwrap();
    assert_eq!(
        ModelConfig::from_json(&path).unwrap().heads_of(3),
        of(2, 32)
    );
    let said = json!({"1": {"head_dim": 32, "num_key_value_heads": 4}, "3": {"head_dim": 32, "num_key_value_heads": 4}});
    let error = parse(json!({"per_layer_config": said})).unwrap_err();
    assert!(
        error.contains("global_head_dim") && error.contains("per_layer_config"),
        "{error}"
    );
}

#[test]
fn what_would_change_the_model_is_refused() {
    let own = |layer: &str| json!({"per_layer_config": {layer: {"head_dim": 24}}});
    let cases = [
        (json!({"enable_moe_block": true}), "enable_moe_block"),
        (
            json!({"use_bidirectional_attention": "all"}),
            "use_bidirectional_attention",
        ),
        (
            json!({"num_kv_shared_layers": 4}),
            "num_kv_shared_layers is 4",
        ),
        (
            json!({"num_kv_shared_layers": 3}),
            "reads keys and values of an earlier layer",
        ),
        (
            json!({"vocab_size_per_layer_input": 299}),
            "vocab_size_per_layer_input 299",
        ),
        (
            json!({"hidden_size_per_layer_input": 1_000_000_000}),
            "hidden_size_per_layer_input",
        ),
        (own("1"), "other layers of its kind"),
        (own("7"), "no layer"),
        (
            json!({"per_layer_config": {"1": {}, "01": {}}}),
            "stands there twice",
        ),
        (
            json!({"per_layer_config": {"1": {"num_attention_heads": 2}}}),
            "not supported",
        ),
        (json!({"per_layer_config": {"1": 5}}), "expected an object"),
        (json!({"global_head_dim": 23}), "23 is odd"),
        (
            json!({"query_pre_attn_scalar": 16}),
            "query_pre_attn_scalar",
        ),
        (json!({"rope_theta": 5.0}), "rope_theta stands beside"),
        (
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
            "rope_scaling stands beside",
        ),
        (
            json!({"rope_parameters": {FULL: {"rope_type": "default"}}}),
            "has no sliding_attention",
        ),
        (
            json!({"rope_parameters": {SLIDING: {"rope_type": "default"},
                FULL: {"rope_type": "default", "partial_rotary_factor": 0.5}}}),
            "partial_rotary_factor",
        ),
        (
            json!({"rope_parameters": {SLIDING: {"rope_type": "default"},
                FULL: {"rope_type": "proportional", "partial_rotary_factor": 1.5}}}),
            "partial_rotary_factor",
        ),
    ];
    for (changes, said) in cases {
        let error = parse(changes.clone()).expect_err(&changes.to_string());
        assert!(error.contains(said), "{changes}: {error}");
    }
    // Between images alone.
    parse(json!({"use_bidirectional_attention": "vision"})).unwrap();
    for key in [
        "num_kv_shared_layers",
        "hidden_size_per_layer_input",
        "global_head_dim",
    ] {
        let error = parse_other(json!({key: 3}));
        assert!(
            error.contains("transformers would ignore it"),
            "{key}: {error}"
        );
    }
}

fn parse_other(changes: Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config_with(changes).to_string()).unwrap();
    ModelConfig::from_json(&path).unwrap_err().told()
}

#[test]
fn the_last_layer_never_slides_and_rotates_in_proportion() {
    let config = parse(json!({"layer_types": vec![SLIDING; 4]})).unwrap();
    let windows: Vec<_> = config.layers.iter().map(|layer| layer.window).collect();
    assert_eq!(windows, [Some(8), Some(8), Some(8), None]);
    // A quarter of 12 pairs; the others stay.
    assert_eq!(
        config.ropes[0].scaling,
        RopeScaling::Proportional {
            pairs: 3,
            factor: 1.0
        }
    );
    let turning = config.ropes[0].inverse_frequencies(0);
    assert_eq!(turning.len(), 12);
    assert!((turning[1] - 1e6f32.powf(-2.0 / 24.0)).abs() < 1e-6);
    assert!(turning[3..].iter().all(|&f| f.abs() < 1e-29));
    assert_eq!(config.ropes[1].scaling, RopeScaling::None);
    assert_eq!((config.ropes[1].theta, config.ropes[1].dim), (10_000.0, 16));
}

#[test]
fn layers_that_read_others_keys_have_none() {
    let config = parse(json!({"num_kv_shared_layers": 2, "use_double_wide_mlp": true})).unwrap();
    let sources: Vec<_> = (0..4).map(|layer| config.keys_of(layer)).collect();
    assert_eq!(sources, [None, None, Some(0), Some(1)]);
    assert!(config.shares_keys(0) && !config.shares_keys(2));
    let of = |layer| config.projections_of(layer);
    use Projection::{Down, Gate, K, O, PerLayerGate, PerLayerModel, PerLayerOut, Q, Up, V};
    let own = [Q, K, V, O, Gate, Up, Down, PerLayerGate, PerLayerOut];
    assert_eq!(of(1), own);
    assert_eq!(of(0), [&[PerLayerModel], &own[..]].concat());
    assert_eq!(of(3), [Q, O, Gate, Up, Down, PerLayerGate, PerLayerOut]);
    assert_eq!(config.mlp_width(3), 2 * config.mlp_width(0));
    assert_eq!(config.shape(0, PerLayerModel), (4 * 6, 64));
    let keys = parse(json!({"attention_k_eq_v": true})).unwrap();
    assert!(!keys.projections_of(1).contains(&V) && keys.projections_of(0).contains(&V));
}

/// Published files hold keys and values of layers that read others': transformers leaves them, too.
#[test]
fn keys_of_sharing_layers_stay_unread() {
    let base = golden("gemma4_shared").join("base");
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(base.join("config.json"), dir.path().join("config.json")).unwrap();
    let write = |layer: usize| {
        let mut tensors = floats(&base.join("model.safetensors"));
        for name in ["k_proj", "v_proj", "k_norm"] {
            let name = format!("model.layers.{layer}.self_attn.{name}.weight");
            tensors.retain(|(own, ..)| *own != name);
            tensors.push((name, vec![3], vec![1.0; 3]));
        }
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .into_iter()
            .map(|(name, shape, values)| {
                let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
        Checkpoint::open(dir.path())
    };
    let opened = write(4).unwrap();
    assert!(
        opened
            .tensor_names()
            .iter()
            .all(|name| !name.contains("layers.4.self_attn.k"))
    );
    assert!(write(1).unwrap_err().to_string().contains("has shape [3]"));
}

#[test]
fn the_text_part_of_a_model_with_towers_opens() {
    let base = golden("gemma4_shared").join("base");
    let text = read_json(&base.join("config.json"));
    let whole = json!({"model_type": "gemma4", "text_config": text, "vision_config": {}, "audio_config": null});
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), whole.to_string()).unwrap();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = floats(&base.join("model.safetensors"))
        .into_iter()
        .map(|(name, shape, values)| {
            let name = name.replacen("model.", "model.language_model.", 1);
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            (name, shape, bytes)
        })
        .chain([(
            "model.vision_tower.x.weight".to_owned(),
            vec![1],
            vec![0; 4],
        )])
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    let (opened, own) = (
        Checkpoint::open(dir.path()).unwrap(),
        Checkpoint::open(&base).unwrap(),
    );
    assert_eq!(opened.config(), own.config());
    assert_eq!(opened.tensor_names(), own.tensor_names());
}

#[test]
fn what_llama_cpp_shares_or_holds_otherwise_is_refused_or_said() {
    let save = |changes: Value| {
        let (dir, source) = model(&config(changes));
        save_gguf(
            &dir.path().join("m.gguf"),
            &source,
            GgufDtype::F32,
            "m",
            keep,
        )
        .map_err(|error| error.told())
    };
    let table = json!({"vocab_size_per_layer_input": 300});
    assert!(save(table.clone()).unwrap().is_empty());
    let said = save(json!({})).unwrap();
    assert!(
        said.len() == 1 && said[0].contains("more rows than the vocabulary"),
        "{said:?}"
    );
    let refusals = [
        (
            json!({"layer_types": [FULL, SLIDING, FULL, FULL], "num_kv_shared_layers": 2}),
            "shares the keys",
        ),
        (json!({"layer_types": vec![FULL; 4]}), "no sliding window"),
        (
            json!({"rope_parameters": {SLIDING: {"rope_type": "linear", "factor": 2.0},
                FULL: {"rope_type": "proportional"}}}),
            "no scaling for sliding layers",
        ),
    ];
    for (changes, what) in refusals {
        let error = save(changes.clone()).expect_err(&changes.to_string());
        assert!(error.contains(what), "{changes}: {error}");
    }
}

#[test]
fn a_table_of_the_layers_gets_no_rows() {
    let model = Checkpoint::open(&golden("gemma4_per_layer").join("base")).unwrap();
    let rows = model.config().vocab_size;
    let added = |rows| Vocabulary {
        rows,
        tokens: BTreeMap::new(),
        tokenizer: None,
        embedding: None,
        head: None,
    };
    let refusal = model.with_vocabulary(added(rows + 2)).unwrap_err().told();
    assert!(refusal.contains("embed_tokens_per_layer"), "{refusal}");
    assert!(refusal.contains("<unused0>"), "{refusal}");
    let model = Checkpoint::open(&golden("gemma4_per_layer").join("base")).unwrap();
    assert!(model.with_vocabulary(added(rows)).is_ok());
}

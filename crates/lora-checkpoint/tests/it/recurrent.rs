//! Layers that keep a state: which layers they are, what their weights are called, and the orders and forms that GGUF gives
//! these.
use crate::support::{config_with, keep, model, parse, write_folder};
use lora_checkpoint::{
    Checkpoint, GgufDtype, GgufTensor, Mixer, ModelConfig, Projection, gguf, save_gguf, write_gguf,
};
use lora_testkit::Told as _;
use serde_json::{Value, json};
use std::path::Path;

/// Two key heads of 8, six value heads of 16: rows of the output's projection have 96 columns, which are no whole heads of
/// a block.
fn grouped(more: Value) -> Value {
    let mut all = json!({"model_type": "qwen3_5_text", "num_hidden_layers": 4, "linear_num_key_heads": 2,
        "linear_num_value_heads": 6, "linear_key_head_dim": 8, "linear_value_head_dim": 16});
    let own = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(own);
    config_with(all)
}

fn mixers(config: &ModelConfig) -> String {
    let letter = |mixer| match mixer {
        Mixer::Attention => 'a',
        Mixer::Delta => 'd',
        Mixer::ShortConv => 'c',
        Mixer::Mamba => 'm',
    };
    config.layers.iter().map(|l| letter(l.mixer)).collect()
}

#[test]
fn layers_are_those_that_the_file_names_or_every_fourth() {
    let plain = parse(&grouped(json!({}))).unwrap();
    assert_eq!(mixers(&plain), "ddda");
    assert_eq!(plain.ropes[0].dim, 4, "a quarter of a head");
    let every = parse(&grouped(json!({"full_attention_interval": 2}))).unwrap();
    assert_eq!(mixers(&every), "dada");
    let kinds = [
        "full_attention",
        "linear_attention",
        "linear_attention",
        "full_attention",
    ];
    let named = parse(&grouped(json!({"layer_types": kinds}))).unwrap();
    assert_eq!(mixers(&named), "adda");
    for (bad, said) in [
        (
            json!({"layer_types": ["full_attention", "sliding_attention", "linear_attention", "linear_attention"]}),
            "sliding_attention",
        ),
        (
            json!({"full_attention_interval": 0}),
            "full_attention_interval is 0",
        ),
        (
            json!({"linear_num_value_heads": 5}),
            "not a multiple of linear_num_key_heads",
        ),
        (
            json!({"linear_key_head_dim": 0}),
            "linear_key_head_dim is 0",
        ),
        (json!({"linear_conv_kernel_dim": 100_000}), "absurdly large"),
        (json!({"attn_output_gate": false}), "attn_output_gate"),
        (
            json!({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
            "depends on the length",
        ),
    ] {
        let error = parse(&grouped(bad)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_layer_has_the_weights_of_its_kind() {
    let config = parse(&grouped(json!({}))).unwrap();
    let names: Vec<String> = config.weights().into_iter().map(|(name, _)| name).collect();
    let has = |name: &str| names.iter().any(|own| own == name);
    for (layer, name, is_there) in [
        (0, "linear_attn.in_proj_qkv.weight", true),
        (0, "linear_attn.A_log", true),
        (0, "self_attn.q_proj.weight", false),
        (0, "self_attn.q_norm.weight", false),
        (3, "linear_attn.conv1d.weight", false),
        (3, "self_attn.q_proj.weight", true),
        (3, "self_attn.k_norm.weight", true),
    ] {
        let name = format!("model.layers.{layer}.{name}");
        assert_eq!(has(&name), is_there, "{name}");
    }
    assert_eq!(config.shape(3, Projection::QGate), (2 * 64, 64));
    assert_eq!(config.shape(0, Projection::DeltaQkv), (2 * 16 + 96, 64));
}

/// Names and values of a folder's weights; then other tensors beside them, which the predictor of further tokens has.
#[test]
fn the_predictor_stays_unread() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = grouped(json!({}));
    write_folder(dir.path(), &config);
    let file = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let write = |rename: &dyn Fn(&str) -> String| {
        let extra = "mtp.layers.0.mlp.up_proj.weight";
        let own = read.iter().map(|(name, view)| (rename(name), view));
        let up = read.tensor("model.layers.0.mlp.up_proj.weight").unwrap();
        let all: Vec<_> = own.chain([(extra.to_owned(), up)]).collect();
        std::fs::write(&file, safetensors::serialize(all, None).unwrap()).unwrap();
    };
    write(&str::to_owned);
    assert!(Checkpoint::open(dir.path()).is_ok());
    // The same among the other towers of the whole model.
    write(&|name| match name.strip_prefix("model.") {
        Some(inner) => format!("model.language_model.{inner}"),
        None => name.to_owned(),
    });
    config = json!({"model_type": "qwen3_5", "text_config": config, "vision_config": {}});
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(opened.config().family.facts().model_type, "qwen3_5_text");
    // Other families have no such thing.
    let (other, _) = model(&config_with(json!({})));
    let (from, to) = (&file, other.path().join("model.safetensors"));
    std::fs::copy(from, to).unwrap();
    assert!(Checkpoint::open(other.path()).is_err());
}

#[test]
fn value_heads_lie_by_their_place_in_the_group() {
    let config = parse(&grouped(json!({}))).unwrap();
    let name = |part: &str| format!("model.layers.0.linear_attn.{part}.weight");
    // reshape(2 key heads, 3 heads).T of llama.cpp's converter
    let b = gguf::rows_in_gguf(
        &config,
        &name("in_proj_b"),
        &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        1,
    );
    assert_eq!(b, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let rows: Vec<f32> = (0..128).map(|row| row as f32).collect();
    let qkv = gguf::rows_in_gguf(&config, &name("in_proj_qkv"), &rows, 1);
    assert_eq!(qkv[..32], rows[..32], "queries and keys stay");
    assert_eq!(
        (qkv[32], qkv[48], qkv[64]),
        (32.0, 32.0 + 48.0, 32.0 + 16.0)
    );
    let back = gguf::rows_from_gguf(&config, &name("in_proj_qkv"), &qkv, 1);
    assert_eq!(back, rows);
    let columns: Vec<f32> = (0..192).map(|column| column as f32).collect();
    let out = gguf::permute_columns(&config, &name("out_proj"), &columns, 96);
    assert_eq!((out[16], out[32], out[96 + 16]), (48.0, 16.0, 96.0 + 48.0));
    let back = gguf::restore_columns(&config, &name("out_proj"), &out, 96);
    assert_eq!(back, columns);
    assert_eq!(
        gguf::rows_in_gguf(&config, &name("out_proj"), &rows, 2),
        rows
    );
}

/// Heads of 16 columns in blocks of 32: parts of a row come out of blocks that hold parts of two heads.
#[test]
fn parts_of_rows_are_those_of_whole_rows_in_blocks_across_heads() {
    let (dir, source) = model(&grouped(json!({})));
    let path = dir.path().join("m.gguf");
    for dtype in [GgufDtype::Q8_0, GgufDtype::Q4_0, GgufDtype::F16] {
        save_gguf(&path, &source, dtype, "m", keep).unwrap();
        let stored = Checkpoint::open(&path).unwrap();
        for name in stored.tensor_names() {
            let view = stored.tensor(&name).unwrap();
            if view.shape().len() != 2 {
                continue;
            }
            let whole = view.to_f32();
            let close = source.tensor(&name).unwrap().to_f32();
            let most = close.iter().fold(0f32, |m, v| m.max(v.abs()));
            // Steps of Q4_0 are an eighth of a block's largest value, of which no other sign goes beyond seven.
            let allowed = if dtype == GgufDtype::Q4_0 {
                0.126
            } else {
                0.01
            };
            let pairs = whole.iter().zip(&close);
            let worst = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= allowed * most, "{name} {dtype:?}: {worst}");
            let columns = view.columns();
            let unit = view.unit().max(8);
            let mut part = vec![0.0; unit];
            for row in [0, view.rows() - 1] {
                for column in (0..columns / unit).map(|i| i * unit) {
                    view.read_part(row, column, &mut part);
                    let at = row * columns + column;
                    assert_eq!(part, whole[at..at + unit], "{name} {dtype:?}");
                }
            }
        }
    }
}

#[test]
fn gguf_has_attention_in_every_so_many_th_layer() {
    let kinds = ["linear_attention", "full_attention", "full_attention"];
    let (dir, source) = model(&grouped(
        json!({"num_hidden_layers": 3, "layer_types": kinds}),
    ));
    let path = dir.path().join("m.gguf");
    let error = save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap_err();
    assert!(error.told().contains("every so many-th layer"), "{error}");
}

#[test]
fn keys_and_values_of_two_widths_are_said() {
    let (dir, source) = model(&grouped(json!({})));
    let said = save_gguf(
        &dir.path().join("m.gguf"),
        &source,
        GgufDtype::F32,
        "m",
        keep,
    )
    .unwrap();
    assert!(said[0].contains("llama.cpp will not load"), "{said:?}");
    assert_eq!(said.len(), 1);
}

/// The file again, with one tensor's values changed.
fn with_rates(path: &Path, rate: f32) {
    let file = gguf::GgufFile::open(path).unwrap();
    let metadata: Vec<_> = file
        .all_metadata()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    let names: Vec<&str> = file.tensor_names().collect();
    let tensors: Vec<GgufTensor> = names
        .iter()
        .map(|name| GgufTensor {
            name: (*name).to_owned(),
            shape: file.tensor(name).unwrap().shape().to_vec(),
            dtype: GgufDtype::F32,
        })
        .collect();
    let changed = path.with_extension("changed");
    write_gguf(&changed, &metadata, &tensors, |index, first, rows| {
        file.tensor(names[index]).unwrap().read_rows(first, rows);
        if names[index].ends_with("ssm_a") {
            rows[1] = rate;
        }
        Ok::<_, lora_checkpoint::Error>(())
    })
    .unwrap();
    std::fs::rename(changed, path).unwrap();
}

#[test]
fn a_rate_that_is_not_negative_is_refused() {
    let (dir, source) = model(&grouped(json!({"linear_value_head_dim": 8})));
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
    with_rates(&path, -0.25);
    let name = "model.layers.0.linear_attn.A_log";
    let log = Checkpoint::open(&path)
        .unwrap()
        .tensor(name)
        .unwrap()
        .to_f32();
    assert!((log[3] - 0.25f32.ln()).abs() < 1e-6, "{log:?}"); // the first head of the second key head lies second
    for rate in [0.0, 0.25] {
        with_rates(&path, rate);
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(error.told().contains("not negative"), "{error}");
    }
}

/// A model of four layers, three of which are short convolutions.
fn short(more: Value) -> Value {
    let mut all = json!({"model_type": "lfm2", "num_hidden_layers": 4, "full_attn_idxs": [2],
        "tie_word_embeddings": true});
    let own = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(own);
    config_with(all)
}

#[test]
fn short_convolutions_are_in_the_layers_that_no_list_names() {
    let plain = parse(&short(json!({}))).unwrap();
    assert_eq!(
        (mixers(&plain).as_str(), plain.short_conv.unwrap().taps),
        ("ccac", 3)
    );
    let all = parse(&short(json!({"full_attn_idxs": null}))).unwrap();
    assert_eq!(mixers(&all), "aaaa");
    let types = ["conv", "full_attention", "conv", "full_attention"];
    let named = parse(&short(json!({"layer_types": types, "conv_L_cache": 5}))).unwrap();
    assert_eq!(
        (mixers(&named).as_str(), named.short_conv.unwrap().taps),
        ("caca", 5)
    );
    assert_eq!(named.shape(0, Projection::ConvIn), (3 * 64, 64));
    // The early names go before the others.
    let early = json!({"block_ff_dim": 300, "block_multiple_of": 16, "tie_embedding": false});
    let early = parse(&short(early)).unwrap();
    assert_eq!(
        (early.intermediate_size, early.tie_word_embeddings),
        (208, false)
    );
    for (bad, said) in [
        (
            json!({"layer_types": ["conv", "linear_attention", "conv", "conv"]}),
            "linear_attention",
        ),
        (json!({"full_attn_idxs": [-1]}), "full_attn_idxs has -1"),
        (json!({"conv_L_cache": 0}), "conv_L_cache is 0"),
        (json!({"conv_L_cache": 1000}), "conv_L_cache is 1000"),
        (json!({"conv_bias": true}), "conv_bias is true"),
        (json!({"block_multiple_of": 0}), "block_multiple_of is 0"),
    ] {
        let error = parse(&short(bad)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let other = config_with(json!({"model_type": "llama", "full_attn_idxs": [0]}));
    assert!(parse(&other).unwrap_err().contains("full_attn_idxs"));
}

/// Taps lie in GGUF without their middle dimension and never in blocks; a file's list of heads says which layers they are of.
#[test]
fn a_short_convolution_lies_in_gguf_as_it_is() {
    let (dir, source) = model(&short(json!({})));
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    let stored = Checkpoint::open(&path).unwrap();
    assert_eq!(mixers(stored.config()), "ccac");
    let name = "model.layers.0.conv.conv.weight";
    let [ours, theirs] = [&stored, &source].map(|model| model.tensor(name).unwrap());
    assert_eq!(ours.shape(), theirs.shape());
    assert_eq!(ours.to_f32(), theirs.to_f32());
    let without = short(json!({"full_attn_idxs": []}));
    let (dir, source) = model(&without);
    let error = save_gguf(
        &dir.path().join("m.gguf"),
        &source,
        GgufDtype::F32,
        "m",
        keep,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("attention in some layer")
    );
}

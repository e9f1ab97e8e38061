//! gpt-oss: its keys, attention's sinks, experts turned round or in blocks of MXFP4, and their ways through both formats.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::gguf::GgufFile;
use lora_checkpoint::{
    Checkpoint, Clamp, Error, GgufDtype, RopeScaling, SaveDtype, StorageDtype, TensorView as View,
    save_folder, save_gguf,
};
use lora_testkit::{Told as _, floats, golden};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn small(more: Value) -> Value {
    let mut all = json!({"model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8});
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    config_with(all)
}

#[test]
fn experts_are_said_to_train_where_they_are_named() {
    let (_dir, model) = model(&small(json!({})));
    let [said] = model.notes() else {
        panic!("{:?}", model.notes())
    };
    assert!(
        said.contains("only where --target-parameters names them"),
        "{said}"
    );
}

fn nothing(_: &View<'_>, _: usize, _: &mut [f32]) -> Result<(), Error> {
    Ok(())
}

/// Type, shape and bytes by name.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A folder's tensors.
fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    all.map(|(name, view)| {
        let own = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, own)
    })
    .collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn values(model: &Checkpoint) -> BTreeMap<String, Vec<f32>> {
    let names = model.tensor_names().into_iter();
    names
        .map(|name| (name.clone(), model.tensor(&name).unwrap().to_f32()))
        .collect()
}

#[test]
fn absent_keys_mean_what_the_class_means() {
    let config = parse(&json!({"model_type": "gpt_oss"})).unwrap();
    let experts = config.experts.unwrap();
    assert_eq!(
        [experts.count, experts.chosen, experts.width],
        [128, 4, 2880]
    );
    let clamp = Clamp {
        alpha: 1.702,
        limit: 7.0,
    };
    assert_eq!(experts.clamp, Some(clamp));
    assert!(config.biases.qkv && config.biases.output && !config.biases.mlp);
    let windows: Vec<_> = config.layers[..3].iter().map(|l| l.window).collect();
    assert_eq!(windows, [Some(128), None, Some(128)]);
    let rope = &config.ropes[0];
    assert_eq!(rope.theta, 150_000.0);
    let RopeScaling::Yarn {
        factor,
        truncate,
        original_max_position_embeddings,
        ..
    } = rope.scaling
    else {
        panic!("{rope:?}");
    };
    assert_eq!(
        (factor, truncate, original_max_position_embeddings),
        (32.0, false, 4096)
    );
    // Published files say it in transformers 4's keys.
    let published = json!({"model_type": "gpt_oss", "rope_theta": 150000, "rope_scaling": {
        "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
        "original_max_position_embeddings": 4096}});
    assert_eq!(parse(&published).unwrap(), config);
    assert_eq!(
        config
            .weights()
            .iter()
            .find(|(name, _)| name.ends_with("sinks")),
        Some(&("model.layers.0.self_attn.sinks".to_owned(), vec![64]))
    );
}

#[test]
fn what_would_change_the_model_is_refused() {
    for (changes, message) in [
        (json!({"swiglu_limit": 0.0}), "swiglu_limit is 0"),
        (json!({"swiglu_alpha": -1.0}), "swiglu_alpha is -1"),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes"}}),
            "quantization_config",
        ),
        (json!({"sliding_window": null}), "sliding_window is null"),
    ] {
        let error = parse(&small(changes)).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    // Another family has no such blocks.
    let llama = json!({"quantization_config": {"quant_method": "mxfp4"}});
    let error = parse(&config_with(llama)).unwrap_err();
    assert!(error.contains("quantization_config"), "{error}");
    let llama = parse(&config_with(json!({"swiglu_limit": 7.0}))).unwrap_err();
    assert!(llama.contains("swiglu_limit"), "{llama}");
}

/// What llama.cpp has in one way alone, or does not load.
#[test]
fn gguf_holds_what_llama_cpp_computes() {
    let written = |changes: Value| {
        let (dir, source) = model(&small(changes));
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).map_err(|e| e.told())
    };
    let plain = json!({"rope_type": "default", "rope_theta": 10000.0});
    assert_eq!(written(json!({})), Ok(vec![]));
    let error = written(json!({"swiglu_limit": 6.0})).unwrap_err();
    assert!(error.contains("swiglu_limit 7, this model"), "{error}");
    for (changes, said) in [
        (json!({"attention_bias": false}), "attention without biases"),
        (
            json!({"layer_types": ["full_attention", "full_attention"]}),
            "model without windows",
        ),
        (json!({"tie_word_embeddings": true}), "head that is"),
    ] {
        let mut changes = changes;
        changes["rope_parameters"] = plain.clone();
        let found = written(changes).unwrap();
        assert!(found.iter().any(|line| line.contains(said)), "{found:?}");
    }
    let yarn = |truncate: bool| {
        json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 8.0, "truncate": truncate,
            "original_max_position_embeddings": 64}})
    };
    let said = written(yarn(false)).unwrap();
    assert!(said[0].contains("llama.cpp rounds the range"), "{said:?}");
    let error = written(yarn(true)).unwrap_err();
    assert!(error.contains("truncate: true"), "{error}");
}

/// Gate i of an expert is column 2i of its matrix in the file, up i column 2i + 1; all turned round.
#[test]
fn experts_are_read_where_they_lie_turned_round() {
    for dtype in [SaveDtype::F32, SaveDtype::BF16] {
        let (dir, source) = model(&small(json!({})));
        let folder = dir.path().join("again");
        std::fs::create_dir(&folder).unwrap();
        save_folder(&folder, &source, dtype, nothing).unwrap();
        let read = Checkpoint::open(&folder).unwrap();
        let stored = tensors(&folder.join("model.safetensors"));
        let of = |name: &str| {
            let (dtype, shape, bytes) = &stored[&format!("model.layers.1.mlp.{name}")];
            let values: Vec<f32> = match dtype {
                Dtype::F32 => bytes
                    .chunks(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                    .collect(),
                _ => bytes
                    .chunks(2)
                    .map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32())
                    .collect(),
            };
            (shape.clone(), values)
        };
        let (shape, gate_up) = of("experts.gate_up_proj");
        assert_eq!(shape, [4, 64, 192]);
        let (shape, down) = of("experts.down_proj");
        assert_eq!(shape, [4, 96, 64]);
        let (shape, biases) = of("experts.gate_up_proj_bias");
        assert_eq!(shape, [4, 192]);
        assert_eq!(of("experts.down_proj_bias").0, [4, 64]);
        assert_eq!(of("router.bias").0, [4]);
        let weight = |name: &str| {
            let name = format!("model.layers.1.mlp.experts.2.{name}");
            read.tensor(&name).unwrap().to_f32()
        };
        let ups = weight("up_proj.weight");
        for (row, column) in [(0, 0), (95, 63), (17, 40)] {
            let place = 2 * 64 * 192 + column * 192 + 2 * row + 1;
            assert_eq!(ups[row * 64 + column], gate_up[place]);
        }
        assert_eq!(
            weight("gate_proj.weight")[64 * 5 + 3],
            gate_up[2 * 64 * 192 + 3 * 192 + 10]
        );
        assert_eq!(
            weight("down_proj.weight")[96 * 7 + 9],
            down[2 * 96 * 64 + 9 * 64 + 7]
        );
        assert_eq!(weight("up_proj.bias")[11], biases[2 * 192 + 23]);
        let name = "model.layers.1.mlp.experts.2.up_proj.weight";
        let view = read.tensor(name).unwrap();
        let mut part = [0.0; 7];
        view.read_part(20, 31, &mut part);
        assert_eq!(part, ups[20 * 64 + 31..][..7]);
        assert!(view.as_f32().is_none());
        if dtype == SaveDtype::F32 {
            assert_eq!(values(&read), values(&source));
        }
    }
}

#[test]
fn blocks_have_transformers_values() {
    let folder = golden("gpt_oss_mxfp4").join("base");
    let read = Checkpoint::open(&folder).unwrap();
    let known = floats(&golden("gpt_oss_mxfp4").join("golden.safetensors"));
    let known: BTreeMap<String, Vec<f32>> = known
        .into_iter()
        .map(|(name, _, values)| (name, values))
        .collect();
    let (gate_up, down) = (&known["dequantised_gate_up"], &known["dequantised_down"]);
    let mut seen = 0;
    for expert in 0..4 {
        let weight = |name: &str| {
            let name = format!("model.layers.0.mlp.experts.{expert}.{name}.weight");
            let view = read.tensor(&name).unwrap();
            assert_eq!(view.dtype(), StorageDtype::Mxfp4Apart);
            assert_eq!(view.stored_bytes(), 32 * 17);
            view.to_f32()
        };
        let all = [weight("gate_proj"), weight("up_proj"), weight("down_proj")];
        for row in 0..32 {
            for column in 0..32 {
                let place = expert * 32 * 64 + column * 64 + 2 * row;
                assert_eq!(all[0][row * 32 + column], gate_up[place]);
                assert_eq!(all[1][row * 32 + column], gate_up[place + 1]);
                let place = expert * 32 * 32 + column * 32 + row;
                assert_eq!(all[2][row * 32 + column], down[place]);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4 * 32 * 32);
}

/// A folder with a tokenizer and experts in blocks.
fn in_blocks() -> (tempfile::TempDir, PathBuf) {
    let (dir, source) = model(&small(json!({})));
    let gguf = dir.path().join("blocks.gguf");
    save_gguf(&gguf, &source, GgufDtype::Mxfp4, "m", keep).unwrap();
    let folder = dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let read = Checkpoint::open(&gguf).unwrap();
    save_folder(&folder, &read, SaveDtype::BF16, nothing).unwrap();
    (dir, folder)
}

#[test]
fn blocks_go_through_byte_for_byte() {
    let (dir, folder) = in_blocks();
    let source = Checkpoint::open(&folder).unwrap();
    let before = tensors(&folder.join("model.safetensors"));
    let blocks = |tensors: &Tensors| {
        let mut own = tensors.clone();
        own.retain(|name, _| name.ends_with("_blocks") || name.ends_with("_scales"));
        own
    };
    assert_eq!(blocks(&before).len(), 8);
    let again = dir.path().join("again");
    std::fs::create_dir(&again).unwrap();
    save_folder(&again, &source, SaveDtype::F32, nothing).unwrap();
    let after = tensors(&again.join("model.safetensors"));
    assert_eq!(blocks(&after), blocks(&before));
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );

    let gguf = dir.path().join("m.gguf");
    let said = save_gguf(&gguf, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    assert!(
        said.iter()
            .any(|line| line.contains("6 tensors of experts stay MXFP4")),
        "{said:?}"
    );
    let file = GgufFile::open(&gguf).unwrap();
    let ups = file.tensor("blk.1.ffn_up_exps.weight").unwrap();
    assert_eq!(
        (ups.dtype(), ups.shape()),
        (StorageDtype::Mxfp4, &[4, 96, 64][..])
    );
    for (name, shape) in [
        ("blk.1.ffn_gate_exps.bias", vec![4, 96]),
        ("blk.0.ffn_gate_inp.bias", vec![4]),
        ("blk.0.attn_sinks.weight", vec![4]),
        ("blk.0.post_attention_norm.weight", vec![64]),
    ] {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(
            (tensor.dtype(), tensor.shape()),
            (StorageDtype::F32, &shape[..]),
            "{name}"
        );
    }
    let width = file.metadata("gpt-oss.expert_feed_forward_length");
    assert_eq!(width.and_then(|n| n.as_u64()), Some(96));

    let read = Checkpoint::open(&gguf).unwrap();
    let experts = |model: &Checkpoint| {
        let mut own = values(model);
        own.retain(|name, _| name.contains(".experts."));
        own
    };
    assert_eq!(experts(&read), experts(&source));
    let back = dir.path().join("back");
    std::fs::create_dir(&back).unwrap();
    save_folder(&back, &read, SaveDtype::BF16, nothing).unwrap();
    assert_eq!(
        blocks(&tensors(&back.join("model.safetensors"))),
        blocks(&before)
    );
    let config: Value =
        serde_json::from_slice(&std::fs::read(back.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization_config"]["quant_method"], "mxfp4");
}

/// What a merge would put into a block is not lost in silence.
#[test]
fn a_change_of_blocks_is_refused() {
    let source = Checkpoint::open(&golden("gpt_oss_mxfp4").join("base")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let edit = |view: &View<'_>, _: usize, rows: &mut [f32]| {
        if view.name().ends_with("experts.1.down_proj.weight") {
            rows[3] += 1.0;
        }
        Ok::<_, Error>(())
    };
    let error = save_folder(dir.path(), &source, SaveDtype::F32, edit).unwrap_err();
    let error = error.told();
    assert!(error.contains("would change, and is in blocks"), "{error}");
}

#[test]
fn damaged_blocks_are_refused() {
    let (_dir, folder) = in_blocks();
    let before = tensors(&folder.join("model.safetensors"));
    let blocks = "model.layers.0.mlp.experts.gate_up_proj_blocks";
    let scales = "model.layers.0.mlp.experts.gate_up_proj_scales";
    let with = |change: &dyn Fn(&mut Tensors)| {
        let dir = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(folder.join(file), dir.path().join(file)).unwrap();
        }
        let mut tensors = before.clone();
        change(&mut tensors);
        write(&dir.path().join("model.safetensors"), &tensors);
        let opened = Checkpoint::open(dir.path()).map_err(|e| e.told());
        (dir, opened)
    };
    assert!(with(&|_| ()).1.is_ok());
    let shape = |name: &'static str, shape: Vec<usize>| {
        with(&move |all| all.get_mut(name).unwrap().1 = shape.clone())
            .1
            .unwrap_err()
    };
    let error = shape(blocks, vec![4, 192, 1, 32]);
    assert!(
        error.contains("the config calls for [4, 192, 2, 16]"),
        "{error}"
    );
    let error = shape(scales, vec![4, 384]);
    assert!(
        error.contains("the config calls for [4, 192, 2]"),
        "{error}"
    );
    let error = with(&|all| _ = all.remove(scales)).1.unwrap_err();
    assert!(error.contains("gate_up_proj_scales is missing"), "{error}");
    let error = with(&|all| {
        let (_, shape, _) = all[scales].clone();
        let bytes = vec![0; 2 * 4 * 192 * 2];
        all.insert(scales.to_owned(), (Dtype::BF16, shape, bytes));
    });
    let error = error.1.unwrap_err();
    assert!(error.contains("expected bytes"), "{error}");
    let error = with(&|all| {
        let own = all[blocks].clone();
        all.insert("model.norm_blocks".to_owned(), own);
    });
    let error = error.1.unwrap_err();
    assert!(error.contains("no place in this decoder"), "{error}");
    // The exponent that is no number.
    let (dir, opened) = with(&|all| all.get_mut(scales).unwrap().2[5] = 255);
    let opened = opened.unwrap();
    let path = dir.path().join("m.gguf");
    let error = save_gguf(&path, &opened, GgufDtype::F32, "m", keep).unwrap_err();
    assert!(error.told().contains("exponent 255"), "{}", error.told());
}

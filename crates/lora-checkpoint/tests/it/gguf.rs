//! GGUF files: ours, read back, and those of an independent writer.
use crate::support::{TEXTS, config, config_with, keep, model};
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use lora_checkpoint::{
    Checkpoint, Error, Format, GgufDtype, RopeScaling, SaveDtype, StorageDtype, save_folder,
    save_gguf,
};
use lora_testkit::Told as _;
use serde_json::json;

#[test]
fn folder_to_gguf_and_back_is_the_same_model() {
    let llama3 = json!({"rope_theta": 10000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let configs = [
        config(),
        config_with(
            json!({"tie_word_embeddings": true, "eos_token_id": 2, "num_key_value_heads": 4}),
        ),
        config_with(json!({"attention_bias": true, "mlp_bias": true, "rope_parameters": llama3})),
    ];
    for config in configs {
        let (dir, source) = model(&config);
        let path = dir.path().join("out/m.gguf");
        std::fs::create_dir(dir.path().join("out")).unwrap();
        assert_eq!(
            save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap(),
            Vec::<String>::new()
        );
        let gguf = Checkpoint::open(&dir.path().join("out")).unwrap();
        assert_eq!(gguf.format(), Format::Gguf);
        let mut shape = gguf.config().clone();
        if matches!(shape.ropes[0].scaling, RopeScaling::Factors(_)) {
            shape.ropes.clone_from(&source.config().ropes);
        }
        assert_eq!(&shape, source.config());
        same_weights(&gguf, &source, |v| v);
        let back = dir.path().join("back");
        std::fs::create_dir(&back).unwrap();
        save_folder(&back, &gguf, SaveDtype::F32, |_, _, _| Ok::<_, Error>(())).unwrap();
        let back = Checkpoint::open(&back).unwrap();
        assert_eq!(back.config(), source.config());
        same_weights(&back, &source, |v| v);
        same_tokenizer(&gguf, &source);
        same_tokenizer(&back, &source);
    }
}

#[test]
fn halves_are_rounded_once_and_q8_0_is_close() {
    let (dir, source) = model(&config());
    let path = dir.path().join("m.gguf");
    for (dtype, round) in [
        (
            GgufDtype::F16,
            (|v| f16::from_f32(v).to_f32()) as fn(f32) -> f32,
        ),
        (GgufDtype::BF16, |v| bf16::from_f32(v).to_f32()),
    ] {
        save_gguf(&path, &source, dtype, "m", keep).unwrap();
        let gguf = Checkpoint::open(&path).unwrap();
        for name in source.tensor_names() {
            let (ours, theirs) = (gguf.tensor(&name).unwrap(), source.tensor(&name).unwrap());
            let expected: Vec<f32> = theirs
                .to_f32()
                .into_iter()
                .map(|v| {
                    if theirs.shape().len() == 1 {
                        v
                    } else {
                        round(v)
                    }
                })
                .collect();
            assert_eq!(ours.to_f32(), expected, "{name}");
        }
    }
    save_gguf(&path, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    let gguf = Checkpoint::open(&path).unwrap();
    for name in source.tensor_names() {
        let (ours, theirs) = (
            gguf.tensor(&name).unwrap().to_f32(),
            source.tensor(&name).unwrap().to_f32(),
        );
        assert!(
            ours.iter()
                .zip(&theirs)
                .all(|(a, b)| (a - b).abs() < 0.6 / 127.0),
            "{name}"
        );
    }
    save_gguf(&path, &source, GgufDtype::Q4_0, "m", keep).unwrap();
    let gguf = Checkpoint::open(&path).unwrap();
    for name in source.tensor_names() {
        let (ours, theirs) = (
            gguf.tensor(&name).unwrap().to_f32(),
            source.tensor(&name).unwrap().to_f32(),
        );
        // Steps of an eighth of the largest value; only the far end of the other sign may be cut by one step.
        assert!(
            ours.iter()
                .zip(&theirs)
                .all(|(a, b)| (a - b).abs() <= 1.01 / 8.0),
            "{name}"
        );
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|v| f64::from(v * v)).sum::<f64>().sqrt()
        };
        let (off, all) = (
            rms(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b)),
            rms(&mut theirs.iter().copied()),
        );
        assert!(off < 0.1 * all, "{name}: {off} of {all}");
    }
}

#[test]
fn rows_that_are_no_blocks_stay_f16_and_it_is_said() {
    let (dir, source) = model(&config_with(json!({"intermediate_size": 80})));
    let path = dir.path().join("m.gguf");
    let said = save_gguf(&path, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    assert!(said[0].contains("2 matrices are f16"), "{said:?}");
    let gguf = Checkpoint::open(&path).unwrap();
    assert_eq!(
        gguf.tensor("model.layers.0.mlp.down_proj.weight")
            .unwrap()
            .dtype(),
        StorageDtype::F16
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_its_cause() {
    let (_dir, source) = model(&config());
    let error = save_gguf("/dev/full".as_ref(), &source, GgufDtype::F32, "m", keep).unwrap_err();
    assert_eq!(error.to_string(), "failed to write /dev/full");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn weights_that_f16_cannot_hold_are_refused() {
    let (own, source) = model(&config());
    let dir = tempfile::tempdir().unwrap();
    let huge = |_: &lora_checkpoint::TensorView<'_>, _: usize, rows: &mut [f32]| {
        rows[0] = 1e6;
        Ok::<_, Error>(())
    };
    let error = save_folder(dir.path(), &source, SaveDtype::F16, huge)
        .unwrap_err()
        .told();
    assert!(
        error.contains("too large for f16") && error.contains("hint: use bf16"),
        "{error}"
    );
    let nan = |_: &lora_checkpoint::TensorView<'_>, _: usize, rows: &mut [f32]| {
        rows[0] = f32::NAN;
        Ok::<_, Error>(())
    };
    assert!(
        save_folder(dir.path(), &source, SaveDtype::BF16, nan)
            .unwrap_err()
            .told()
            .contains("NaN")
    );
    let same = |_: &lora_checkpoint::TensorView<'_>, _: usize, _: &mut [f32]| Ok::<_, Error>(());
    let error = save_folder(own.path(), &source, SaveDtype::BF16, same)
        .unwrap_err()
        .told();
    assert!(
        error.contains("the model is read from this file"),
        "{error}"
    );
}

/// A file in MXFP4, by us: values are multiples of a power of two from the format's table, the nearest there is, and what
/// is on the grid stays where it is.
#[test]
fn mxfp4_is_read_in_place_and_written_to_the_nearest_value() {
    let shape = json!({"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "vocab_size": 300});
    let (dir, source) = model(&config_with(shape));
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::Mxfp4, "m", keep).unwrap();
    let read = Checkpoint::open(&path).unwrap();
    let name = "model.layers.0.mlp.down_proj.weight";
    let (exact, view) = (
        source.tensor(name).unwrap().to_f32(),
        read.tensor(name).unwrap(),
    );
    assert_eq!(view.dtype(), StorageDtype::Mxfp4);
    assert_eq!(view.stored_bytes(), view.len() / 32 * 17);
    let rounded = view.to_f32();
    let grid = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    for (exact, rounded) in exact.chunks(32).zip(rounded.chunks(32)) {
        let largest = exact.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = 2f32.powi(largest.log2().floor() as i32 - 2);
        for (exact, rounded) in exact.iter().zip(rounded) {
            let error = |level: f32| (exact.abs() - level * scale).abs();
            let least = grid.map(error).into_iter().fold(f32::MAX, f32::min);
            assert!(grid.contains(&(rounded.abs() / scale)), "{rounded}");
            assert_eq!((exact - rounded).abs(), least, "{exact} became {rounded}");
        }
    }
    let mut part = vec![0.0; 32];
    view.read_part(3, 64, &mut part);
    assert_eq!(part, rounded[3 * 96 + 64..][..32]);
    // Whole blocks, also around parts of them; nothing outside.
    let block = |row: usize, block: usize| &view.stored()[(row * 3 + block) * 17..][..17];
    assert_eq!(view.stored_part(3, 64, 32), block(3, 2));
    assert_eq!(view.stored_part(3, 40, 2), block(3, 1));
    let two = [block(3, 0), block(3, 1)].concat();
    assert_eq!(view.stored_part(3, 31, 2), two);
    assert_eq!(view.stored_part(view.rows(), 0, 32), [0u8; 0]);
    let again = dir.path().join("again.gguf");
    save_gguf(&again, &read, GgufDtype::Mxfp4, "m", keep).unwrap();
    let again = Checkpoint::open(&again).unwrap();
    assert_eq!(again.tensor(name).unwrap().to_f32(), rounded);
}

/// A file by candle's writer, every block type in turn: the values are candle's own dequantisation.
#[test]
fn every_block_type_is_read_in_place() {
    use GgmlDType::*;
    let types = [
        F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2K, Q3K, Q4K, Q5K, Q6K,
    ];
    let shape = json!({"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 1, "vocab_size": 300});
    let (dir, source) = model(&config_with(shape));
    let ours = dir.path().join("ours.gguf");
    save_gguf(&ours, &source, GgufDtype::F32, "m", keep).unwrap();
    let mut file = std::fs::File::open(&ours).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    for dtype in types {
        let tensors: Vec<(String, QTensor)> = names
            .iter()
            .map(|name| {
                let tensor = content
                    .tensor(&mut file, name, &Device::Cpu)
                    .unwrap()
                    .dequantize(&Device::Cpu)
                    .unwrap();
                let dtype = if tensor.rank() == 1 { F32 } else { dtype };
                (name.to_string(), QTensor::quantize(&tensor, dtype).unwrap())
            })
            .collect();
        let path = dir.path().join(format!("{dtype:?}.gguf"));
        let metadata: Vec<(&str, &gguf_file::Value)> = content
            .metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v))
            .collect();
        let views: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        gguf_file::write(
            &mut std::fs::File::create(&path).unwrap(),
            &metadata,
            &views,
        )
        .unwrap();
        let model = Checkpoint::open(&path).unwrap();
        let expect = |gguf: &str| -> Tensor {
            let (_, tensor) = tensors.iter().find(|(name, _)| name == gguf).unwrap();
            tensor.dequantize(&Device::Cpu).unwrap()
        };
        let down = model.tensor("model.layers.0.mlp.down_proj.weight").unwrap();
        let theirs = expect("blk.0.ffn_down.weight");
        assert_eq!(
            down.to_f32(),
            theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            "{dtype:?}"
        );
        let mut row = vec![0.0; down.columns()];
        down.read_rows(77, &mut row);
        assert_eq!(
            row,
            theirs.get(77).unwrap().to_vec1::<f32>().unwrap(),
            "{dtype:?}"
        );
        // q's rows come back in Hugging Face order: (heads, 2, half) from the file's (heads, half, 2).
        let query = expect("blk.0.attn_q.weight")
            .reshape((4, 32, 2, 256))
            .unwrap()
            .transpose(1, 2)
            .unwrap();
        let query = query
            .contiguous()
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(
            model
                .tensor("model.layers.0.self_attn.q_proj.weight")
                .unwrap()
                .to_f32(),
            query,
            "{dtype:?}"
        );
    }
}

fn same_weights(a: &Checkpoint, b: &Checkpoint, round: fn(f32) -> f32) {
    assert_eq!(a.tensor_names(), b.tensor_names());
    for name in a.tensor_names() {
        let expected: Vec<f32> = b
            .tensor(&name)
            .unwrap()
            .to_f32()
            .into_iter()
            .map(round)
            .collect();
        assert_eq!(a.tensor(&name).unwrap().to_f32(), expected, "{name}");
    }
}

fn same_tokenizer(a: &Checkpoint, b: &Checkpoint) {
    let (a, b) = (a.tokenizer().unwrap(), b.tokenizer().unwrap());
    assert_eq!(a.sha256, b.sha256);
    assert_eq!(
        (&a.bos_token, &a.eos_token, &a.unk_token, &a.pad_token),
        (&b.bos_token, &b.eos_token, &b.unk_token, &b.pad_token)
    );
    assert_eq!(a.chat_template, b.chat_template);
    for text in TEXTS {
        let (x, y) = (
            a.tokenizer.encode(text, false).unwrap(),
            b.tokenizer.encode(text, false).unwrap(),
        );
        assert_eq!(x.get_ids(), y.get_ids(), "{text:?}");
        for skip in [false, true] {
            assert_eq!(
                a.tokenizer.decode(x.get_ids(), skip).unwrap(),
                b.tokenizer.decode(x.get_ids(), skip).unwrap()
            );
        }
        assert_eq!(a.tokenizer.decode(x.get_ids(), false).unwrap(), text);
    }
}

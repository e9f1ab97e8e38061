//! Factors around linear layers: read, refused where they make no model, and in the weights of a GGUF file.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::gguf::GgufFile;
use lora_checkpoint::{
    Checkpoint, Error, Factors, GgufDtype, MambaNorm, Projection, SaveDtype, gguf, save_folder,
    save_gguf,
};
use lora_testkit::Told as _;
use serde_json::{Value, json};

fn falcon(more: Value) -> Value {
    let mut all = json!({"model_type": "falcon_h1", "mamba_d_ssm": 48, "mamba_n_heads": 6, "mamba_n_groups": 2,
        "mamba_d_state": 5, "key_multiplier": 0.5, "attention_in_multiplier": 1.5, "attention_out_multiplier": 0.25,
        "ssm_in_multiplier": 2.0, "ssm_out_multiplier": 0.75, "ssm_multipliers": [0.5, 3.0, 1.25, 0.125, 1.75],
        "mlp_multipliers": [1.5, 0.5], "embedding_multiplier": 4.0, "lm_head_multiplier": 0.25});
    let own = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(own);
    config_with(all)
}

#[test]
fn attention_and_a_state_stand_side_by_side_in_every_layer() {
    let config = parse(&falcon(json!({}))).unwrap();
    assert!(
        config
            .layers
            .iter()
            .all(|layer| layer.has_attention() && layer.keeps_state())
    );
    let own = config.mamba.unwrap();
    assert_eq!(
        [own.heads, own.width, own.columns(), own.taps],
        [6, 8, 68, 4]
    );
    assert_eq!(own.norm, MambaNorm::Without);
    assert_eq!(config.shape(0, Projection::MambaIn), (48 + 68 + 6, 64));
    assert_eq!(config.shape(0, Projection::Q), (64, 64));
    let norms = |rms: bool, first: Value| {
        let switches = json!({"mamba_rms_norm": rms, "mamba_norm_before_gate": first});
        parse(&falcon(switches)).unwrap().mamba.unwrap().norm
    };
    assert_eq!(norms(true, json!(false)), MambaNorm::BehindGate);
    assert_eq!(norms(true, Value::Null), MambaNorm::BeforeGate);
    assert_eq!(norms(false, json!(true)), MambaNorm::Without);
    // Without a width of its own it is a multiple of the hidden state.
    let wide = json!({"mamba_d_ssm": null, "mamba_n_heads": 8, "mamba_d_head": "auto"});
    assert_eq!(parse(&falcon(wide)).unwrap().mamba.unwrap().values(), 128);
    let hybrid = json!({"layer_types": ["hybrid", "hybrid"]});
    assert_eq!(parse(&falcon(hybrid)).unwrap().layers, config.layers);
}

#[test]
fn what_makes_no_model_is_refused() {
    for (bad, said) in [
        (json!({"key_multiplier": 0.0}), "key_multiplier is 0"),
        (
            json!({"ssm_out_multiplier": -1.0}),
            "ssm_out_multiplier is -1",
        ),
        (json!({"lm_head_multiplier": 0}), "lm_head_multiplier is 0"),
        (
            json!({"embedding_multiplier": -2}),
            "embedding_multiplier is -2",
        ),
        (json!({"mlp_multipliers": [1.0]}), "expected 2 numbers"),
        (
            json!({"mlp_multipliers": [1.0, 0.0]}),
            "mlp_multipliers is 0",
        ),
        (
            json!({"ssm_multipliers": [1, 1, 1, 1]}),
            "expected 5 numbers",
        ),
        (json!({"ssm_multipliers": 2.0}), "expected 5 numbers"),
        (
            json!({"ssm_multipliers": [1, 1, "x", 1, 1]}),
            "expected 5 numbers",
        ),
        (json!({"key_multiplier": "big"}), "key_multiplier"),
        (
            json!({"mamba_d_ssm": 50}),
            "mamba_n_heads 6 times mamba_d_head 8 is not mamba_d_ssm, 50",
        ),
        (json!({"mamba_d_ssm": 0}), "mamba_d_head is 0"),
        (json!({"mamba_d_ssm": u64::MAX}), "mamba_"),
        (
            json!({"layer_types": ["hybrid", "full_attention"]}),
            "layer_types has \"full_attention\"",
        ),
        (json!({"attn_layer_indices": [1]}), "attn_layer_indices"),
        (json!({"hidden_act": "gelu"}), "hidden_act"),
    ] {
        let error = parse(&falcon(bad.clone())).expect_err(&bad.to_string());
        assert!(error.contains(said), "{bad}: {error}");
    }
}

#[test]
fn what_llama_cpp_leaves_out_is_refused() {
    let written = |more: Value| {
        let (dir, source) = model(&falcon(more));
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).map_err(|error| error.told())
    };
    let llama3 = json!({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}});
    for (more, said) in [
        (json!({"attention_bias": true}), "leaves out bias on o_proj"),
        (llama3, "leaves out rotary factors"),
        (
            json!({"mamba_proj_bias": true}),
            "no biases on Mamba's projections",
        ),
        (
            json!({"projectors_bias": true}),
            "no biases on Mamba's projections",
        ),
        (
            json!({"mamba_rms_norm": true, "mamba_norm_before_gate": true}),
            "norm behind its gate",
        ),
        (json!({"mamba_conv_bias": false}), "adds a bias"),
        (json!({"time_step_limit": [0.1, 0.5]}), "no limits"),
    ] {
        let error = written(more.clone()).expect_err(&more.to_string());
        assert!(error.contains(said), "{more}: {error}");
    }
    assert_eq!(written(json!({})).unwrap(), Vec::<String>::new());
    let tied = written(json!({"tie_word_embeddings": true})).unwrap();
    assert!(tied[0].contains("the file has both"), "{tied:?}");
    let same = json!({"tie_word_embeddings": true, "lm_head_multiplier": 4.0});
    assert_eq!(written(same).unwrap(), Vec::<String>::new());
}

/// A row's factors by hand: what convert_hf_to_gguf multiplies, part by part, but for biases, which it multiplies by what is read,
/// too.
fn by_hand(name: &str, row: usize) -> f32 {
    let of_parts = |factors: [f32; 5]| {
        let ends = [48, 96, 106, 116, 122]; // the gate, x, B and C of two groups, steps
        factors[ends.iter().position(|&end| row < end).unwrap()]
    };
    let ssm = [0.5, 3.0, 1.25, 0.125, 1.75];
    match name {
        "model.embed_tokens.weight" => 4.0,
        "lm_head.weight" => 0.25,
        _ if name.ends_with("q_proj.weight") || name.ends_with("v_proj.weight") => 1.5,
        _ if name.ends_with("k_proj.weight") => 0.75,
        _ if name.ends_with("o_proj.weight") && !name.contains("mamba") => 0.25,
        _ if name.ends_with("mamba.out_proj.weight") => 0.75,
        _ if name.ends_with("mamba.in_proj.weight") => 2.0 * of_parts(ssm),
        _ if name.contains("gate_proj.") => 1.5,
        _ if name.contains("down_proj.") => 0.5,
        _ => 1.0,
    }
}

#[test]
fn a_gguf_file_has_the_factors_in_its_weights() {
    for tied in [false, true] {
        let (dir, source) = model(&falcon(
            json!({"tie_word_embeddings": tied, "mlp_bias": true}),
        ));
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
        let tensors = GgufFile::open(&path).unwrap();
        let own: Vec<&str> = tensors.tensor_names().collect();
        // As llama.cpp's converter calls it, and its loader asks for it.
        assert!(own.contains(&"blk.0.ffn_norm") && own.contains(&"blk.0.attn_norm.weight"));
        let file = Checkpoint::open(&path).unwrap();
        assert_eq!(file.config().factors, Factors::NONE);
        assert_eq!(file.config().embedding_scale(), 1.0);
        assert_eq!(file.config().multipliers.logits, 1.0);
        assert!(
            !file.config().tie_word_embeddings,
            "each has its own factor"
        );
        let mut names = gguf::weight_names(source.config());
        names.sort_unstable();
        assert_eq!(file.tensor_names(), names);
        let mut seen = 0;
        for name in &names {
            let own = match tied && name == "lm_head.weight" {
                true => "model.embed_tokens.weight",
                false => name,
            };
            let (view, source) = (file.tensor(name).unwrap(), source.tensor(own).unwrap());
            let columns = match source.shape().len() {
                1 => 1,
                _ => source.columns(),
            };
            let (found, plain) = (view.to_f32(), source.to_f32());
            for (row, (found, plain)) in
                found.chunks(columns).zip(plain.chunks(columns)).enumerate()
            {
                let factor = by_hand(name, row);
                seen += usize::from(factor != 1.0);
                for (found, plain) in found.iter().zip(plain) {
                    // What stands there for A_log is −e^A_log: rounded in its last place, that is a difference of A_log itself.
                    let least = if name.ends_with("A_log") { 1.0 } else { 0.1 };
                    let close = (found - factor * plain).abs() <= 2e-7 * found.abs().max(least);
                    assert!(close, "{name} {row}: {found} of {plain}");
                }
            }
        }
        assert!(seen > 1000, "{seen}");
        // And back: a folder without factors.
        let back = dir.path().join("back");
        std::fs::create_dir(&back).unwrap();
        save_folder(&back, &file, SaveDtype::F32, |_, _, _| Ok::<_, Error>(())).unwrap();
        let back = Checkpoint::open(&back).unwrap();
        assert_eq!(back.config().factors, Factors::NONE);
        assert_eq!(back.tensor_names(), file.tensor_names());
    }
}

/// What an adapter adds to a row is converted as the row is.
#[test]
fn rows_of_factors_are_multiplied_and_divided_again() {
    let config = parse(&falcon(json!({}))).unwrap();
    for (name, rows) in [
        ("model.layers.1.mamba.in_proj.weight", 122),
        ("model.layers.0.self_attn.k_proj.weight", 32),
        ("model.layers.0.feed_forward.up_proj.weight", 96),
        ("model.embed_tokens.weight", 64), // of its table's columns
    ] {
        let values: Vec<f32> = (0..2 * rows).map(|i| i as f32 - 7.0).collect();
        let there = gguf::rows_in_gguf(&config, name, &values, 2);
        for (i, (found, plain)) in there.iter().zip(&values).enumerate() {
            assert_eq!(*found, by_hand(name, i / 2) * plain, "{name} {i}");
        }
        let back = gguf::rows_from_gguf(&config, name, &there, 2);
        assert!(back.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn factors_that_are_rounded_are_said() {
    let (dir, source) = model(&falcon(json!({})));
    let narrow = dir.path().join("bf16");
    std::fs::create_dir(&narrow).unwrap();
    save_folder(&narrow, &source, SaveDtype::BF16, |_, _, _| {
        Ok::<_, Error>(())
    })
    .unwrap();
    let source = Checkpoint::open(&narrow).unwrap();
    let path = dir.path().join("m.gguf");
    let said = save_gguf(&path, &source, GgufDtype::BF16, "m", keep).unwrap();
    assert!(
        said.iter()
            .any(|line| line.contains("rounded to bf16 once more")),
        "{said:?}"
    );
    let exact = save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
    assert!(
        exact.iter().all(|line| !line.contains("once more")),
        "{exact:?}"
    );
}

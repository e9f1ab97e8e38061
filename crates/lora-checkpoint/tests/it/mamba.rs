//! Layers of Mamba-2, and a gate and up that are one linear layer in a folder and two tensors in GGUF.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::{
    Checkpoint, Edit, Error, GgufDtype, Mixer, Projection, TensorView, rewrite_gguf, save_gguf,
};
use lora_testkit::Told as _;
use serde_json::{Value, json};

const GATE_UP: &str = "model.layers.1.shared_mlp.input_linear.weight";

fn hybrid(more: Value) -> Value {
    let mut all = json!({"model_type": "granitemoehybrid", "num_hidden_layers": 4, "num_local_experts": 0,
        "layer_types": ["mamba", "attention", "linear_attention", "full_attention"], "mamba_n_heads": 8,
        "mamba_d_state": 8, "shared_intermediate_size": 96});
    let own = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(own);
    config_with(all)
}

#[test]
fn heads_and_layers_are_those_that_the_file_names() {
    let plain = parse(&hybrid(json!({}))).unwrap();
    let mixers: Vec<Mixer> = plain.layers.iter().map(|layer| layer.mixer).collect();
    let [mamba, attention] = [Mixer::Mamba, Mixer::Attention];
    assert_eq!(mixers, [mamba, attention, mamba, attention]);
    let own = plain.mamba.unwrap();
    // Twice the hidden state, 64, in 8 heads; x, B and C; the gate, those, and a step a head.
    assert_eq!([own.width, own.columns()], [16, 144]);
    assert_eq!(plain.shape(0, Projection::MambaIn), (128 + 144 + 8, 64));
    assert_eq!(plain.intermediate_size, 96);
    assert!(plain.layers.iter().all(|layer| layer.rope.is_none()));
    let rotated = parse(&hybrid(json!({"position_embedding_type": "rope"}))).unwrap();
    assert!(rotated.layers.iter().all(|layer| layer.rope == Some(0)));
    let all = parse(&hybrid(json!({"layer_types": null}))).unwrap();
    assert!(all.layers.iter().all(|layer| layer.mixer == mamba));
    let none = json!({"layer_types": vec!["attention"; 4], "mamba_n_heads": 7});
    assert_eq!(parse(&hybrid(none)).unwrap().mamba, None);
    let infinite =
        json!({"time_step_limit": [0.0, {"__float__": "Infinity"}], "mamba_d_head": "auto"});
    assert_eq!(parse(&hybrid(infinite)).unwrap().mamba, plain.mamba);
}

#[test]
fn what_would_change_the_model_is_refused() {
    for (bad, said) in [
        (
            json!({"mamba_d_head": 8}),
            "mamba_n_heads 8 times mamba_d_head 8",
        ),
        (json!({"mamba_n_heads": 0}), "mamba_n_heads"),
        (
            json!({"mamba_n_groups": 3}),
            "not a multiple of mamba_n_groups 3",
        ),
        (json!({"mamba_d_state": 0}), "mamba_d_state is 0"),
        (json!({"mamba_d_conv": 1000}), "absurdly large"),
        (json!({"mamba_expand": u64::MAX}), "mamba_"),
        (json!({"mamba_proj_bias": true}), "mamba_proj_bias is true"),
        (json!({"time_step_limit": [0.5, 0.1]}), "time_step_limit"),
        (json!({"time_step_limit": [0.5]}), "time_step_limit"),
        (json!({"time_step_limit": null}), "time_step_limit"),
        (
            json!({"position_embedding_type": "alibi"}),
            "position_embedding_type is \"alibi\"",
        ),
        (
            json!({"layer_types": ["mamba", "attention", "conv", "mamba"]}),
            "layer_types has \"conv\"",
        ),
        (json!({"layers_block_type": ["mamba"]}), "layers_block_type"),
    ] {
        let error = parse(&hybrid(bad)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let other = config_with(json!({"model_type": "llama", "position_embedding_type": "nope"}));
    assert!(
        parse(&other)
            .unwrap_err()
            .contains("position_embedding_type")
    );
}

#[test]
fn what_llama_cpp_does_not_compute_is_refused_or_said() {
    let written = |more: Value| {
        let (dir, source) = model(&hybrid(more));
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).map_err(|error| error.told())
    };
    let limits = written(json!({"time_step_limit": [0.1, 0.5]})).unwrap_err();
    assert!(limits.contains("no limits of Mamba-2's steps"), "{limits}");
    let bare = written(json!({"mamba_conv_bias": false})).unwrap_err();
    assert!(bare.contains("adds a bias"), "{bare}");
    let wide = written(json!({"mamba_expand": 3})).unwrap();
    assert!(
        wide.iter()
            .any(|line| line.contains("twice the hidden state")),
        "{wide:?}"
    );
    let nothing = written(json!({})).unwrap();
    assert_eq!(nothing, Vec::<String>::new());
}

fn rows(view: &TensorView<'_>) -> Vec<f32> {
    view.to_f32()
}

/// The first value of some rows, more by 1.
struct More {
    rows: Vec<usize>,
    seen: Vec<f32>,
}

impl Edit<Error> for More {
    fn changes(&self, name: &str) -> bool {
        name == GATE_UP
    }

    fn edit(&mut self, view: &TensorView<'_>, first: usize, rows: &mut [f32]) -> Result<(), Error> {
        let columns = view.columns();
        for row in self.rows.iter().filter_map(|row| row.checked_sub(first)) {
            if let Some(value) = rows.get_mut(row * columns) {
                *value += 1.0;
            }
        }
        Ok(())
    }

    fn wrote(&mut self, rows: &[f32]) {
        self.seen.extend_from_slice(rows);
    }
}

#[test]
fn gate_and_up_are_one_weight_in_two_tensors() {
    let (dir, source) = model(&hybrid(json!({})));
    let want = rows(&source.tensor(GATE_UP).unwrap());
    for dtype in [GgufDtype::F32, GgufDtype::F16, GgufDtype::Q8_0] {
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, dtype, "m", keep).unwrap();
        let opened = Checkpoint::open(&path).unwrap();
        let view = opened.tensor(GATE_UP).unwrap();
        assert_eq!(view.shape(), [192, 64]);
        assert!(!view.lies_in_order() && view.as_f32().is_none());
        assert_eq!(
            view.stored().len() + view.stored_rest().len(),
            view.stored_bytes()
        );
        let got = rows(&view);
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-2);
        assert!(close(&got, &want));
        // Rows on both sides of the border, alone and together.
        let mut few = vec![0.0; 4 * 64];
        view.read_rows(94, &mut few);
        assert_eq!(few, got[94 * 64..98 * 64]);
        for row in [0, 95, 96, 191] {
            let mut part = vec![0.0; 32];
            view.read_part(row, 32, &mut part);
            assert_eq!(part, got[row * 64 + 32..row * 64 + 64]);
            assert_eq!(view.stored_row(row).len() * 192, view.stored_bytes());
        }
        assert_eq!(
            view.stored_row(96),
            &view.stored_rest()[..view.stored_row(0).len()]
        );

        let changed = dir.path().join("changed.gguf");
        let mut edit = More {
            rows: vec![3, 95, 96, 190],
            seen: Vec::new(),
        };
        rewrite_gguf::<Error>(&changed, &opened, &mut edit).unwrap();
        let again = Checkpoint::open(&changed).unwrap();
        for name in opened.tensor_names() {
            let [before, behind] =
                [&opened, &again].map(|model| rows(&model.tensor(&name).unwrap()));
            if name != GATE_UP {
                assert_eq!(before, behind, "{name}");
                continue;
            }
            assert_eq!(behind, edit.seen, "what was said to be written");
            for (at, (before, behind)) in before.iter().zip(&behind).enumerate() {
                let is_changed = at % 64 == 0 && edit.rows.contains(&(at / 64));
                let by = if is_changed { 1.0 } else { 0.0 };
                assert!((behind - before - by).abs() < 2e-2, "{at}");
            }
        }
    }
}

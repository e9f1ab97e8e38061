//! Adapters of experts from format to format.
use crate::formats::{convert, load};
use crate::harness::{export, golden, stderr};
use lora_core::{Adapter, BaseModel, diff};
use lora_model::Base;

/// Experts' factors: of gate and of up in a GGUF LoRA, which share their A, in one again behind it.
#[test]
fn experts_go_to_gguf_and_back() {
    for case in [
        "parameters_all",
        "parameters_gate_up",
        "parameters_down",
        "parameters_converted",
        "parameters_turned",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let base = golden(&format!("{case}/base"));
        let opened = Base::open(base.as_ref()).unwrap();
        let mut before = load(golden(&format!("{case}/adapter")).as_ref(), &opened);
        // What else the adapter trains has no place in a GGUF.
        before.trained.clear();
        before.config.modules_to_save.clear();
        let layout = before.config.layout(&opened.modules()).unwrap();
        before.params.truncate(layout.parameters());
        let before = Adapter::from_layout(before.config, layout, before.params).unwrap();
        std::fs::create_dir(dir.path().join("adapter")).unwrap();
        before.save(&dir.path().join("adapter")).unwrap();
        let file = convert(dir.path(), &base, "adapter", "gguf", "one.gguf");
        let gguf = lora_checkpoint::gguf::GgufFile::open(&file).unwrap();
        let names: Vec<&str> = gguf.tensor_names().collect();
        let has = |part: &str| names.iter().any(|name| name.contains(part));
        assert_eq!(
            has("ffn_gate_exps.weight.lora_a"),
            case != "parameters_down"
        );
        assert_eq!(
            has("ffn_down_exps.weight.lora_b"),
            case != "parameters_gate_up"
        );
        let back = convert(dir.path(), &base, "one.gguf", "peft", "back");
        let after = load(&back, &opened);
        let apart = diff(&before, &after).unwrap();
        let total = apart.total;
        assert_eq!(apart.modules.len(), before.modules.len());
        assert!(total.distance < 1e-6 * total.norms.0, "{case}: {total:?}");
        let refused = export(
            dir.path(),
            &[
                "--adapter",
                "adapter",
                "--base",
                &base,
                "--format",
                "mlx",
                "--out",
                "mlx",
            ],
        );
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            stderr(&refused).contains("target_parameters"),
            "{}",
            stderr(&refused)
        );
    }
}

/// A file of another tool's, with an A for gate and one for up, or with one of them alone: ΔW of each expert is the file's.
#[test]
fn gate_and_up_with_factors_of_their_own() {
    use lora_checkpoint::gguf::Value;
    use lora_checkpoint::{GgufDtype, GgufTensor, write_gguf};
    let (experts, hidden, wide) = (6, 36, 12);
    let base = golden("parameters_gate_up/base");
    let opened = Base::open(base.as_ref()).unwrap();
    for (alpha, ranks) in [(6.0f32, [3, 2]), (0.0, [2, 2]), (5.0, [4, 0])] {
        let dir = tempfile::tempdir().unwrap();
        let mut tensors = Vec::new();
        let mut values: Vec<Vec<f32>> = Vec::new();
        for (name, rank) in ["gate", "up"]
            .into_iter()
            .zip(ranks)
            .filter(|(_, rank)| *rank > 0)
        {
            for (part, shape) in [
                ("a", vec![experts, rank, hidden]),
                ("b", vec![experts, wide, rank]),
            ] {
                let count: usize = shape.iter().product();
                let seed = values.len() as f32;
                values.push((0..count).map(|i| (i as f32 * 0.37 + seed).sin()).collect());
                let name = format!("blk.1.ffn_{name}_exps.weight.lora_{part}");
                tensors.push(GgufTensor {
                    name,
                    shape,
                    dtype: GgufDtype::F32,
                });
            }
        }
        let text = |s: &str| Value::String(s.to_owned());
        let metadata = [
            ("general.architecture".to_owned(), text("olmoe")),
            ("general.type".to_owned(), text("adapter")),
            ("adapter.type".to_owned(), text("lora")),
            ("adapter.lora.alpha".to_owned(), Value::F32(alpha)),
        ];
        let path = dir.path().join("theirs.gguf");
        write_gguf(&path, &metadata, &tensors, |index, first, rows| {
            let columns = tensors[index].shape[2];
            rows.copy_from_slice(&values[index][first * columns..][..rows.len()]);
            Ok::<(), lora_checkpoint::Error>(())
        })
        .unwrap();
        let back = convert(dir.path(), &base, "theirs.gguf", "peft", "back");
        let adapter = load(&back, &opened);
        assert_eq!(adapter.modules.len(), 1);
        let module = &adapter.modules[0];
        assert_eq!(module.path, "model.layers.1.mlp.experts.gate_up_proj");
        for expert in 0..experts {
            let (a, b) = adapter.factors_of(0, expert);
            let mut found = vec![0.0; module.out_features * hidden];
            lora_core::add_delta(&mut found, 0, a, b, module.rank, module.scaling);
            let mut wanted = vec![0.0; found.len()];
            let mut of_values = values.chunks(2);
            for (half, rank) in wanted
                .chunks_mut(wide * hidden)
                .zip(ranks)
                .filter(|(_, rank)| *rank > 0)
            {
                let [a, b] = of_values.next().unwrap() else {
                    panic!()
                };
                let (a, b) = (&a[expert * rank * hidden..], &b[expert * wide * rank..]);
                let scaling = if alpha == 0.0 {
                    1.0
                } else {
                    alpha / rank as f32
                };
                lora_core::add_delta(
                    half,
                    0,
                    &a[..rank * hidden],
                    &b[..wide * rank],
                    rank,
                    scaling,
                );
            }
            let worst = found
                .iter()
                .zip(&wanted)
                .fold(0f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(worst < 1e-5, "{alpha} {ranks:?}: {worst}");
        }
    }
}

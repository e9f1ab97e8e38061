//! The merged weights and their logits are PEFT's.
use crate::harness::{CASES, MORE, assert_code, case, json, merge, receipt, tensors};
use lora_checkpoint::Checkpoint;
use lora_model::{Base, Fused, Packed, Route};

#[test]
fn merged_weights_are_pefts() {
    for name in CASES {
        let dir = tempfile::tempdir().unwrap();
        assert_code(
            &merge(
                dir.path(),
                Some(&case(name).join("base")),
                &case(name).join("adapter"),
                &["--dtype", "f32"],
            ),
            0,
        );
        let merged = Checkpoint::open(&dir.path().join("out")).unwrap();
        let golden = tensors(&case(name).join("golden.safetensors"));
        let wanted: Vec<_> = golden
            .iter()
            .filter_map(|(key, _, values)| Some((key.strip_prefix("merged.")?, values)))
            .collect();
        let mut compared = 0;
        for (key, wanted) in wanted {
            if key == "lm_head.weight" && merged.config().tie_word_embeddings {
                continue; // the embedding under its other name
            }
            let ours = merged.tensor(key).unwrap().to_f32();
            assert_eq!(ours.len(), wanted.len(), "{key}");
            let worst = ours
                .iter()
                .zip(wanted)
                .fold(0f32, |most, (x, y)| most.max((x - y).abs()));
            assert!(worst < 1e-6, "{name} {key}: {worst}");
            compared += 1;
        }
        assert!(compared >= 9, "{name}: only {compared} weights compared");
    }
}

#[test]
fn merged_logits_are_pefts() {
    for name in CASES.into_iter().chain(MORE) {
        let dir = tempfile::tempdir().unwrap();
        assert_code(
            &merge(
                dir.path(),
                Some(&case(name).join("base")),
                &case(name).join("adapter"),
                &["--dtype", "f32"],
            ),
            0,
        );
        let base = Base::open(&dir.path().join("out")).unwrap();
        let lengths = json(&case(name).join("case.json"))["lens"]
            .as_array()
            .map_or(vec![12, 9, 16], |lens| {
                lens.iter().map(|n| n.as_u64().unwrap() as usize).collect()
            });
        let bytes = std::fs::read(case(name).join("golden.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let ids: Vec<u32> = file
            .tensor("input_ids")
            .unwrap()
            .data()
            .chunks_exact(8)
            .map(|x| x[0] as u32 | (x[1] as u32) << 8)
            .collect();
        let golden = tensors(&case(name).join("golden.safetensors"));
        let find = |wanted: &str| golden.iter().find(|(key, ..)| key == wanted);
        // Where PEFT merges both sides of a tied pair into one tensor, the adapter is what a merge should be.
        let (_, shape, golden) = find("logits_merged")
            .or_else(|| find("logits_adapter"))
            .unwrap();
        let (width, vocab) = (shape[1], shape[2]);
        for (row, &length) in lengths.iter().enumerate() {
            let ids = &ids[row * width..][..length];
            let labels = vec![-100; length];
            let ours = Fused::new(&base, 1)
                .unwrap()
                .logits(None, &Packed::from_rows([(ids, labels.as_slice())]))
                .unwrap();
            let wanted = &golden[row * width * vocab..][..length * vocab];
            let worst = ours
                .iter()
                .zip(wanted)
                .fold(0f32, |most, (x, y)| most.max((x - y).abs()));
            assert!(worst < 1e-4, "{name} row {row}: {worst}");
        }
    }
}

#[test]
fn the_check_is_in_the_receipt_and_sees_next_to_nothing_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    let name = CASES[0];
    let output = merge(
        dir.path(),
        Some(&case(name).join("base")),
        &case(name).join("adapter"),
        &["--check-rows", "2"],
    );
    assert_code(&output, 0);
    let receipt = receipt(&output);
    let check = &receipt["results"]["check"];
    assert_eq!(
        (receipt["artefact"].as_str(), check["rows"].as_u64()),
        (Some("model"), Some(2))
    );
    assert_eq!(
        receipt["config"]["dtype"], "f32",
        "the base's type is the default"
    );
    assert!(
        check["largest_difference"].as_f64().unwrap() < 1e-4,
        "{check}"
    );
    assert!(check["adapter_effect"].as_f64().unwrap() > 0.1, "{check}");
}

/// A delta on one side of a tied pair makes two tensors of it, and the config says so.
#[test]
fn a_tied_pair_becomes_two() {
    for (name, untied) in [
        ("embed_head_tied", true),
        ("save_linear_head_tied", true),
        ("llama_gqa_tied", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        assert_code(
            &merge(
                dir.path(),
                Some(&case(name).join("base")),
                &case(name).join("adapter"),
                &[],
            ),
            0,
        );
        let config = json(&dir.path().join("out/config.json"));
        assert_eq!(config["tie_word_embeddings"], !untied, "{name}");
        let merged = Checkpoint::open(&dir.path().join("out")).unwrap();
        assert_eq!(merged.tensor("lm_head.weight").is_ok(), untied, "{name}");
    }
}

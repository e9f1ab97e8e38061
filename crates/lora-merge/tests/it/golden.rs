//! The merged weights and their logits are PEFT's.
use crate::harness::{CASES, assert_code, case, json, merge, receipt, tensors};
use lora_checkpoint::Checkpoint;
use lora_model::{Base, Fused, Packed, Route};

#[test]
fn merged_weights_are_pefts() {
    for name in CASES {
        let dir = tempfile::tempdir().unwrap();
        assert_code(
            &merge(dir.path(), Some(&case(name).join("base")), &case(name).join("adapter"), &["--dtype", "f32"]),
            0,
        );
        let merged = Checkpoint::open(&dir.path().join("out")).unwrap();
        let golden = tensors(&case(name).join("golden.safetensors"));
        let wanted: Vec<_> =
            golden.iter().filter_map(|(key, _, values)| Some((key.strip_prefix("merged.")?, values))).collect();
        let mut compared = 0;
        for (key, wanted) in wanted {
            if key == "lm_head.weight" && merged.config().tie_word_embeddings {
                continue; // the embedding under its other name
            }
            let ours = merged.tensor(key).unwrap().to_f32();
            assert_eq!(ours.len(), wanted.len(), "{key}");
            let worst = ours.iter().zip(wanted).fold(0f32, |most, (x, y)| most.max((x - y).abs()));
            assert!(worst < 1e-6, "{name} {key}: {worst}");
            compared += 1;
        }
        assert!(compared >= 9, "{name}: only {compared} weights compared");
    }
}

#[test]
fn merged_logits_are_pefts() {
    for name in CASES {
        let dir = tempfile::tempdir().unwrap();
        assert_code(
            &merge(dir.path(), Some(&case(name).join("base")), &case(name).join("adapter"), &["--dtype", "f32"]),
            0,
        );
        let base = Base::open(&dir.path().join("out")).unwrap();
        let lengths = json(&case(name).join("case.json"))["lens"]
            .as_array()
            .map_or(vec![12, 9, 16], |lens| lens.iter().map(|n| n.as_u64().unwrap() as usize).collect());
        let bytes = std::fs::read(case(name).join("golden.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let ids: Vec<u32> = file
            .tensor("input_ids")
            .unwrap()
            .data()
            .chunks_exact(8)
            .map(|x| x[0] as u32 | (x[1] as u32) << 8)
            .collect();
        let (_, shape, golden) = tensors(&case(name).join("golden.safetensors"))
            .into_iter()
            .find(|(key, ..)| key == "logits_merged")
            .unwrap();
        let (width, vocab) = (shape[1], shape[2]);
        for (row, &length) in lengths.iter().enumerate() {
            let ids = &ids[row * width..][..length];
            let labels = vec![-100; length];
            let ours =
                Fused::new(&base, 1).unwrap().logits(None, &Packed::from_rows([(ids, labels.as_slice())])).unwrap();
            let wanted = &golden[row * width * vocab..][..length * vocab];
            let worst = ours.iter().zip(wanted).fold(0f32, |most, (x, y)| most.max((x - y).abs()));
            assert!(worst < 1e-4, "{name} row {row}: {worst}");
        }
    }
}

#[test]
fn the_check_is_in_the_receipt_and_sees_next_to_nothing_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    let name = CASES[0];
    let output = merge(dir.path(), Some(&case(name).join("base")), &case(name).join("adapter"), &["--check-rows", "2"]);
    assert_code(&output, 0);
    let receipt = receipt(&output);
    let check = &receipt["results"]["check"];
    assert_eq!((receipt["artefact"].as_str(), check["rows"].as_u64()), (Some("model"), Some(2)));
    assert_eq!(receipt["config"]["dtype"], "f32", "the base's type is the default");
    assert!(check["largest_difference"].as_f64().unwrap() < 1e-4, "{check}");
    assert!(check["adapter_effect"].as_f64().unwrap() > 0.1, "{check}");
}

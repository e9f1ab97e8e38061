//! The losses are PEFT's.
use crate::harness::{CASES, assert_code, case, dataset, eval, examples, json};
use lora_eval::Report;
use safetensors::SafeTensors;

fn report(dir: &std::path::Path) -> Report {
    serde_json::from_value(json(&dir.join("out/report.json"))).unwrap()
}

/// Mean loss of golden logits over the rows' supervised tokens, in f64.
fn mean_loss(name: &str, logits: &str) -> f64 {
    let bytes = std::fs::read(case(name).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = golden.tensor(logits).unwrap();
    let [_, width, vocab] = *tensor.shape() else {
        panic!("logits are (B, T, V)")
    };
    let values: Vec<f64> = tensor
        .data()
        .chunks_exact(4)
        .map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap())))
        .collect();
    let (mut sum, mut tokens) = (0.0, 0);
    for (row, example) in examples(name).iter().enumerate() {
        for (t, &label) in example
            .labels
            .iter()
            .enumerate()
            .skip(1)
            .filter(|&(_, &label)| label >= 0)
        {
            let start = (row * width + t - 1) * vocab;
            let logits = &values[start..start + vocab];
            let most = logits.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = logits.iter().map(|x| (x - most).exp()).sum();
            sum += most + total.ln() - logits[label as usize];
            tokens += 1;
        }
    }
    sum / f64::from(tokens)
}

#[test]
fn base_and_adapters_have_pefts_losses() {
    for name in CASES {
        let dir = tempfile::tempdir().unwrap();
        let data = dataset(dir.path(), examples(name), None);
        let (adapter, trained) = (
            case(name).join("adapter"),
            case(name).join("adapter_trained"),
        );
        let adapters = [
            "--adapter",
            adapter.to_str().unwrap(),
            "--adapter",
            trained.to_str().unwrap(),
        ];
        assert_code(
            &eval(dir.path(), &case(name).join("base"), &data, &adapters),
            0,
        );

        let report = report(dir.path());
        let names: Vec<_> = report
            .models
            .iter()
            .map(|model| model.name.as_str())
            .collect();
        assert_eq!(names, ["base", "adapter", "adapter_trained"]);
        let peft = json(&case(name).join("case.json"))["loss"]
            .as_f64()
            .unwrap();
        for (model, golden) in
            report
                .models
                .iter()
                .zip(["logits_base", "logits_adapter", "logits_trained"])
        {
            let wanted = mean_loss(name, golden);
            assert!(
                (model.nll - wanted).abs() < 1e-4 * wanted,
                "{name} {}: {} is not {wanted}",
                model.name,
                model.nll
            );
            assert!((model.perplexity - wanted.exp()).abs() < 1e-3 * wanted.exp());
        }
        assert!(
            (report.models[1].nll - peft).abs() < 1e-4 * peft,
            "{name}: {} is not {peft}",
            report.models[1].nll
        );
        assert!(report.generation.skipped.is_some() && report.models[0].exact_match.is_none());
    }
}

#[test]
fn the_pack_size_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let name = CASES[0];
    let data = dataset(dir.path(), examples(name), None);
    let base = case(name).join("base");
    let loss = |tokens: &str| {
        assert_code(
            &eval(
                dir.path(),
                &base,
                &data,
                &["--force", "--batch-tokens", tokens],
            ),
            0,
        );
        report(dir.path()).models[0].nll
    };
    let (apart, together) = (loss("1"), loss("1000"));
    assert!((apart - together).abs() < 1e-6, "{apart} {together}");
}

#[test]
fn the_last_line_is_the_receipt_and_every_line_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), examples(CASES[0]), None);
    let output = eval(dir.path(), &case(CASES[0]).join("base"), &data, &[]);
    assert_code(&output, 0);
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let receipt = lines.last().unwrap();
    assert_eq!(
        (receipt["tool"].as_str(), receipt["artefact"].as_str()),
        (Some("lora-eval"), Some("report"))
    );
    assert_eq!(receipt["results"]["passed"], true);
    assert!(
        lines
            .iter()
            .any(|line| line["event"] == "model" && line["name"] == "base")
    );
}

//! The real PEFT's trajectory, through the whole command: losses, gradient norms and trained adapter of the golden cases.
use crate::harness::{floats, golden, golden_rows, losses, train, write_split};
use serde_json::Value;

/// What transformers calls the loss: with the loss for the balance of experts where config.json asks for it.
fn losses_of_transformers(case: &str, lines: &[Value]) -> Vec<f64> {
    let config = std::fs::read(golden(case, "base").join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    if config["output_router_logits"] != true {
        return losses(lines);
    }
    let coefficient = config["router_aux_loss_coef"].as_f64().unwrap();
    let balances = lines.iter().filter_map(|line| line["aux_loss"].as_f64());
    let both = losses(lines).into_iter().zip(balances);
    both.map(|(loss, balance)| loss + coefficient * balance)
        .collect()
}

fn equals_peft(case: &str, route: &str) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let rows = golden_rows(case);
    write_split(&data, "train", rows.clone());
    let expected: Value =
        serde_json::from_slice(&std::fs::read(golden(case, "case.json")).unwrap()).unwrap();
    let optim = |key: &str| expected["optim"][key].to_string();
    let out = dir.path().join("adapter");
    #[rustfmt::skip]
    let lines = train(&[
        "--base", golden(case, "base").to_str().unwrap(), "--data", data.to_str().unwrap(),
        "--adapter", golden(case, "adapter").to_str().unwrap(), "--out", out.to_str().unwrap(),
        "--batch", &rows.len().to_string(), "--steps", &optim("steps"), "--lr", &optim("lr"),
        "--weight-decay", &optim("weight_decay"), "--clip", &optim("clip"),
        "--schedule", "constant", "--warmup", "0", "--route", route,
    ]);
    let numbers = |key: &str| -> Vec<f64> {
        expected[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect()
    };
    let norms: Vec<f64> = lines
        .iter()
        .filter_map(|line| line["grad_norm"].as_f64())
        .collect();
    for (what, found, wanted) in [
        (
            "loss",
            losses_of_transformers(case, &lines),
            numbers("losses"),
        ),
        ("norm", norms, numbers("grad_norms")),
    ] {
        assert_eq!(found.len(), wanted.len());
        for (step, (f, w)) in found.iter().zip(&wanted).enumerate() {
            assert!(
                (f - w).abs() < 1e-4 * w,
                "{case}, {route}: {what} at step {}: {f}, PEFT has {w}",
                step + 1
            );
        }
    }
    let found = floats(&out.join("adapter_model.safetensors"));
    let wanted = floats(&golden(case, "adapter_trained/adapter_model.safetensors"));
    assert_eq!(found.len(), wanted.len());
    for ((name, f), (wanted_name, w)) in found.iter().zip(&wanted) {
        assert_eq!(name, wanted_name);
        let largest = w.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let difference = f
            .iter()
            .zip(w)
            .fold(0.0f32, |max, (f, w)| max.max((f - w).abs()));
        assert!(
            f.len() == w.len() && difference < 1e-3 * largest,
            "{case}, {route}: {name} differs by {difference}"
        );
    }
}

#[test]
fn composite_route_follows_peft() {
    equals_peft("llama_gqa_tied", "composite");
    equals_peft("llama_rope3_rslora", "composite");
}

#[test]
fn fused_route_follows_peft() {
    equals_peft("llama_gqa_tied", "fused");
    equals_peft("llama_rope3_rslora", "fused");
}

#[test]
fn both_routes_follow_peft_where_experts_are_kept_balanced() {
    for case in ["balance_attention", "balance_parameters", "balance_biases"] {
        equals_peft(case, "fused");
        equals_peft(case, "composite");
    }
}

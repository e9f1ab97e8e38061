//! `--router-aux-loss-coef`: where it counts, what it changes, what is told of it.
use crate::harness::{
    adapter_bytes, base, dataset, golden_rows, losses, mixture, refused, train, write_split,
};
use lora_testkit::{json, write_family};
use serde_json::Value;
use std::path::Path;

/// 12 steps of two batches each, with these flags.
fn run(dir: &Path, base: &str, name: &str, flags: &[&str]) -> Vec<Value> {
    let (data, out) = (dataset(dir), dir.join(name));
    let fixed = ["--base", base, "--data", &data, "--steps", "12"];
    let more = ["--warmup", "0", "--batch", "8", "--accumulation", "2"];
    let out = ["--lr", "1e-2", "--out", out.to_str().unwrap()];
    train(&[&fixed[..], &more, &out, flags].concat())
}

fn balances(lines: &[Value]) -> Vec<f64> {
    let told = lines.iter().filter_map(|line| line["aux_loss"].as_f64());
    told.collect()
}

fn coefficient(lines: &[Value]) -> &Value {
    &lines.last().unwrap()["config"]["router-aux-loss-coef"]
}

const ROUTER: [&str; 2] = ["--target-parameters", "router,experts"];

#[test]
fn it_counts_where_config_json_or_the_flag_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let asked = mixture(dir, "balance_parameters");
    let by_config = run(dir, &asked, "by-config", &ROUTER);
    assert_eq!(balances(&by_config).len(), 12);
    assert_eq!(*coefficient(&by_config), 0.4);
    let flag = |value: &'static str| [ROUTER[0], ROUTER[1], "--router-aux-loss-coef", value];
    let by_flag = run(dir, &asked, "by-flag", &flag("0.4"));
    let bytes = |name: &str| adapter_bytes(&dir.join(name));
    assert_eq!(bytes("by-flag"), bytes("by-config"));
    assert_eq!(balances(&by_flag), balances(&by_config));
    let lines = std::fs::read_to_string(dir.join("by-flag/metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["aux_loss"], balances(&by_flag)[0]);

    let off = run(dir, &asked, "off", &flag("0"));
    assert_eq!(balances(&off).len(), 0);
    assert_ne!(bytes("off"), bytes("by-flag"));
    // What is shown is the loss of the tokens, the same at the same parameters.
    assert!((losses(&off)[0] / losses(&by_flag)[0] - 1.0).abs() < 1e-6);

    let plain = mixture(dir, "parameters_all");
    let unasked = run(dir, &plain, "unasked", &ROUTER);
    assert_eq!(balances(&unasked).len(), 0);
    assert_eq!(*coefficient(&unasked), 0.0);
}

#[test]
fn experts_become_more_balanced_and_the_routes_agree() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let base = mixture(dir, "balance_parameters");
    let flags = |route| {
        let strong = ["--router-aux-loss-coef", "3", "--route", route];
        [&ROUTER[..], &strong].concat()
    };
    let fused = run(dir, &base, "fused", &flags("fused"));
    let composite = run(dir, &base, "composite", &flags("composite"));
    let (of_fused, of_composite) = (balances(&fused), balances(&composite));
    for (a, b) in of_fused.iter().zip(&of_composite) {
        assert!((a / b - 1.0).abs() < 1e-3, "{of_fused:?} {of_composite:?}");
    }
    // Of two chosen, 2 is even.
    let excess = |balance: f64| balance - 2.0;
    assert!(
        excess(of_fused[11]) < 0.7 * excess(of_fused[0]),
        "{of_fused:?}"
    );
}

#[test]
fn all_weights_train_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let base = mixture(dir, "balance_parameters");
    let lines = run(dir, &base, "full", &["--method", "full"]);
    assert_eq!(balances(&lines).len(), 12);
    let config = std::fs::read_to_string(dir.join("full/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["output_router_logits"], true);
    assert_eq!(config["router_aux_loss_coef"], 0.4);
}

#[test]
fn a_model_without_experts_has_nothing_to_balance() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let out = dir.path().join("out");
    let fixed = ["--base", &base, "--data", &data, "--steps", "1"];
    let with = |value: &'static str| {
        let more = ["--out", out.to_str().unwrap(), "--warmup", "0"];
        [&fixed[..], &more, &[value]].concat()
    };
    let error = refused(&with("--router-aux-loss-coef=0.01"));
    assert!(error.contains("has no experts to balance"), "{error}");
    assert!(!out.exists());
    train(&with("--router-aux-loss-coef=0"));
    let error = refused(&with("--router-aux-loss-coef=-1"));
    assert!(error.contains("--router-aux-loss-coef"), "{error}");
}

/// transformers has no loss for the balance of experts that are scored by sigmoids, whatever config.json asks for.
#[test]
fn experts_scored_by_sigmoids_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let [base, data, out] = ["base", "data", "out"].map(|name| dir.join(name));
    write_family("lfm2_moe_biased", &base);
    write_split(&data, "train", golden_rows("lfm2_moe_biased"));
    let path = base.join("config.json");
    let mut config = json(&path);
    config["output_router_logits"] = true.into();
    config["router_aux_loss_coef"] = 0.4.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let [base, data, to] = [&base, &data, &out].map(|path| path.to_str().unwrap());
    let with = |flags: &[&'static str]| {
        let fixed = ["--base", base, "--data", data, "--steps", "2"];
        [&fixed[..], &["--warmup", "0", "--out", to], flags].concat()
    };
    let error = refused(&with(&["--router-aux-loss-coef", "0.4"]));
    assert!(error.contains("are scored by sigmoids"), "{error}");
    let error = refused(&with(&["--method", "full"]));
    assert!(
        error.contains("what it adds to experts' scores is no parameter"),
        "{error}"
    );
    assert!(!out.exists());
    let unasked = train(&with(&[]));
    let off = train(&with(&["--router-aux-loss-coef", "0", "--force"]));
    assert_eq!(losses(&unasked), losses(&off));
    assert!(balances(&unasked).is_empty() && !losses(&off).is_empty());
}

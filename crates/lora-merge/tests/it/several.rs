//! Several adapters: the merged weights are the exact sum, the adapter that comes out is PEFT's layout, two are compared.
use crate::harness::{CASES, assert_code, case, receipt, stderr};
use lora_checkpoint::Checkpoint;
use lora_core::{Adapter, BaseModel};
use lora_model::Base;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lora-merge"));
    command
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn golden(name: &str, folder: &str) -> String {
    case(name).join(folder).display().to_string()
}

/// The weights of a merged model, f32, by name.
fn weights(path: &Path) -> Vec<(String, Vec<f32>)> {
    let model = Checkpoint::open(path).unwrap();
    model
        .tensor_names()
        .into_iter()
        .map(|name| (name.clone(), model.tensor(&name).unwrap().to_f32()))
        .collect()
}

#[test]
fn merged_weights_are_the_weighted_sum() {
    for name in CASES {
        let dir = tempfile::tempdir().unwrap();
        let (base, a, b) = (
            golden(name, "base"),
            golden(name, "adapter"),
            golden(name, "adapter_trained"),
        );
        let both = [
            "--base",
            &base,
            "--adapter",
            &a,
            "--adapter",
            &b,
            "--weight",
            "0.7,-0.4",
            "--dtype",
            "f32",
        ];
        let output = run(
            dir.path(),
            &[&both[..], &["--out", "sum", "--threads", "1"]].concat(),
        );
        assert_code(&output, 0);
        let combined = &receipt(&output)["results"]["combined"];
        assert_eq!(
            (
                combined["combine"].as_str(),
                combined["relative_error"].as_f64()
            ),
            (Some("cat"), Some(0.0))
        );

        let opened = Base::open(base.as_ref()).unwrap();
        let [a, b] = [&a, &b].map(|path| Adapter::load(path.as_ref(), &opened).unwrap().0);
        let mut compared = 0;
        for (name, merged) in weights(&dir.path().join("sum")) {
            let mut wanted: Vec<f64> = opened
                .checkpoint()
                .tensor(&name)
                .unwrap()
                .to_f32()
                .into_iter()
                .map(f64::from)
                .collect();
            for (adapter, weight) in [(&a, 0.7), (&b, -0.4)] {
                let Some(index) = adapter.find(name.trim_end_matches(".weight")) else {
                    continue;
                };
                let ((low, high), m) = (adapter.factors(index), &adapter.modules[index]);
                for (o, row) in wanted.chunks_exact_mut(m.in_features).enumerate() {
                    for r in 0..m.rank {
                        let factor =
                            weight * f64::from(m.scaling) * f64::from(high[o * m.rank + r]);
                        row.iter_mut()
                            .zip(&low[r * m.in_features..])
                            .for_each(|(w, &x)| *w += factor * f64::from(x));
                    }
                }
                compared += 1;
            }
            let worst = merged
                .iter()
                .zip(&wanted)
                .map(|(x, y)| (f64::from(*x) - y).abs())
                .fold(0.0, f64::max);
            assert!(worst < 1e-6, "{name}: {worst}");
        }
        assert_eq!(compared, 2 * a.modules.len());
    }
}

#[test]
fn the_adapter_that_comes_out_merges_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let name = CASES[1]; // rsLoRA
    let (base, a, b) = (
        golden(name, "base"),
        golden(name, "adapter"),
        golden(name, "adapter_trained"),
    );
    let both = [
        "--adapter",
        &a,
        "--adapter",
        &b,
        "--weight",
        "1",
        "--weight",
        "0.5",
    ];
    let output = run(
        dir.path(),
        &[&both[..], &["--to-adapter", "--out", "both"]].concat(),
    );
    assert_code(&output, 0);
    assert_eq!(receipt(&output)["artefact"], "adapter");
    let config: Value = serde_json::from_slice(
        &std::fs::read(dir.path().join("both/adapter_config.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(
        (
            config["use_rslora"].as_bool(),
            config["r"] == config["lora_alpha"]
        ),
        (Some(false), true)
    );
    assert_code(
        &run(
            dir.path(),
            &[
                "--base",
                &base,
                "--adapter",
                "both",
                "--out",
                "later",
                "--threads",
                "1",
            ],
        ),
        0,
    );
    let now = [
        &both[..],
        &["--base", &base, "--out", "now", "--threads", "1"],
    ]
    .concat();
    assert_code(&run(dir.path(), &now), 0);
    let bytes =
        |folder: &str| std::fs::read(dir.path().join(folder).join("model.safetensors")).unwrap();
    assert!(bytes("later") == bytes("now"));
}

#[test]
fn every_way_writes_an_adapter_and_says_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        golden(CASES[0], "adapter"),
        golden(CASES[0], "adapter_trained"),
    );
    for (way, more) in [
        ("svd", vec!["--rank", "3"]),
        ("linear", vec![]),
        ("ties", vec!["--density", "0.3"]),
        ("dare", vec!["--seed", "5"]),
        ("dare-ties", vec![]),
    ] {
        let args = [
            "--adapter",
            &a,
            "--adapter",
            &b,
            "--combine",
            way,
            "--to-adapter",
            "--force",
            "--out",
            "out",
        ];
        let output = run(dir.path(), &[&args[..], &more].concat());
        assert_code(&output, 0);
        let combined = receipt(&output)["results"].clone();
        let error = combined["relative_error"].as_f64().unwrap();
        assert!(error > 0.001 && error < 10.0, "{combined}");
        assert!(
            stderr(&output).contains("% away from the exact sum"),
            "{}",
            stderr(&output)
        );
        let config = std::fs::read(dir.path().join("out/adapter_config.json")).unwrap();
        let rank = serde_json::from_slice::<Value>(&config).unwrap()["r"].as_u64();
        assert!(way != "svd" || rank == Some(3));
    }
}

#[test]
fn an_adapter_of_mlx_lm_merges_as_its_origin_does() {
    let dir = tempfile::tempdir().unwrap();
    let (base, a) = (golden(CASES[0], "base"), golden(CASES[0], "adapter"));
    let opened = Base::open(base.as_ref()).unwrap();
    let (adapter, _) = Adapter::load(a.as_ref(), &opened).unwrap();
    std::fs::create_dir(dir.path().join("mlx")).unwrap();
    adapter
        .save_mlx(&dir.path().join("mlx"), &opened.modules())
        .unwrap();
    assert_code(
        &run(
            dir.path(),
            &[
                "--base",
                &base,
                "--adapter",
                "mlx",
                "--out",
                "one",
                "--threads",
                "1",
            ],
        ),
        0,
    );
    assert_code(
        &run(
            dir.path(),
            &[
                "--base",
                &base,
                "--adapter",
                &a,
                "--out",
                "two",
                "--threads",
                "1",
            ],
        ),
        0,
    );
    let bytes =
        |folder: &str| std::fs::read(dir.path().join(folder).join("model.safetensors")).unwrap();
    assert!(bytes("one") == bytes("two"));
    assert_code(
        &run(
            dir.path(),
            &["--adapter", "mlx", "--to-adapter", "--out", "peft"],
        ),
        0,
    );
    let (back, _) = Adapter::load(&dir.path().join("peft"), &opened).unwrap();
    assert_eq!(back.params, adapter.params);
}

#[test]
fn two_adapters_are_compared_in_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        golden(CASES[0], "adapter"),
        golden(CASES[0], "adapter_trained"),
    );
    let lines = |first: &str, second: &str| -> Vec<Value> {
        let output = run(dir.path(), &["--diff", first, second]);
        assert_code(&output, 0);
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let same = lines(&a, &a);
    assert_eq!(
        same.len(),
        14 + 1,
        "seven modules of two layers, and all together"
    );
    for line in &same {
        assert!(
            (line["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-12
                && line["distance"].as_f64().unwrap() < 1e-9
        );
    }
    let other = lines(&a, &b);
    assert!(
        other
            .iter()
            .all(|line| line["cosine"].as_f64().unwrap() < 1.0
                && line["distance"].as_f64().unwrap() > 0.0)
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is written"
    );
}

#[test]
fn flags_without_effect_and_adapters_that_do_not_add_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (base, a) = (golden(CASES[0], "base"), golden(CASES[0], "adapter"));
    let other = golden(CASES[1], "adapter");
    let refused = |args: &[&str], words: &str| {
        let output = run(dir.path(), args);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    };
    let to = ["--adapter", a.as_str(), "--out", "out", "--to-adapter"];
    refused(
        &[&to[..], &["--rank", "4"]].concat(),
        "--rank has no effect",
    );
    refused(
        &[&to[..], &["--density", "0.4"]].concat(),
        "--density has no effect",
    );
    refused(
        &[&to[..], &["--seed", "4"]].concat(),
        "--seed has no effect",
    );
    refused(
        &[&to[..], &["--weight", "1,2"]].concat(),
        "2 weights for 1 adapters",
    );
    refused(
        &[&to[..], &["--combine", "svd", "--rank", "0"]].concat(),
        "from 1 to 65536",
    );
    refused(
        &[&to[..], &["--combine", "ties", "--density", "1.5"]].concat(),
        "above 0, 1 or less",
    );
    refused(
        &[&to[..], &["--dtype", "f32"]].concat(),
        "cannot be used with",
    );
    refused(&["--diff", &a], "2 values");
    refused(&["--diff", &a, &a, "--out", "x"], "cannot be used with");
    refused(&["--base", &base, "--out", "out"], "--adapter");
    refused(&[&to[..], &["--adapter", &other]].concat(), "same base");
}

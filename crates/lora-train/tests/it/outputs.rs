//! What a finished run leaves: PEFT's files, metrics, checkpoints, card, receipt.
use crate::harness::{
    adapter_bytes, base, command, dataset, example, rows, run, train, write_split,
};
use serde_json::Value;
use std::fs;

#[test]
fn the_folder_is_complete_and_the_receipt_is_the_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dataset(dir.path()), dir.path().join("out"));
    let args = [
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
        "--steps",
        "9",
        "--eval-every",
        "4",
    ];
    let lines = train(&args);
    let receipt = &lines[lines.len() - 1];
    assert_eq!(receipt["tool"], "lora-train");
    assert_eq!(receipt["artefact"], "adapter");
    assert_eq!(receipt["config"]["rank"], 16);
    assert_eq!(receipt["config"]["targets"][0], "all");
    assert_eq!(receipt["config"]["weight-decay"], 0.0);
    assert_eq!(receipt["results"]["steps"], 9);
    let evals: Vec<&Value> = lines.iter().filter(|l| l["event"] == "eval").collect();
    let steps: Vec<u64> = evals.iter().map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [4, 8, 9]);

    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 9 + 3);
    let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert_eq!(first["lr"], 0.0, "a warm-up starts from 0");
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(
        card.contains("| --rank | 16 |") && card.contains("held-out loss, best"),
        "{card}"
    );
    for file in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "checkpoints/last/adapter_model.safetensors",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
}

#[test]
fn stderr_has_pefts_line_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dataset(dir.path()), dir.path().join("out"));
    let output = run(&[
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
        "--steps",
        "1",
        "--rank",
        "8",
    ]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line = "trainable params: 12,288 || all params: 61,680 || trainable%: 19.9222";
    assert!(stderr.contains(line), "{stderr}");
}

#[test]
fn the_best_adapter_is_kept_and_patience_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dir.path().join("data"), dir.path().join("out"));
    write_split(&data, "train", rows(4));
    // Held-out rows that contradict the training rows: their loss must rise soon.
    let other = |ids: Vec<u32>| ids.into_iter().map(|id| 3 + id * 7 % 157).collect();
    let valid = rows(4)
        .into_iter()
        .map(|row| example(other(row.input_ids), 2))
        .collect();
    write_split(&data, "valid", valid);
    let (data, out_path) = (data.to_str().unwrap(), out.to_str().unwrap());
    #[rustfmt::skip]
    let lines = train(&[
        "--base", &base, "--data", data, "--out", out_path, "--steps", "200", "--lr", "2e-2", "--warmup", "0",
        "--eval-every", "2", "--patience", "3",
    ]);
    let results = &lines[lines.len() - 1]["results"];
    assert_eq!(results["stopped_early"], true);
    let (best, steps) = (
        results["best_step"].as_u64().unwrap(),
        results["steps"].as_u64().unwrap(),
    );
    assert_eq!(steps, best + 6);
    assert!(results["best_valid_loss"].as_f64() < results["valid_loss"].as_f64());
    assert!(adapter_bytes(&out) != adapter_bytes(&out.join("checkpoints/last")));
}

#[test]
fn presets_set_what_flags_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let config = |name: &str, more: &[&str]| -> Value {
        let out = dir.path().join(name);
        train(
            &[
                &[
                    "--base",
                    &base,
                    "--data",
                    &data,
                    "--out",
                    out.to_str().unwrap(),
                    "--steps",
                    "1",
                ],
                more,
            ]
            .concat(),
        );
        serde_json::from_slice(&fs::read(out.join("adapter_config.json")).unwrap()).unwrap()
    };
    let conservative = config("a", &["--preset", "conservative"]);
    assert_eq!(
        (&conservative["r"], &conservative["lora_alpha"]),
        (&8.into(), &8.into())
    );
    assert_eq!(conservative["lora_dropout"], 0.05);
    assert_eq!(
        conservative["target_modules"],
        serde_json::json!(["q_proj", "v_proj"])
    );
    let overridden = config(
        "b",
        &[
            "--preset",
            "maximum",
            "--rank",
            "4",
            "--alpha",
            "12",
            "--targets",
            "o_proj,up_proj",
        ],
    );
    assert_eq!(
        (&overridden["r"], &overridden["lora_alpha"]),
        (&4.into(), &12.into())
    );
    assert_eq!(
        overridden["target_modules"],
        serde_json::json!(["o_proj", "up_proj"])
    );
    let regex = config(
        "c",
        &["--targets", r".*layers\.0\..*(q|v)_proj", "--rslora"],
    );
    assert_eq!(
        (&regex["use_rslora"], &regex["target_modules"]),
        (&true.into(), &r".*layers\.0\..*(q|v)_proj".into())
    );
}

/// The help as people see it, on a line of 100 columns; UPDATE=1 writes it anew.
#[test]
fn help_is_as_it_was() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/help.txt");
    let help = String::from_utf8(command(&["--help"]).output().unwrap().stdout).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, &help).unwrap();
    }
    assert_eq!(help, fs::read_to_string(file).unwrap());
}

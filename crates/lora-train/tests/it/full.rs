//! `--method full`: all weights, from a base or from its shape alone.
use crate::harness::{base, dataset, floats, golden, losses, train};
use std::fs;

#[test]
fn a_folder_without_weights_starts_at_random_and_becomes_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let (shape, data, out) = (
        dir.path().join("shape"),
        dataset(dir.path()),
        dir.path().join("out"),
    );
    fs::create_dir(&shape).unwrap();
    fs::copy(
        golden("llama_gqa_tied", "base/config.json"),
        shape.join("config.json"),
    )
    .unwrap();
    fs::write(shape.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let run = |base: &str, out: &str, more: &[&str]| {
        train(
            &[
                &[
                    "--method", "full", "--base", base, "--data", &data, "--out", out, "--lr",
                    "1e-2",
                ],
                more,
            ]
            .concat(),
        )
    };
    let lines = run(
        shape.to_str().unwrap(),
        out.to_str().unwrap(),
        &["--epochs", "10", "--dtype", "bf16"],
    );
    let first = losses(&lines);
    assert!(first[first.len() - 1] < 0.8 * first[0], "{first:?}");
    assert_eq!(lines[lines.len() - 1]["artefact"], "model");
    assert!(out.join("chat_template.jinja").exists());
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["dtype"], "bfloat16");

    let again = dir.path().join("again");
    let second = losses(&run(
        out.to_str().unwrap(),
        again.to_str().unwrap(),
        &["--steps", "2"],
    ));
    assert!(
        second[0] < 0.9 * first[0],
        "it goes on from the trained weights: {second:?}"
    );
}

#[test]
fn all_weights_of_a_base_change_and_are_stored_in_its_dtype() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dataset(dir.path()), dir.path().join("out"));
    let args = [
        "--method",
        "full",
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
        "--steps",
        "3",
    ];
    train(&args);
    let before = floats(&golden("llama_gqa_tied", "base/model.safetensors"));
    let after = floats(&out.join("model.safetensors"));
    let names =
        |tensors: &[(String, Vec<f32>)]| tensors.iter().map(|t| t.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(before.iter().zip(&after).all(|(b, a)| b.1 != a.1));
}

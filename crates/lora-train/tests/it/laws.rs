//! What must not change the result, and what must.
use crate::harness::{adapter_bytes, base, dataset, floats, losses, train};
use std::path::Path;

fn run(dir: &Path, name: &str, data: &str, more: &[&str]) -> (Vec<f64>, Vec<u8>) {
    let out = dir.join(name);
    let base = base();
    let mut args = vec![
        "--base",
        &base,
        "--data",
        data,
        "--out",
        out.to_str().unwrap(),
        "--rank",
        "4",
        "--lr",
        "1e-2",
    ];
    args.extend(more);
    let lines = train(&args);
    (losses(&lines), adapter_bytes(&out))
}

#[test]
fn the_same_run_gives_the_same_bytes_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    for route in ["fused", "composite"] {
        let flags = ["--steps", "6", "--dropout", "0.1", "--route", route];
        let one = run(
            dir.path(),
            &format!("{route}1"),
            &data,
            &[&flags[..], &["--threads", "1"]].concat(),
        );
        let three = run(
            dir.path(),
            &format!("{route}3"),
            &data,
            &[&flags[..], &["--threads", "3"]].concat(),
        );
        assert!(one == three, "{route}");
        let other = run(
            dir.path(),
            &format!("{route}s"),
            &data,
            &[&flags[..], &["--seed", "1"]].concat(),
        );
        assert!(one.1 != other.1, "{route}: the seed changes nothing");
    }
}

#[test]
fn dropout_changes_the_losses_from_the_second_step_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let without = run(
        dir.path(),
        "without",
        &data,
        &["--steps", "4", "--warmup", "0"],
    )
    .0;
    let with = run(
        dir.path(),
        "with",
        &data,
        &["--steps", "4", "--warmup", "0", "--dropout", "0.5"],
    )
    .0;
    assert_eq!(
        without[0], with[0],
        "B is zero, so the first loss is the base's"
    );
    assert!(without[2] != with[2]);
}

#[test]
fn accumulated_batches_weigh_by_tokens_like_one_large_batch() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let whole = run(
        dir.path(),
        "whole",
        &data,
        &["--batch", "6", "--steps", "8"],
    )
    .0;
    let split = run(
        dir.path(),
        "split",
        &data,
        &["--batch", "2", "--accumulation", "3", "--steps", "8"],
    )
    .0;
    assert_eq!(whole.len(), 8);
    for (w, s) in whole.iter().zip(&split) {
        assert!((w - s).abs() < 1e-5 * w, "{w} is not {s}");
    }
}

/// With dropout off, how rows are cut into micro-batches changes rounding only, and how many threads compute them nothing.
#[test]
fn four_batches_of_two_are_one_of_eight() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let fixed = ["--epochs", "3", "--warmup", "0"];
    let train =
        |name: &str, more: &[&str]| run(dir.path(), name, &data, &[&fixed[..], more].concat());
    let whole = train("whole", &["--batch", "8"]);
    let split = ["--batch", "2", "--accumulation", "4"];
    let (losses, bytes) = train("one", &[&split[..], &["--threads", "1"]].concat());
    let on_three = train("three", &[&split[..], &["--threads", "3"]].concat());
    assert!((&losses, &bytes) == (&on_three.0, &on_three.1));
    assert_eq!(losses.len(), 9);
    for (step, (w, s)) in whole.0.iter().zip(&losses).enumerate() {
        assert!((w - s).abs() < 1e-6 * w, "step {step}: {w} is not {s}");
    }
    let values = |name: &str| floats(&dir.path().join(name).join("adapter_model.safetensors"));
    let mut largest = 0f32;
    for ((name, w), (_, s)) in values("whole").iter().zip(values("one")) {
        let difference = w.iter().zip(&s).map(|(w, s)| (w - s).abs());
        let difference = difference.fold(0f32, f32::max);
        assert!(difference < 1e-4, "{name}: {difference}");
        largest = w.iter().fold(largest, |largest, w| largest.max(w.abs()));
    }
    assert!(largest > 1e-2, "nothing was learned");
}

#[test]
fn training_learns() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let (losses, _) = run(
        dir.path(),
        "out",
        &data,
        &["--epochs", "12", "--batch-tokens", "64"],
    );
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");
}

//! A run fits into the memory that it may take, or says what it needs.
use crate::harness::{adapter_bytes, base, dataset, example, losses, refused, train, write_split};
use serde_json::Value;
use std::path::Path;

fn run(dir: &Path, name: &str, data: &str, more: &[&str]) -> (Vec<Value>, Vec<u8>) {
    run_on(&base(), dir, name, data, more)
}

fn run_on(base: &str, dir: &Path, name: &str, data: &str, more: &[&str]) -> (Vec<Value>, Vec<u8>) {
    let out = dir.join(name);
    let mut args = vec![
        "--base",
        base,
        "--data",
        data,
        "--out",
        out.to_str().unwrap(),
        "--rank",
        "4",
        "--steps",
        "4",
    ];
    args.extend(more);
    let lines = train(&args);
    (lines, adapter_bytes(&out))
}

/// The receipt's account of memory.
fn memory(lines: &[Value]) -> &Value {
    &lines.last().unwrap()["measured"]["memory"]
}

#[test]
fn a_little_less_than_all_rounds_some_layers_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let one = ["--threads", "1"];
    let (free, bytes) = run(dir.path(), "free", &data, &one);
    assert_eq!(
        (
            &memory(&free)["bf16_layers"],
            &memory(&free)["recomputed_layers"]
        ),
        (&0.into(), &0.into())
    );
    let peak = memory(&free)["predicted_peak_bytes"].as_u64().unwrap();

    let (enough, same) = run(
        dir.path(),
        "enough",
        &data,
        &[&one[..], &["--memory", &peak.to_string()]].concat(),
    );
    assert_eq!(memory(&enough)["kept_layers"], memory(&free)["kept_layers"]);
    assert!(
        same == bytes,
        "a budget that is large enough changes the result"
    );

    let (less, other) = run(
        dir.path(),
        "less",
        &data,
        &[&one[..], &["--memory", &(peak - 20_000).to_string()]].concat(),
    );
    assert!(
        memory(&less)["bf16_layers"].as_u64().unwrap() > 0,
        "{}",
        memory(&less)
    );
    assert!(memory(&less)["predicted_peak_bytes"].as_u64().unwrap() <= peak - 20_000);
    assert!(other != bytes, "nothing was rounded");
    for (a, b) in losses(&less).iter().zip(losses(&free)) {
        assert!((a - b).abs() < 1e-3 * b, "{a} and {b}");
    }
}

/// Further threads take memory, too: what rounds is then computed again in place of being kept, to the same bits.
#[test]
fn the_same_budget_gives_the_same_bytes_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let base = lora_testkit::repository("data/tiny-chat");
    let base = base.to_str().unwrap();
    let row = |n: u32| example((0..48).map(|at| 5 + (n * 31 + at * 7) % 400).collect(), 8);
    let data = dir.path().join("data");
    write_split(&data, "train", (0..32).map(row).collect());
    let data = data.to_str().unwrap();
    let run = |name: &str, flags: &[&str]| run_on(base, dir.path(), name, data, flags);
    let (all, _) = run("all", &["--threads", "1"]);
    let peak = memory(&all)["predicted_peak_bytes"].as_u64().unwrap();
    let budget = (peak - 1_000_000).to_string();
    let by = |threads: &str| {
        let name = format!("by{threads}");
        run(&name, &["--memory", &budget, "--threads", threads])
    };
    let (one, bytes) = by("1");
    assert!(memory(&one)["bf16_layers"] != 0, "{}", memory(&one));
    let again = |lines: &[Value]| memory(lines)["recomputed_layers"].as_u64().unwrap();
    let mut most = 0;
    for threads in ["2", "4"] {
        let (lines, same) = by(threads);
        assert!(same == bytes, "{threads} threads: {}", memory(&lines));
        most = most.max(again(&lines));
    }
    assert!(most > again(&one), "four threads leave room for all");
}

#[test]
fn too_little_for_any_plan_names_a_budget_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dataset(dir.path()), dir.path().join("out"));
    let args = [
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
        "--rank",
        "4",
        "--steps",
        "2",
    ];
    let error = refused(&[&args[..], &["--memory", "1MB"]].concat());
    assert!(
        error.contains("may take 1.0 MB")
            && error.contains("even if every layer is computed again"),
        "{error}"
    );
    assert!(!out.exists() && !dir.path().join("out.partial").exists());
    let (_, rest) = error.split_once("hint: --memory ").unwrap();
    let (budget, _) = rest.split_once(' ').unwrap();
    train(&[&args[..], &["--memory", budget]].concat());
}

#[test]
fn sizes_that_are_none_and_routes_without_a_plan_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data, out) = (base(), dataset(dir.path()), dir.path().join("out"));
    let args = [
        "--base",
        &base,
        "--data",
        &data,
        "--out",
        out.to_str().unwrap(),
    ];
    let error = refused(&[&args[..], &["--memory", "much"]].concat());
    assert!(
        error.contains("expected a size such as 700MB, 2GiB or 1.5G"),
        "{error}"
    );
    let error = refused(&[&args[..], &["--memory", "1GB", "--route", "composite"]].concat());
    assert!(error.contains("--memory is for the fused route"), "{error}");
}

#[test]
fn a_profile_accounts_for_the_whole_time() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let (lines, bytes) = run(dir.path(), "profiled", &data, &["--profile"]);
    assert!(
        bytes == run(dir.path(), "plain", &data, &[]).1,
        "a profile changes the result"
    );
    let profile = lines
        .iter()
        .find(|line| line["event"] == "profile")
        .unwrap();
    let parts = profile["parts"].as_array().unwrap();
    let shares: f64 = parts
        .iter()
        .map(|part| part["share"].as_f64().unwrap())
        .sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let products = parts
        .iter()
        .filter(|part| part["gflops"].as_f64().is_some_and(|rate| rate > 0.0))
        .count();
    assert_eq!((parts.len(), products), (13, 5), "{profile}");
}

//! Tables and figures.
use lora_cli::{human_bytes, human_seconds, table};

#[test]
fn columns_are_aligned_and_figures_stand_to_the_right() {
    let rows = [
        vec!["step", "seconds", "why"],
        vec!["prep", "0.4", "first run"],
        vec!["train", "101.2", ""],
    ];
    assert_eq!(
        table(&rows),
        "step   seconds  why\nprep       0.4  first run\ntrain    101.2\n"
    );
    assert_eq!(table::<&str>(&[]), "");
}

#[test]
fn sizes_and_times() {
    let sizes: Vec<_> = [0, 999, 1000, 999_949, 999_950, 4_100_000_000]
        .map(human_bytes)
        .into();
    assert_eq!(
        sizes,
        ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "4.1 GB"]
    );
    let times: Vec<_> = [0.04, 9.94, 9.96, 61.0, 7800.0, f64::INFINITY]
        .map(human_seconds)
        .into();
    assert_eq!(
        times,
        ["0.0 s", "9.9 s", "10 s", "1 min 01 s", "2 h 10 min", "?"]
    );
}

//! `--profile`: where the time of the steps went.
use crate::recipe::Outcome;
use crate::trainable::Trainable;
use lora_cli::{Ui, table};
use lora_kernels::gemm;
use lora_kernels::peak::measure_peak;
use lora_kernels::profile::{Part, Profile};
use serde::Serialize;

/// One kind of work.
#[derive(Debug, Serialize)]
struct Line {
    part: &'static str,
    seconds: f64,
    share: f64,
    gflops: Option<f64>,
}

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    event: &'static str,
    steps: u64,
    seconds: f64,
    parts: Vec<Line>,
    /// Floating-point operations a second over the whole time.
    gflops: f64,
    /// A matrix product alone, on this machine, now.
    gemm_peak_gflops: f64,
    /// Share of the time that is spent in matrix products.
    product_share: f64,
    instruction_set: &'static str,
}

/// Prints the profile of a finished run: a table for people, one line of JSON for programs.
pub(crate) fn show(model: &dyn Trainable, outcome: &Outcome, threads: usize, ui: &Ui) {
    let Some(profile) = model.profile() else {
        return;
    };
    let report = report(profile, outcome, measure_peak(threads) / 1e9);
    ui.event(&report);
    let rows = report.parts.iter().map(|line| {
        let rate = line
            .gflops
            .map_or(String::new(), |rate| format!("{rate:.1}"));
        vec![
            line.part.to_owned(),
            format!("{:.2}", line.seconds),
            format!("{:.1} %", 100.0 * line.share),
            rate,
        ]
    });
    let head = ["part", "seconds", "share", "GFLOP/s"]
        .map(str::to_owned)
        .to_vec();
    ui.say(&table(
        &std::iter::once(head).chain(rows).collect::<Vec<_>>(),
    ));
    ui.say(&format!(
        "{} steps, {:.2} s: {:.1} GFLOP/s, {:.0} % of the {:.1} that a matrix product alone reaches ({}); {:.0} % of the time in products",
        report.steps,
        report.seconds,
        report.gflops,
        100.0 * report.gflops / report.gemm_peak_gflops,
        report.gemm_peak_gflops,
        report.instruction_set,
        100.0 * report.product_share,
    ));
}

fn report(profile: &Profile, outcome: &Outcome, gemm_peak_gflops: f64) -> Report {
    let seconds = outcome.state.step_seconds.max(1e-9);
    let line = |part: Part| {
        let (time, operations) = profile.of(part);
        let gflops = (operations > 0.0).then(|| operations / time.max(1e-9) / 1e9);
        Line {
            part: part.name(),
            seconds: time,
            share: time / seconds,
            gflops,
        }
    };
    let mut parts: Vec<Line> = Part::ALL.map(line).into_iter().collect();
    let counted: f64 = parts.iter().map(|line| line.seconds).sum();
    let rest = (seconds - counted).max(0.0);
    parts.push(Line {
        part: "the rest",
        seconds: rest,
        share: rest / seconds,
        gflops: None,
    });
    let products = Part::ALL
        .iter()
        .filter(|part| part.is_products())
        .map(|&part| profile.of(part).0)
        .sum::<f64>();
    let operations: f64 = Part::ALL.iter().map(|&part| profile.of(part).1).sum();
    Report {
        event: "profile",
        steps: outcome.state.step,
        seconds,
        parts,
        gflops: operations / seconds / 1e9,
        gemm_peak_gflops,
        product_share: products / seconds,
        instruction_set: gemm::instruction_set(),
    }
}

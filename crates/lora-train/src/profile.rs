//! `--profile`: where the time of the steps went, as a table for people and one line of JSON for programs.
use lora_cli::{Ui, table};
use lora_kernels::gemm;
use lora_kernels::peak::measure_peak;
use lora_kernels::profile::Profile;
use lora_model::ProductPeak;
use lora_training::{ProfileReport, Profiled};
use serde::Serialize;

/// The line of JSON.
#[derive(Serialize)]
struct Line<'r> {
    event: &'static str,
    #[serde(flatten)]
    report: &'r ProfileReport,
}

/// What a product alone reaches on the CPU.
pub(crate) fn cpu_peak(threads: usize) -> ProductPeak {
    ProductPeak {
        rate: measure_peak(threads),
        device: gemm::instruction_set().to_owned(),
    }
}

/// Prints the profile of a finished run.
pub(crate) fn show(profile: &Profile, profiled: Profiled, peak: ProductPeak, ui: &Ui) {
    let report = ProfileReport::new(profile, profiled, peak);
    ui.event(&Line {
        event: "profile",
        report: &report,
    });
    let mut rows = vec![
        ["part", "seconds", "share", "GFLOP/s"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for line in &report.parts {
        rows.push(vec![
            line.part.to_owned(),
            format!("{:.2}", line.seconds),
            format!("{:.1} %", 100.0 * line.share),
            line.gflops
                .map_or(String::new(), |rate| format!("{rate:.1}")),
        ]);
    }
    ui.say(&table(&rows));
    ui.say(&format!(
        "{} steps, {:.2} s: {:.1} GFLOP/s, {:.0} % of the {:.1} that a matrix product alone reaches ({}); {:.0} % of the time in products",
        report.steps,
        report.seconds,
        report.gflops,
        100.0 * report.gflops / report.gemm_peak_gflops,
        report.gemm_peak_gflops,
        report.computed_on,
        100.0 * report.product_share,
    ));
}

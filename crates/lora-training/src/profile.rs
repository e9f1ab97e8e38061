//! Where the time of a run's steps went, kernel by kernel.
use crate::Profiled;
use lora_kernels::profile::{Part, Profile};
use lora_model::ProductPeak;
use serde::Serialize;

/// One kind of work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileLine {
    /// Its name.
    pub part: &'static str,
    /// Time spent.
    pub seconds: f64,
    /// Share of the whole time.
    pub share: f64,
    /// Floating-point operations a second, in 10⁹, where they are counted.
    pub gflops: Option<f64>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileReport {
    /// Steps that were counted.
    pub steps: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// By kind of work; what no kind accounts for is the last.
    pub parts: Vec<ProfileLine>,
    /// Floating-point operations a second over the whole time.
    pub gflops: f64,
    /// A matrix product alone, where the model is computed.
    pub gemm_peak_gflops: f64,
    /// Share of the time that is spent in matrix products.
    pub product_share: f64,
    /// What the kernels run on: the CPU's instruction set, or a GPU's name.
    pub computed_on: String,
}

impl ProfileReport {
    /// Of some steps; `peak` is what a matrix product alone reaches.
    pub fn new(profile: &Profile, profiled: Profiled, peak: ProductPeak) -> Self {
        let seconds = profiled.seconds.max(1e-9);
        let mut parts: Vec<ProfileLine> = Part::ALL
            .iter()
            .map(|&part| line(profile, part, seconds))
            .collect();
        let counted: f64 = parts.iter().map(|line| line.seconds).sum();
        let rest = (seconds - counted).max(0.0);
        parts.push(ProfileLine {
            part: "the rest",
            seconds: rest,
            share: rest / seconds,
            gflops: None,
        });
        let products: f64 = Part::ALL
            .iter()
            .filter(|part| part.is_products())
            .map(|&part| profile.of(part).0)
            .sum();
        let operations: f64 = Part::ALL.iter().map(|&part| profile.of(part).1).sum();
        Self {
            steps: profiled.steps,
            seconds,
            parts,
            gflops: operations / seconds / 1e9,
            gemm_peak_gflops: peak.rate / 1e9,
            product_share: products / seconds,
            computed_on: peak.device,
        }
    }
}

fn line(profile: &Profile, part: Part, all_seconds: f64) -> ProfileLine {
    let (seconds, operations) = profile.of(part);
    ProfileLine {
        part: part.name(),
        seconds,
        share: seconds / all_seconds,
        gflops: (operations > 0.0).then(|| operations / seconds.max(1e-9) / 1e9),
    }
}

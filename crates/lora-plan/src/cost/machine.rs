//! This machine: its free memory, its best matrix product, and two real micro-steps.
use super::time::{Speed, flops};
use super::workload::Workload;
use crate::model::shape::Shape;
use lora_cli::{Error, Result, Ui};
use lora_core::{Adapter, LoraConfig, TargetModules};
use lora_kernels::matmul::{Mat, MatMut, matmul};
use lora_model::{Base, Fused, Packed, Route};
use std::path::Path;
use std::time::Instant;

/// Threads to plan for.
pub(crate) fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Bytes that the system could give without swapping (Linux: MemAvailable); none where unknown.
pub(crate) fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Rounds of the product that is timed; the best counts, since others share the machine.
const ROUNDS: usize = 8;

/// FLOP/s of a matrix product of the size that training has: (512, 1024) · (1024, 1024).
pub(crate) fn gemm_peak(threads: usize) -> Result<f64> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (m, n, k) = (512, 1024, 1024);
    let values = |len: usize| (0..len).map(|i| (i % 13) as f32 * 0.1).collect::<Vec<f32>>();
    let (a, b, mut c) = (values(m * k), values(n * k), vec![0.0; m * n]);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let (lhs, rhs) = (Mat::new(&a, m, k), Mat::new(&b, n, k).t());
        pool.install(|| matmul(MatMut::new(&mut c, m, n), false, 1.0, lhs, rhs, true));
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (m * n * k) as f64 / best)
}

/// Tokens of the smaller and of the larger micro-step.
const SMALL: usize = 48;
const LARGE: usize = 384;
/// How often each is timed.
const MICRO_STEPS: usize = 5;

/// Times a small and a large micro-step of a model (the best of five each, since others share the machine, after one that
/// allocates), and solves seconds = per_batch + FLOP ÷ rate for both unknowns.
pub(crate) fn micro_steps(path: &Path, work: &Workload, threads: usize, gemm_peak: f64, ui: &Ui) -> Result<Speed> {
    let base = Base::open(path)?;
    let shape = Shape { name: String::new(), path: None, config: base.config().clone() };
    let names = work.targeted.iter().map(|module| module.path.clone()).collect();
    let config = LoraConfig::new(work.rank, work.rank as f64, TargetModules::List(names));
    let adapter = Adapter::init(config, &base, 0)?;
    let mut gradients = vec![0.0; adapter.params.len()];
    let mut route = Fused::new(&base, threads)?;
    let share = work.supervised as f64 / work.tokens.max(1) as f64;
    let longest = work.longest.clamp(2, base.config().max_position_embeddings);
    let mut times = Vec::new();
    for tokens in [SMALL, LARGE] {
        let packed = batch(tokens, longest, share, base.config().vocab_size);
        let mut best = f64::INFINITY;
        for round in 0..=MICRO_STEPS {
            ui.check_interrupt()?;
            let began = Instant::now();
            route.gradients(&adapter, &packed, None, 1.0, &mut gradients)?;
            if round > 0 {
                best = best.min(began.elapsed().as_secs_f64());
            }
        }
        let squares = packed.starts.windows(2).map(|w| ((w[1] - w[0]) * (w[1] - w[0])) as f64).sum();
        times.push((flops(&shape, work, tokens as f64, packed.supervised() as f64, squares), best));
    }
    let [(small, first), (large, second)] = times[..] else { return Err(Error::new("no micro-step was timed")) };
    let rate = (large - small) / (second - first).max(1e-9);
    Ok(Speed { gemm_peak, rate, per_batch: (first - small / rate).max(0.0), measured: true })
}

/// Rows of at most `longest` tokens, the last share of each supervised.
fn batch(tokens: usize, longest: usize, share: f64, vocabulary: usize) -> Packed {
    let id = |t: usize| ((t * 7919 + 13) % vocabulary) as u32;
    let ids: Vec<u32> = (0..tokens).map(id).collect();
    let rows: Vec<(Vec<u32>, Vec<i32>)> = ids
        .chunks(longest)
        .map(|row| {
            let from = ((1.0 - share) * row.len() as f64) as usize;
            let labels = row.iter().enumerate().map(|(t, &id)| if t < from { -100 } else { id as i32 });
            (row.to_vec(), labels.collect())
        })
        .collect();
    Packed::from_rows(rows.iter().map(|(ids, labels)| (&ids[..], &labels[..])))
}

//! This machine: two real micro-steps.
use super::time::{Speed, flops};
use super::workload::Workload;
use crate::model::shape::Shape;
use lora_cli::{Error, Result, Ui};
use lora_core::{Adapter, Init, LoraConfig, TokenIndices};
use lora_model::{Base, Dropout, Fused, Packed, Route};
use std::path::Path;
use std::time::Instant;

/// Tokens of the smaller and of the larger micro-step.
const SMALL: usize = 48;
const LARGE: usize = 384;
/// How often each is timed.
const MICRO_STEPS: usize = 5;

/// Seconds of a micro-step from which one is enough: what it allocates does not count beside it.
const SLOW: f64 = 4.0;

/// Times a small and a large micro-step of a model (the best of five each, since others share the machine, after one that
/// allocates; or one of a large model), and solves seconds = per_batch + FLOP ÷ rate for both unknowns.
pub(crate) fn micro_steps(
    path: &Path,
    work: &Workload,
    threads: usize,
    gemm_peak: f64,
    ui: &Ui,
) -> Result<Speed> {
    let base = Base::open(path)?;
    let shape = Shape {
        name: String::new(),
        path: None,
        config: base.config().clone(),
    };
    let config = LoraConfig {
        init: Init::Kaiming,                         // no decomposition for two steps
        trainable_token_indices: TokenIndices::None, // the files may not have them
        ..work.carried.config.clone()
    };
    let adapter = Adapter::init(config, &base, 0)?;
    let mut gradients = vec![0.0; adapter.params.len()];
    let mut route = Fused::new(&base, threads)?;
    let share = work.supervised as f64 / work.tokens.max(1) as f64;
    let longest = work.longest.clamp(2, base.config().max_position_embeddings);
    let dropout = work.dropout.then_some(Dropout {
        p: 0.05,
        seed: 0,
        step: 0,
    });
    let mut times = Vec::new();
    for tokens in [SMALL, LARGE] {
        let packed = batch(tokens, longest, share, base.config().vocab_size);
        let mut best = f64::INFINITY;
        for round in 0..=MICRO_STEPS {
            ui.check_interrupt()?;
            let began = Instant::now();
            route.gradients(&adapter, &packed, dropout, 1.0, &mut gradients)?;
            let seconds = began.elapsed().as_secs_f64();
            if round > 0 || seconds > SLOW {
                best = best.min(seconds);
            }
            if seconds > SLOW {
                break;
            }
        }
        let squares = packed
            .starts
            .windows(2)
            .map(|w| ((w[1] - w[0]) * (w[1] - w[0])) as f64)
            .sum();
        times.push((
            flops(
                &shape,
                work,
                tokens as f64,
                packed.supervised() as f64,
                squares,
            ),
            best,
        ));
    }
    let [(small, first), (large, second)] = times[..] else {
        return Err(Error::new("no micro-step was timed"));
    };
    let rate = (large - small) / (second - first).max(1e-9);
    Ok(Speed {
        gemm_peak,
        rate,
        per_batch: (first - small / rate).max(0.0),
        measured: true,
    })
}

/// Rows of at most `longest` tokens, the last share of each supervised.
fn batch(tokens: usize, longest: usize, share: f64, vocabulary: usize) -> Packed {
    let id = |t: usize| ((t * 7919 + 13) % vocabulary) as u32;
    let ids: Vec<u32> = (0..tokens).map(id).collect();
    let rows: Vec<(Vec<u32>, Vec<i32>)> = ids
        .chunks(longest)
        .map(|row| {
            let from = ((1.0 - share) * row.len() as f64) as usize;
            let labels = row
                .iter()
                .enumerate()
                .map(|(t, &id)| if t < from { -100 } else { id as i32 });
            (row.to_vec(), labels.collect())
        })
        .collect();
    Packed::from_rows(rows.iter().map(|(ids, labels)| (&ids[..], &labels[..])))
}

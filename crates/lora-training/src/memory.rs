//! Fits a run into memory: its largest micro-batch, and what layers keep for their backward pass.
use crate::batches::{Batching, Length, Steps};
use crate::error::{Error, Result};
use crate::evaluate::EVALUATION_TOKENS;
use crate::trainable::RowSize;
use lora_checkpoint::ModelConfig;
use lora_core::TargetedModule;
use lora_model::{BatchSize, Footprint, Peak, Plan, Process, footprint, footprint_from};
use serde::Serialize;

/// What a run on the fused route takes memory for.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'m> {
    /// Shape of the base.
    pub config: &'m ModelConfig,
    /// Modules that carry an adapter.
    pub modules: &'m [TargetedModule],
    /// Dropout is on.
    pub dropout: bool,
    /// The embedding trains, or rows of it: every layer needs a gradient.
    pub embedding: bool,
    /// The largest micro-batch.
    pub batch: BatchSize,
    /// The largest batch of an evaluation; nothing, without rows to evaluate on.
    pub evaluation: BatchSize,
    /// What the process holds beside its steps.
    pub process: Process,
}

/// Memory that a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes at the peak.
    pub bytes: u64,
    /// Layers may keep their activations in bfloat16, where that saves computing them again.
    pub may_round: bool,
}

/// How a run uses memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// As the route takes it.
    #[serde(skip)]
    pub plan: Plan,
    /// The predicted peak, part by part.
    #[serde(skip)]
    pub peak: Peak,
    /// Layers that keep their activations, of those below the last one that need a gradient.
    pub kept_layers: usize,
    /// Layers that keep them in bfloat16.
    pub bf16_layers: usize,
    /// Layers that are computed again.
    pub recomputed_layers: usize,
    /// Tokens of the largest micro-batch, as computed.
    pub largest_batch_tokens: usize,
    /// The predicted peak of the process.
    pub predicted_peak_bytes: u64,
}

impl Demand<'_> {
    /// The buffers of a step, and of the evaluations between the steps, which keep nothing for a backward pass.
    pub fn step(&self) -> Footprint {
        let (config, modules) = (self.config, self.modules);
        let step = match self.embedding {
            true => footprint_from(0, config, modules, self.dropout, self.batch),
            false => footprint(config, modules, self.dropout, self.batch),
        };
        let evaluation = footprint(config, modules, false, self.evaluation);
        Footprint {
            work: step.work.max(evaluation.work),
            scratch: step.scratch.max(evaluation.scratch),
            head: step.head.max(evaluation.head),
            per_thread: step.per_thread.max(evaluation.per_thread),
            ..step
        }
    }

    /// The peak of the process under a plan.
    pub fn peak(&self, plan: Plan) -> Peak {
        Peak::of(&self.process, &self.step(), plan)
    }

    /// The plan that computes least again within a budget; without one every layer keeps all.
    ///
    /// # Errors
    /// If even the leanest plan takes more.
    pub fn choose(&self, budget: Option<Budget>) -> Result<MemoryPlan> {
        let step = self.step();
        let plan = match budget {
            None => Plan::keeping(step.layers.len(), 0),
            Some(budget) => self.within(&step, budget).ok_or_else(|| Error::Memory {
                needed: Box::new(Peak::of(&self.process, &step, Plan::LEANEST)),
                budget: budget.bytes,
                tokens: self.batch.tokens,
            })?,
        };
        let peak = Peak::of(&self.process, &step, plan);
        Ok(MemoryPlan {
            plan,
            peak,
            kept_layers: plan.exact,
            bf16_layers: plan.rounded,
            recomputed_layers: step.layers.len() - plan.exact - plan.rounded,
            largest_batch_tokens: self.batch.tokens,
            predicted_peak_bytes: peak.total(),
        })
    }

    /// Which layers round is chosen as if one thread computed: so it is the same for any number of them, and with it every
    /// bit of the result. What the other threads take is computed again in place of being kept.
    fn within(&self, step: &Footprint, budget: Budget) -> Option<Plan> {
        let rest = |threads| {
            let process = Process {
                threads,
                ..self.process
            };
            let leanest = Peak::of(&process, step, Plan::LEANEST).total();
            let fixed = leanest - step.total(Plan::LEANEST) as u64;
            usize::try_from(budget.bytes.saturating_sub(fixed)).unwrap_or(usize::MAX)
        };
        let wanted = step.plan(rest(1), budget.may_round)?;
        step.within(rest(self.process.threads), wanted)
    }
}

/// Vectors as long as the trainable parameters that a run holds: the parameters, AdamW's two moments, and so many gradients
/// and copies.
pub const fn vectors(gradients: usize, copies: usize) -> usize {
    3 + gradients + copies
}

/// The largest micro-batch of a run, part by part; `size` tells that of some rows. Where the run has more epochs than can be
/// looked at ahead, the longest rows may meet in one batch.
pub fn largest_batch(
    steps: &Steps,
    length: Length,
    sizes: &[RowSize],
    size: impl Fn(&[usize]) -> BatchSize,
) -> BatchSize {
    let epochs = steps.epochs(length);
    let foreseen = steps.foreseen(epochs);
    let ahead = (0..foreseen)
        .flat_map(|epoch| steps.of_epoch(epoch))
        .flatten();
    let largest = ahead.fold(BatchSize::default(), |largest, rows| {
        largest.cover(size(&rows))
    });
    if foreseen == epochs {
        return largest;
    }
    let rows = longest_rows(steps.batching(), sizes);
    let tokens = rows.iter().map(|&row| sizes[row].tokens).sum();
    let worst = BatchSize {
        tokens,
        ..size(&rows)
    };
    largest.cover(worst)
}

/// The largest batch of an evaluation on these rows; `size` tells that of some of them.
pub fn evaluation_batch(rows: &[RowSize], size: impl Fn(&[usize]) -> BatchSize) -> BatchSize {
    let lengths: Vec<usize> = rows.iter().map(|row| row.tokens).collect();
    let order: Vec<usize> = (0..rows.len()).collect();
    let batches = lora_data::batches(&order, &lengths, None, Some(EVALUATION_TOKENS));
    let sizes = batches.iter().map(|batch| size(batch));
    sizes.fold(BatchSize::default(), BatchSize::cover)
}

/// The longest rows, as many as a batch may hold.
fn longest_rows(batching: Batching, sizes: &[RowSize]) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..sizes.len()).collect();
    rows.sort_by_key(|&row| std::cmp::Reverse(sizes[row].tokens));
    rows.truncate(batching.examples.unwrap_or(rows.len()));
    let mut tokens = 0;
    let most = batching.tokens.unwrap_or(usize::MAX);
    let fitting = rows.iter().take_while(|&&row| {
        let is_first = tokens == 0;
        tokens += sizes[row].tokens;
        is_first || tokens <= most
    });
    let n = fitting.count();
    rows.truncate(n);
    rows
}

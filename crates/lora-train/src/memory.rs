//! `--memory`: what the run may take, the plan that fits, and what is said of it.
use crate::args::Args;
use crate::data::Rows;
use crate::failure::explain;
use lora_checkpoint::ModelConfig;
use lora_cli::{Error, Result, Ui, available_memory, human_bytes, memory_limit};
use lora_core::TargetedModule;
use lora_data::Example;
use lora_model::{Base, BatchSize, Peak, Process};
use lora_training::{
    Budget, Demand, MemoryPlan, RowSize, evaluation_batch, gradient_buffers, largest_batch, pack,
    vectors,
};

/// The share of the free memory that a run takes unless it is told otherwise.
const SHARE: f64 = 0.8;

/// What the model carries, as memory sees it.
pub(crate) struct Carried<'a> {
    pub(crate) modules: &'a [TargetedModule],
    /// Parameters that train.
    pub(crate) trainable: u64,
    /// The parameters as they began are kept, too.
    pub(crate) keeps_origin: bool,
    pub(crate) dropout: bool,
    /// The embedding trains, or rows of it.
    pub(crate) embedding: bool,
}

/// Chooses the plan and says it; an error if even the leanest plan does not fit.
pub(crate) fn choose(
    args: &Args,
    base: &Base,
    carried: &Carried<'_>,
    (rows, batch): (&Rows, BatchSize),
    ui: &Ui,
) -> Result<MemoryPlan> {
    let tokens = |rows: &[Example]| rows.iter().map(Example::len).sum::<usize>();
    let batching = args.train_config().batching;
    let gradients = gradient_buffers(batching.most_in_a_step(rows.train.len()));
    // What an adapter took out of the base is kept, and it is written as one of twice the rank.
    let of_origin = if carried.keeps_origin { 3 } else { 0 };
    let copies = usize::from(rows.valid.is_some()) + of_origin;
    let valid = rows.valid.as_deref().unwrap_or_default();
    let sizes: Vec<RowSize> = valid.iter().map(RowSize::of).collect();
    let size = |batch: &[usize]| {
        let batch: Vec<&Example> = batch.iter().map(|&row| &valid[row]).collect();
        BatchSize::of(base.config(), &pack(&batch), !args.no_shared_prefixes)
    };
    let demand = Demand {
        embedding: carried.embedding,
        config: base.config(),
        modules: carried.modules,
        dropout: carried.dropout,
        batch,
        evaluation: evaluation_batch(&sizes, size),
        process: Process {
            base: base.stored_bytes(),
            trainable: carried.trainable,
            vectors: vectors(gradients, copies),
            threads: args.threads(),
            vocabulary: base.config().vocab_size,
            tokens: tokens(&rows.train) + rows.valid.as_deref().map_or(0, tokens),
        },
    };
    let plan = demand
        .choose(budget(args))
        .map_err(|error| too_little(args, error))?;
    check_limit(&plan.peak, memory_limit())?;
    ui.say(&describe(&plan));
    Ok(plan)
}

/// `--memory` may promise more than the system will give: the process would be killed on its way.
fn check_limit(peak: &Peak, limit: Option<u64>) -> Result<()> {
    let Some(limit) = limit.filter(|&limit| peak.total() > limit) else {
        return Ok(());
    };
    Err(Error::new(format!(
        "the run needs {}, and this process may have {} (limits of its control group, ulimit -v)",
        human_bytes(peak.total()),
        human_bytes(limit)
    ))
    .hint(format!("raise that limit; {}", what_takes_less(peak))))
}

fn budget(args: &Args) -> Option<Budget> {
    let free = || available_memory().map(|free| (free as f64 * SHARE) as u64);
    Some(Budget {
        bytes: args.memory.or_else(free)?,
        may_round: args.memory.is_some(),
    })
}

/// The largest micro-batch of the run.
pub(crate) fn largest_of(
    args: &Args,
    base: &Base,
    carried: &Carried<'_>,
    rows: &Rows,
) -> Result<BatchSize> {
    let shares = !args.no_shared_prefixes && !carried.dropout;
    largest(args, base.config(), &rows.train, shares)
}

/// The largest micro-batch of the run, where rows share their beginnings or not.
fn largest(args: &Args, base: &ModelConfig, rows: &[Example], shares: bool) -> Result<BatchSize> {
    let config = args.train_config();
    let sizes: Vec<RowSize> = rows.iter().map(RowSize::of).collect();
    let lengths = sizes.iter().map(|size| size.tokens).collect();
    let plan = config.plan(lengths).map_err(explain)?;
    let size = |batch: &[usize]| {
        if shares {
            let batch: Vec<&Example> = batch.iter().map(|&row| &rows[row]).collect();
            return BatchSize::of(base, &pack(&batch), shares);
        }
        let lengths: Vec<usize> = batch.iter().map(|&row| sizes[row].tokens).collect();
        let supervised = batch.iter().map(|&row| sizes[row].supervised).sum();
        BatchSize::alone(base, &lengths, supervised)
    };
    Ok(largest_batch(&plan.steps, config.length, &sizes, size))
}

fn too_little(args: &Args, error: lora_training::Error) -> Error {
    let lora_training::Error::Memory {
        needed,
        budget,
        tokens,
    } = error
    else {
        return explain(error);
    };
    let total = needed.total();
    let less = what_takes_less(&needed);
    let hint = match args.memory {
        Some(_) => format!(
            "--memory {}MB is enough; {less}",
            total.div_ceil(10_000_000) * 10
        ),
        None => less.to_owned(),
    };
    let (asked, given) = (human_bytes(total), human_bytes(budget));
    Error::new(format!(
        "the run needs {asked} even if every layer is computed again (its largest batch has {tokens} tokens), and may take {given}"
    ))
    .hint(hint)
}

/// The way out by what is largest.
fn what_takes_less(needed: &Peak) -> &'static str {
    let batch = needed.activations + needed.scratch;
    if needed.adapter >= batch.max(needed.base) {
        "a smaller --rank, or fewer --targets, takes less: adapter and optimiser are the largest part"
    } else if needed.base >= batch {
        "a quantised base (lora-export --format gguf --dtype q8_0) takes less: the weights are the largest part"
    } else {
        "a smaller --batch (or --batch-tokens) takes less; so do shorter rows"
    }
}

/// Refuses an adapter that alone, with its gradients and moments, is more than this machine can give.
pub(crate) fn check_adapter(trainable: u64) -> Result<()> {
    let needed = trainable.saturating_mul(16);
    match available_memory() {
        Some(free) if needed > free => Err(Error::new(format!(
            "adapter and optimiser need {}, and {} are free",
            human_bytes(needed),
            human_bytes(free)
        ))
        .hint("a smaller --rank, or fewer --targets, takes less")),
        _ => Ok(()),
    }
}

fn describe(plan: &MemoryPlan) -> String {
    let layers = plan.kept_layers + plan.bf16_layers + plan.recomputed_layers + 1;
    let of_layers = |n: usize, what: &str| {
        if n == 0 {
            String::new()
        } else {
            format!("; {n} of {layers} layers {what}")
        }
    };
    let rounded = of_layers(plan.bf16_layers, "keep their activations in bfloat16");
    let again = of_layers(plan.recomputed_layers, "are computed again");
    let peak = &plan.peak;
    format!(
        "memory: {} predicted (weights {}, activations {}, scratch {}, adapter and optimiser {}, program {}){rounded}{again}",
        human_bytes(peak.total()),
        human_bytes(peak.base),
        human_bytes(peak.activations),
        human_bytes(peak.scratch),
        human_bytes(peak.adapter),
        human_bytes(peak.process),
    )
}

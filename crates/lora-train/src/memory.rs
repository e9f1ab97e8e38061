//! `--memory`: what the run may take, the plan that fits, and what is said of it.
use crate::args::Args;
use crate::data::Rows;
use crate::failure::explain;
use lora_cli::{Error, Result, Ui, available_memory, human_bytes};
use lora_core::Adapter;
use lora_data::Example;
use lora_model::{Base, BatchSize, Process, computed_tokens};
use lora_training::{Budget, Demand, MemoryPlan, RowSize, gradient_buffers, largest_batch, pack};

/// The share of the free memory that a run takes unless it is told otherwise.
const SHARE: f64 = 0.8;

/// Chooses the plan and says it; an error if even the leanest plan does not fit.
pub(crate) fn choose(
    args: &Args,
    base: &Base,
    adapter: &Adapter,
    rows: &Rows,
    ui: &Ui,
) -> Result<MemoryPlan> {
    let dropout = adapter.config.lora_dropout > 0.0;
    let tokens = |rows: &[Example]| rows.iter().map(Example::len).sum::<usize>();
    let batching = args.train_config().batching;
    let demand = Demand {
        config: base.config(),
        modules: &adapter.modules,
        dropout,
        batch: largest(args, &rows.train, args.no_shared_prefixes || dropout)?,
        process: Process {
            base: base.stored_bytes(),
            trainable: adapter.params.len() as u64,
            keeps_best: rows.valid.is_some(),
            gradient_buffers: gradient_buffers(batching.most_in_a_step(rows.train.len())),
            vocabulary: base.config().vocab_size,
            tokens: tokens(&rows.train) + rows.valid.as_deref().map_or(0, tokens),
        },
    };
    let plan = demand
        .choose(budget(args))
        .map_err(|error| too_little(args, error))?;
    ui.say(&describe(&plan));
    Ok(plan)
}

fn budget(args: &Args) -> Option<Budget> {
    let free = || available_memory().map(|free| (free as f64 * SHARE) as u64);
    Some(Budget {
        bytes: args.memory.or_else(free)?,
        may_round: args.memory.is_some(),
    })
}

/// The largest micro-batch of the run; `alone` if nothing is shared between rows.
fn largest(args: &Args, rows: &[Example], alone: bool) -> Result<BatchSize> {
    let config = args.train_config();
    let sizes: Vec<RowSize> = rows.iter().map(RowSize::of).collect();
    let lengths = sizes.iter().map(|size| size.tokens).collect();
    let plan = config.plan(lengths).map_err(explain)?;
    let computed = |batch: &[usize]| {
        if alone {
            batch.iter().map(|&row| sizes[row].tokens).sum()
        } else {
            let batch: Vec<&Example> = batch.iter().map(|&row| &rows[row]).collect();
            computed_tokens(&pack(&batch))
        }
    };
    Ok(largest_batch(&plan.steps, config.length, &sizes, computed))
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
    let whole = needed.div_ceil(10_000_000) * 10;
    let hint = match args.memory {
        Some(_) => format!(
            "--memory {whole}MB is enough; a smaller --batch (or --batch-tokens) takes less"
        ),
        None => "a smaller --batch (or --batch-tokens), shorter rows or a quantised base take less"
            .to_owned(),
    };
    let (asked, given) = (human_bytes(needed), human_bytes(budget));
    Error::new(format!(
        "the run needs {asked} even if every layer is computed again (its largest batch has {tokens} tokens), and may take {given}"
    ))
    .hint(hint)
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

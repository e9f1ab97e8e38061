//! Fits a run into memory: its largest micro-batch, the plan for it, and what is said of it.
use crate::args::{Args, RouteKind};
use crate::batches::Steps;
use crate::evaluate::pack;
use crate::recipe::{self, steps_of};
use crate::setup::Data;
use lora_cli::{Error, Result, Ui, available_memory, human_bytes};
use lora_core::Adapter;
use lora_model::{Base, BatchSize, Peak, Plan, Process, computed_tokens, footprint};

/// How a run uses memory.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Chosen {
    #[serde(skip)]
    pub(crate) plan: Plan,
    /// Layers that keep their activations, of those below the last one that need a gradient.
    pub(crate) kept_layers: usize,
    /// Layers that keep them in bfloat16.
    pub(crate) bf16_layers: usize,
    /// Layers that are computed again.
    pub(crate) recomputed_layers: usize,
    /// Tokens of the largest micro-batch, as computed.
    pub(crate) largest_batch_tokens: usize,
    /// The predicted peak of the process.
    pub(crate) predicted_peak_bytes: u64,
}

/// The share of the free memory that a run takes unless it is told otherwise.
const SHARE: f64 = 0.8;

/// Chooses the plan and says it; an error if even the leanest plan does not fit.
pub(crate) fn choose(
    args: &Args,
    base: &Base,
    adapter: &Adapter,
    data: &Data,
    ui: &Ui,
) -> Result<Chosen> {
    let (config, dropout) = (base.config(), adapter.config.lora_dropout > 0.0);
    let batch = largest(args, data, args.no_shared_prefixes || dropout);
    let step = footprint(config, &adapter.modules, dropout, batch);
    let tokens =
        |rows: &[lora_data::Example]| rows.iter().map(lora_data::Example::len).sum::<usize>();
    let process = Process {
        base: base.stored_bytes(),
        trainable: adapter.params.len() as u64,
        keeps_best: data.valid.is_some(),
        vocabulary: config.vocab_size,
        tokens: tokens(&data.train) + data.valid.as_deref().map_or(0, tokens),
    };
    let leanest = Peak::of(&process, &step, Plan::LEANEST);
    let fixed = leanest.total() - step.total(Plan::LEANEST) as u64;
    let budget = args
        .memory
        .or_else(|| available_memory().map(|free| (free as f64 * SHARE) as u64));
    let plan = match budget {
        None => Some(Plan {
            exact: step.layers,
            rounded: 0,
        }),
        Some(budget) => step.plan(budget.saturating_sub(fixed) as usize, args.memory.is_some()),
    };
    let Some(plan) = plan else {
        return Err(too_little(args, budget.unwrap_or(0), &leanest, batch));
    };
    let peak = Peak::of(&process, &step, plan);
    let chosen = Chosen {
        plan,
        kept_layers: plan.exact,
        bf16_layers: plan.rounded,
        recomputed_layers: step.layers - plan.exact - plan.rounded,
        largest_batch_tokens: batch.tokens,
        predicted_peak_bytes: peak.total(),
    };
    ui.say(&describe(&chosen, &peak));
    Ok(chosen)
}

/// The largest micro-batch of the run: the most tokens that any computes, the most supervised ones.
fn largest(args: &Args, data: &Data, alone: bool) -> BatchSize {
    let steps: Steps = steps_of(args, data);
    let mut size = BatchSize {
        tokens: 0,
        longest: 0,
        supervised: 0,
    };
    size.longest = data
        .train
        .iter()
        .map(lora_data::Example::len)
        .max()
        .unwrap_or(0);
    for rows in (0..recipe::epochs(args, &steps))
        .flat_map(|epoch| steps.of_epoch(epoch))
        .flatten()
    {
        let tokens = rows.iter().map(|&row| data.train[row].len()).sum::<usize>();
        size.supervised = size
            .supervised
            .max(rows.iter().map(|&row| data.train[row].supervised()).sum());
        if tokens > size.tokens {
            let computed = if alone {
                tokens
            } else {
                computed_tokens(&pack(&data.train, &rows))
            };
            size.tokens = size.tokens.max(computed);
        }
    }
    size
}

fn too_little(args: &Args, budget: u64, leanest: &Peak, batch: BatchSize) -> Error {
    let least = leanest.total();
    let whole = least.div_ceil(10_000_000) * 10;
    let (asked, given) = (human_bytes(least), human_bytes(budget));
    let hint = match args.memory {
        Some(_) => format!(
            "--memory {whole}MB is enough; a smaller --batch (or --batch-tokens) takes less"
        ),
        None => "a smaller --batch (or --batch-tokens), shorter rows or a quantised base take less"
            .to_owned(),
    };
    Error::new(format!(
        "the run needs {asked} even if every layer is computed again (its largest batch has {} tokens), and may take {given}",
        batch.tokens
    ))
    .hint(hint)
}

fn describe(chosen: &Chosen, peak: &Peak) -> String {
    let layers = chosen.kept_layers + chosen.bf16_layers + chosen.recomputed_layers + 1;
    let of_layers = |n: usize, what: &str| {
        if n == 0 {
            String::new()
        } else {
            format!("; {n} of {layers} layers {what}")
        }
    };
    let rounded = of_layers(chosen.bf16_layers, "keep their activations in bfloat16");
    let again = of_layers(chosen.recomputed_layers, "are computed again");
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

/// True if the flags about memory mean something on this route.
pub(crate) fn check_route(args: &Args) -> Result<()> {
    let given = [
        ("--memory", args.memory.is_some()),
        ("--profile", args.profile),
    ];
    match given
        .iter()
        .find(|(_, given)| *given && args.route == Some(RouteKind::Composite))
    {
        None => Ok(()),
        Some((flag, _)) => Err(Error::new(format!("{flag} is for the fused route"))
            .hint("leave it out, or --route fused")),
    }
}

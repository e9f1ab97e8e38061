//! Fitting a plan into memory and time: what is given up first, and what it takes in the end.
use super::machine::{Machine, Need};
use super::plan::{Cost, Plan};
use super::situation::Situation;
use crate::adapter_flags;
use crate::cost::{BaseType, Carried, Workload};
use lora_cli::{Result, human_bytes, human_seconds};
use lora_core::LoraConfig;
use lora_training::{Batching, LEAST_EVALUATIONS};

/// What the plan takes now, and its trainable parameters.
fn cost(
    plan: &Plan,
    situation: &Situation,
    base: BaseType,
    machine: &Machine<'_>,
) -> Result<(Need, u64)> {
    let added = &situation.data.added;
    let own = situation.shape.config.vocab_size;
    let shape = &added.on(situation.shape.clone());
    let mut config = LoraConfig::new(plan.rank, plan.alpha, shape.targets(plan.targets)?);
    adapter_flags::apply(&situation.lora, &mut config)?;
    added.train_rows(shape, &mut config);
    config.require_effect(&shape.modules())?;
    let carried = Carried::of(shape, config)?;
    let batching = Batching {
        accumulation: plan.accumulation,
        ..Batching::of_examples(plan.batch)
    };
    let work = Workload::new(
        shape,
        &carried,
        plan.targets,
        &situation.data.lengths,
        batching,
        base,
    );
    let mut work = Workload {
        dropout: plan.dropout > 0.0,
        ..work
    };
    added.add_to(shape, own, &mut work);
    let evaluations = plan.epochs.max(LEAST_EVALUATIONS as f64);
    let need = machine.need(shape, &work, (plan.epochs, evaluations));
    Ok((need, work.trainable))
}

/// Bits a weight above which 8-bit blocks (8.5 bits) save something worth having.
const WIDE: f64 = 10.0;

/// Gives up what costs least, until the plan fits: memory first by smaller batches with accumulation, then by a smaller
/// base, then by fewer modules; time by fewer epochs, down to a part of one, then by fewer modules.
pub(super) fn fit(
    plan: &mut Plan,
    situation: &Situation,
    most_seconds: Option<f64>,
    machine: &Machine<'_>,
) -> Result<()> {
    let own = BaseType::own(&situation.shape);
    let mut base = own;
    machine.name(plan);
    let (reason, source) = machine.own_base();
    precision(plan, own, reason, source);
    let is_file = matches!(own, BaseType::File(_));
    let is_wide = 8.0 * own.bytes(situation.parameters) as f64 > WIDE * situation.parameters as f64;
    let batch = plan.batch;
    loop {
        let (need, trainable) = cost(plan, situation, base, machine)?;
        let too_large = need.is_too_large;
        let too_long = most_seconds.is_some_and(|most| need.seconds > most);
        plan.cost = Cost {
            memory: need.bytes,
            seconds: need.seconds,
            trainable,
            fits: !too_large && !too_long,
        };
        let need = human_bytes(need.bytes);
        let narrower = match base {
            BaseType::Q4_0 | BaseType::Q4K => None,
            BaseType::Q8_0 => (!is_file).then_some(machine.narrowest()), // lora-export writes no narrower type than q8_0
            _ => is_wide.then_some(BaseType::Q8_0),
        };
        if too_large && plan.batch > 1 {
            plan.batch /= 2;
            plan.accumulation = batch / plan.batch;
            let reason = format!(
                "{need} would be too much; {batch} examples a step as before, by accumulation"
            );
            plan.choose(
                "batch",
                format!("{} × {}", plan.batch, plan.accumulation),
                reason,
                "lora-plan memory",
            );
        } else if let (true, Some(type_)) = (too_large, narrower) {
            base = type_;
            plan.quantise = is_file;
            let reason = format!("{need} would be too much with larger weights");
            precision(
                plan,
                base,
                &reason,
                "Dettmers et al. 2023 (QLoRA): adapters train as well on a quantised base",
            );
        } else if (too_large || too_long) && shrink(plan, too_long, most_seconds.map(human_seconds))
        {
            continue;
        } else {
            return Ok(());
        }
    }
}

fn precision(plan: &mut Plan, base: BaseType, reason: &str, source: &str) {
    plan.choose("base", base.name(), reason, source);
}

/// Least share of an epoch that is advised.
const LEAST_EPOCHS: f64 = 0.1;

/// Fewer epochs (for time alone), then fewer modules; false if nothing is left to give up.
fn shrink(plan: &mut Plan, too_long: bool, most: Option<String>) -> bool {
    let budget = if too_long {
        format!("time of {}", most.unwrap_or_default())
    } else {
        "memory".to_owned()
    };
    if too_long && plan.epochs > LEAST_EPOCHS {
        let fewer = if plan.epochs > 1.0 {
            (plan.epochs * 0.7).floor().max(1.0)
        } else {
            ((plan.epochs * 70.0).floor() / 100.0).max(LEAST_EPOCHS)
        };
        let passes = format!("the data ask for {} passes", plan.epochs);
        give_up(plan, "epochs", passes, &budget);
        plan.epochs = fewer;
        plan.choose(
            "epochs",
            fewer,
            format!("as many as the {budget} allows"),
            "lora-plan time",
        );
        return true;
    }
    let fewer = match plan.targets {
        "all" => "full-attention",
        "full-attention" => "attention",
        _ => return false,
    };
    let asked = format!("the task asks for {} modules", plan.targets);
    give_up(plan, "modules", asked, &budget);
    plan.targets = fewer;
    plan.choose(
        "targets",
        fewer,
        format!("as many as the {budget} allows"),
        crate::rules::TARGETS.source,
    );
    true
}

/// Tells once of each thing that a budget takes.
fn give_up(plan: &mut Plan, what: &str, asked: String, budget: &str) {
    let won = format!("fewer {what}: the budget was given");
    if plan.conflicts.iter().all(|conflict| conflict.won != won) {
        plan.conflict(asked, format!("the {budget} is given"), won);
    }
}

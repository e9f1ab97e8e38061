//! The rules at work: each setting, its reason, and what was decided where rules disagree.
use super::args::{Strength, Task};
use super::budget;
use super::machine::Machine;
use super::plan::{Cost, Plan};
use super::situation::Situation;
use crate::cost::{Card, Speed};
use crate::rules;
use lora_cli::Result;
use lora_core::{LoraConfig, thousands};
use lora_model::Base;

/// Chooses for a situation, within `memory` bytes and `seconds` where given, on a machine of that speed.
///
/// # Errors
/// When a target is not in the model.
pub fn advise(
    situation: &Situation,
    memory: Option<u64>,
    seconds: Option<f64>,
    speed: &Speed,
) -> Result<Plan> {
    choose(situation, seconds, &Machine::Cpu { memory, speed })
}

/// Chooses for a situation, within a GPU's memory and `seconds` where given. `files` are the base's, if it has any.
///
/// # Errors
/// When a target is not in the model.
pub fn advise_on(
    situation: &Situation,
    card: Card,
    files: Option<&Base>,
    seconds: Option<f64>,
) -> Result<Plan> {
    choose(situation, seconds, &Machine::Gpu { card, files })
}

fn choose(situation: &Situation, seconds: Option<f64>, machine: &Machine<'_>) -> Result<Plan> {
    let mut plan = Plan {
        rank: 16,
        alpha: 16.0,
        rslora: false,
        targets: "all",
        dropout: 0.0,
        lr: 2e-4,
        epochs: 3.0,
        batch: 8,
        accumulation: 1,
        quantise: false,
        device: None,
        choices: Vec::new(),
        conflicts: Vec::new(),
        cost: Cost::default(),
    };
    rank(&mut plan, situation)?;
    scaling(&mut plan, situation);
    targets(&mut plan, situation);
    regularisation(&mut plan, situation);
    length(&mut plan, situation);
    budget::fit(&mut plan, situation, seconds, machine)?;
    Ok(plan)
}

/// Highest rank that is advised.
const MOST_RANK: usize = 256;

/// The task asks for a rank, or for one within bounds; the data allow one.
fn rank(plan: &mut Plan, situation: &Situation) -> Result<()> {
    let (least, most, by_task) = match situation.task {
        Task::Format => (8, 8, rules::FORMAT_RANK),
        Task::Style => (16, 16, rules::STYLE_RANK),
        Task::Domain => (16, 32, rules::DOMAIN_RANK),
        Task::Behaviour => (64, 64, rules::BEHAVIOUR_RANK),
    };
    let rows = situation.data.rows;
    let (allowed, by_data) = match rows {
        0..500 => (8, rules::FEW_ROWS),
        500..=2000 => (16, rules::SOME_ROWS),
        _ => (usize::MAX, rules::MANY_ROWS),
    };
    plan.rank = most.min(allowed);
    if least > allowed {
        plan.rule("rank", plan.rank, by_data);
        let asked = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        plan.conflict(
            format!("the task asks for rank {asked} ({})", by_task.says),
            format!(
                "{} rows allow {allowed} ({})",
                thousands(rows as u64),
                by_data.says
            ),
            format!("rank {allowed}, the data's: what rows can't determine is learned by heart"),
        );
    } else if least < most {
        let reason = format!("{}; {}", by_task.says, by_data.says);
        plan.choose(
            "rank",
            plan.rank,
            reason,
            &format!("{}; {}", by_task.source, by_data.source),
        );
    } else {
        plan.rule("rank", plan.rank, by_task);
    }
    if situation.task == Task::Behaviour && plan.rank >= 64 {
        hold_the_answers(plan, situation)
    } else {
        Ok(())
    }
}

/// "64 or more": doubles the rank until the adapter can hold what the answers tell the base.
fn hold_the_answers(plan: &mut Plan, situation: &Situation) -> Result<()> {
    let Some((loss, _)) = situation.base_loss else {
        return Ok(());
    };
    let shape = &situation.shape;
    let one = LoraConfig::new(1, 1.0, shape.targets("all")?)
        .layout(&shape.modules())?
        .parameters() as f64;
    let told = situation.data.supervised as f64 * loss / std::f64::consts::LN_2;
    let holds = |rank: usize| 2.0 * one * rank as f64;
    let least = plan.rank;
    while holds(plan.rank) < told && plan.rank < MOST_RANK {
        plan.rank *= 2;
    }
    let reason = format!(
        "{}; the answers tell the base {:.1} Mbit, rank {} holds {:.1}",
        rules::HOLDS.says,
        told / 1e6,
        plan.rank,
        holds(plan.rank) / 1e6
    );
    if plan.rank > least {
        plan.choose("rank", plan.rank, reason, rules::HOLDS.source);
    }
    Ok(())
}

fn scaling(plan: &mut Plan, situation: &Situation) {
    let rank = plan.rank as f64;
    plan.alpha = match situation.strength {
        Strength::Gentle => rank / 2.0,
        Strength::Normal => rank,
        Strength::Strong => 2.0 * rank,
    };
    plan.rule("alpha", plan.alpha, rules::ALPHA);
    if plan.rank > 64 {
        plan.rslora = true;
        plan.rule("rslora", "on", rules::RSLORA);
    }
}

fn targets(plan: &mut Plan, situation: &Situation) {
    plan.targets = match situation.task {
        Task::Format => "attention",
        Task::Style => "full-attention",
        Task::Domain | Task::Behaviour => "all",
    };
    let value = match plan.targets {
        "attention" => "attention (q, v)",
        "full-attention" => "full-attention (q, k, v, o)",
        _ => "all (q, k, v, o, gate, up, down)",
    };
    plan.rule("targets", value, rules::TARGETS);
    let is_new = situation.base_loss.is_some_and(|(loss, _)| loss > 5.0);
    if is_new && plan.targets != "all" {
        plan.conflict(
            format!("the task asks for {value} only"),
            format!(
                "the base's loss of {:.1} nats a token says that even the form is new",
                situation.base_loss.map_or(0.0, |l| l.0)
            ),
            "all modules: a measurement beats a rule of thumb",
        );
        plan.targets = "all";
        plan.choose(
            "targets",
            "all (q, k, v, o, gate, up, down)",
            "the base's loss on the rows is above 5 nats",
            "measured now",
        );
    }
}

fn regularisation(plan: &mut Plan, situation: &Situation) {
    let rows = situation.data.rows;
    if rows < 500 {
        plan.dropout = 0.05;
        plan.rule("dropout", 0.05, rules::FEW_ROWS);
    } else {
        plan.rule("dropout", 0, rules::NO_DROPOUT);
    }
    let (rate, rule) = rules::learning_rate(situation.parameters);
    plan.lr = rate;
    plan.choose("lr", format!("{rate:e}"), rule.says, rule.source);
}

/// Steps that a run should have at least, to get through warm-up and decay.
const LEAST_STEPS: usize = 300;

fn length(plan: &mut Plan, situation: &Situation) {
    let data = &situation.data;
    let (epochs, reason, source) = match data.rows {
        0..2000 => (
            10.0,
            "below 2000 rows: up to 10 passes",
            "Zhou et al. 2023 (LIMA): 15 passes over 1000 rows",
        ),
        2000..50_000 => (
            3.0,
            "3 passes",
            "Taori et al. 2023 (Alpaca): 3 passes over 52,000 rows",
        ),
        _ => (
            1.0,
            "from 50,000 rows one pass",
            "Muennighoff et al. 2023: new rows beat repeated ones",
        ),
    };
    plan.epochs = epochs;
    let reason = if data.has_valid {
        format!("{reason}; the best of them is kept, and 3 without gain end it")
    } else {
        reason.to_owned()
    };
    plan.choose("epochs", epochs, reason, source);
    let steps = |batch: usize| (data.rows as f64 * epochs / batch as f64) as usize;
    while plan.batch > 1 && steps(plan.batch) < LEAST_STEPS {
        plan.batch /= 2;
    }
    let reason = if plan.batch == 8 {
        "8 examples, packed without padding".to_owned()
    } else {
        format!("fewer examples a step, so that the run has {LEAST_STEPS} steps if it can")
    };
    plan.choose(
        "batch",
        plan.batch,
        reason,
        "lora-train's default; warm-up and decay need steps",
    );
    let longest = data.lengths.longest();
    let context = situation.shape.config.max_position_embeddings;
    let reason = if situation.shape.path.is_some() {
        format!("the longest row; the model reads up to {context}")
    } else {
        "the longest row".to_owned()
    };
    plan.choose(
        "length",
        format!("{longest} tokens"),
        reason,
        "counted: rows are never cut or padded",
    );
}

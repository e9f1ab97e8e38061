//! The rules at work: each setting, its reason, and what was decided where rules disagree.
use super::budget::{self, Cost};
use super::situation::{Situation, Strength, Task};
use crate::rules::{self, Rule};
use lora_cli::Result;
use serde::Serialize;

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// What is set.
    pub what: String,
    /// To what.
    pub value: String,
    /// Why.
    pub reason: String,
    /// Where the rule or the figure comes from.
    pub source: String,
}

/// Two rules that disagree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// What one says.
    pub one: String,
    /// What the other says.
    pub other: String,
    /// Which won, and why.
    pub won: String,
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Rank r.
    pub rank: usize,
    /// α.
    pub alpha: f64,
    /// Scale by α/√r.
    pub rslora: bool,
    /// Set of targets: attention, full-attention or all.
    pub targets: &'static str,
    /// Dropout.
    pub dropout: f64,
    /// Peak learning rate.
    pub lr: f64,
    /// Passes over the data.
    pub epochs: f64,
    /// Examples in a batch.
    pub batch: usize,
    /// Batches whose gradients make a step.
    pub accumulation: usize,
    /// Each setting with its reason.
    pub choices: Vec<Choice>,
    /// Where rules disagreed.
    pub conflicts: Vec<Conflict>,
    /// What it will take.
    pub cost: Cost,
}

impl Plan {
    pub(super) fn choose(&mut self, what: &str, value: impl ToString, reason: impl Into<String>, source: &str) {
        let (reason, source) = (reason.into(), source.to_owned());
        self.choices.retain(|choice| choice.what != what);
        self.choices.push(Choice { what: what.to_owned(), value: value.to_string(), reason, source });
    }

    fn rule(&mut self, what: &str, value: impl ToString, rule: Rule) {
        self.choose(what, value, rule.says, rule.source);
    }

    pub(super) fn conflict(&mut self, one: impl Into<String>, other: impl Into<String>, won: impl Into<String>) {
        self.conflicts.push(Conflict { one: one.into(), other: other.into(), won: won.into() });
    }
}

/// Chooses for a situation, within `memory` bytes and `seconds` where given, on a machine of that gemm peak (FLOP/s).
///
/// # Errors
/// When a target is not in the model.
pub fn advise(situation: &Situation, memory: Option<u64>, seconds: Option<f64>, gemm_peak: f64) -> Result<Plan> {
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
        choices: Vec::new(),
        conflicts: Vec::new(),
        cost: Cost::default(),
    };
    rank(&mut plan, situation);
    scaling(&mut plan, situation);
    targets(&mut plan, situation);
    regularisation(&mut plan, situation);
    length(&mut plan, situation);
    budget::fit(&mut plan, situation, memory, seconds, gemm_peak)?;
    Ok(plan)
}

/// The task asks for a rank, the data allow one.
fn rank(plan: &mut Plan, situation: &Situation) {
    let (asked, by_task) = match situation.task {
        Task::Format => (8, rules::FORMAT_RANK),
        Task::Style => (16, rules::DOMAIN_RANK),
        Task::Domain => (32, rules::DOMAIN_RANK),
        Task::Behaviour => (64, rules::BEHAVIOUR_RANK),
    };
    let rows = situation.data.rows;
    let (most, by_data) = match rows {
        0..500 => (8, rules::FEW_ROWS),
        500..=2000 => (16, rules::SOME_ROWS),
        _ => (usize::MAX, rules::MANY_ROWS),
    };
    plan.rank = asked.min(most);
    if asked <= most {
        plan.rule("rank", plan.rank, by_task);
        return;
    }
    plan.rule("rank", plan.rank, by_data);
    plan.conflict(
        format!("the task asks for rank {asked} ({})", by_task.says),
        format!("{rows} rows allow {most} ({})", by_data.says),
        "The data: what rows can't determine is learned by heart. More rows would justify the higher rank; rank",
    );
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
            format!("the task asks for {} only", plan.targets),
            format!(
                "the base's loss of {:.1} says that even the form is new",
                situation.base_loss.map_or(0.0, |l| l.0)
            ),
            "The measurement: all modules carry an adapter; targets",
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
        0..2000 => (10.0, "below 2000 rows: up to 10 passes", "Zhou et al. 2023 (LIMA): 15 passes over 1000 rows"),
        2000..50_000 => (3.0, "3 passes", "Taori et al. 2023 (Alpaca): 3 passes over 52,000 rows"),
        _ => (1.0, "from 50,000 rows one pass", "Muennighoff et al. 2023: new rows beat repeated ones"),
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
    plan.choose("batch", plan.batch, reason, "lora-train's default; warm-up and decay need steps");
    let longest = data.lengths.longest();
    let context = situation.shape.config.max_position_embeddings;
    let reason = if situation.shape.path.is_some() {
        format!("the longest row; the model reads up to {context}")
    } else {
        "the longest row".to_owned()
    };
    plan.choose("length", format!("{longest} tokens"), reason, "counted: rows are never cut or padded");
}

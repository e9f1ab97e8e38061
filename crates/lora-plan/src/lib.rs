//! lora-plan: what a LoRA run will be, before anything is trained, and what an ordinary run's figures mean.
//!
//! `args` is the command line, `adapter_flags` what it says of an adapter. `model` turns what was named into a decoder's shape; `rules` holds the rules that are
//! cited. Then one room a command: `params` counts parameters, `explain` reads a count backwards, `cost`
//! predicts memory and time, `advise` chooses a configuration,
//! `doctor` names what went wrong in a run that `run` has read, `compare` sets runs side by side, `plot` draws.
mod adapter_flags;
mod advise;
mod args;
mod compare;
mod cost;
mod doctor;
mod explain;
mod model;
mod params;
mod plot;
mod rules;
mod run;
mod show;

pub use advise::{
    AdviseArgs, Choice, Conflict, DataFacts, Plan, Situation, Strength, Task, advise, advise_on,
    pipeline,
};
pub use args::{Args, Command};
pub use compare::{CompareArgs, Compared, Interval, Share, compare};
pub use cost::{
    AddedTokens, BaseType, Card, Carried, CostArgs, Keep, Memory, MemoryArgs, OnCard, Rows, Speed,
    Time, TimeArgs, TimeOnCard, Workload, memory, on_card, time, time_on_card,
};
pub use doctor::{Cause, Change, Diagnosis, DoctorArgs, Finding, diagnose};
pub use explain::{ExplainArgs, Explanation, Match, explain};
pub use model::known::Known;
pub use model::shape::Shape;
pub use params::ParamsArgs;
pub use params::count::{
    Count, LayerCount, ModuleCount, OverviewRow, Params, RANKS, TARGETS, count,
};
pub use plot::{Chart, Line};
pub use rules::Rule;
pub use run::CommandLine;

use lora_cli::{Result, Status, Ui};

/// Runs the tool.
///
/// # Errors
/// When what was named can't be read, or does not fit together.
pub fn run(args: Args, ui: &Ui) -> Result<Status> {
    match &args.command {
        Command::Params(args) => params::run(args, ui),
        Command::Explain(args) => explain::run(args, ui),
        Command::Memory(args) => cost::run_memory(args, ui),
        Command::Time(args) => cost::run_time(args, ui),
        Command::Advise(args) => advise::run(args, ui),
        Command::Doctor(args) => doctor::run(args, ui),
        Command::Compare(args) => compare::run(args, ui),
    }
}

//! `lora-plan advise`: a whole configuration for this data, task and machine, each choice with its reason.
//!
//! `situation` gathers the facts, `choices` applies the rules and settles conflicts, `budget` fits the `plan` into time
//! and memory of a `machine`, `command` and `pipeline` write it down.
mod args;
mod budget;
mod choices;
mod command;
mod machine;
mod pipeline;
mod plan;
mod situation;

pub use args::{AdviseArgs, Strength, Task};
pub use choices::{advise, advise_on};
pub use pipeline::pipeline;
pub use plan::{Choice, Conflict, Plan};
pub use situation::{DataFacts, Situation};

use crate::cost::{BaseType, Carried, Speed, Workload, check_decoder, files, micro_steps, threads};
use crate::model::shape::{self, Shape};
use crate::show::tagged;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result, Status, Ui, available_memory};
use lora_core::LoraConfig;
use lora_kernels::peak::measure_peak;
use lora_training::Batching;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &AdviseArgs, ui: &Ui) -> Result<Status> {
    if let Some(path) = args
        .write
        .as_ref()
        .filter(|path| path.exists() && !args.force)
    {
        return Err(Error::new(format!("{} exists", path.display())).hint("--force replaces it"));
    }
    if let (Some(card), Some(_)) = (args.device.filter(|c| c.rates.is_none()), args.time) {
        return Err(Error::new(format!("how long {card} takes is not known"))
            .hint("leave out --time, or name a card as --device: rtx-4090, h100 and others"));
    }
    let threads = threads(args.threads);
    let shape = shape::resolve_whole(&args.model)?;
    let weights = weights(&shape);
    if args.write.is_some() && weights.is_none() {
        return Err(Error::new(format!(
            "--write needs the weights of {}: a pipeline trains them",
            shape.name
        ))
        .hint("name a Hugging Face folder or a GGUF file as --model, or leave --write out"));
    }
    let measured = weights.filter(|_| !args.no_measure);
    let situation = situation::look(args, shape.clone(), measured.as_deref(), threads, ui)?;
    let plan = match args.device {
        Some(card) => {
            check_decoder(&shape)?;
            let files = files(&shape, BaseType::own(&shape))?;
            advise_on(&situation, card, files.as_ref(), args.time)?
        }
        None => {
            let speed = speed(&situation, measured.as_deref(), ui)?;
            let memory = args.memory.or_else(available_memory);
            advise(&situation, memory, args.time, &speed)?
        }
    };
    show(&situation, &plan, ui);
    if !plan.cost.fits {
        return Ok(Status::No(
            "nothing more can be given up, and the budget is not kept".to_owned(),
        ));
    }
    if let Some(path) = &args.write {
        let text = pipeline(&situation, &plan);
        std::fs::write(path, text)
            .foreign()
            .context(|| format!("failed to write {}", path.display()))?;
        ui.say(&format!(
            "wrote {}; `lora-run {}` runs it",
            path.display(),
            path.display()
        ));
    }
    Ok(Status::Done)
}

/// How fast this machine is: by two micro-steps of the weights at `measured`, or by a matrix product.
fn speed(situation: &Situation, measured: Option<&Path>, ui: &Ui) -> Result<Speed> {
    let (shape, threads) = (&situation.shape, situation.threads);
    let peak = measure_peak(threads);
    let Some(path) = measured else {
        return Ok(Speed::from_peak(shape, peak));
    };
    ui.say("timing two micro-steps");
    let config = LoraConfig::new(16, 16.0, shape.targets("all")?);
    let carried = Carried::of(shape, config)?;
    let work = Workload::new(
        shape,
        &carried,
        "all",
        &situation.data.lengths,
        Batching::default(),
        BaseType::own(shape),
    );
    micro_steps(path, &work, threads, peak, ui)
}

/// Where a model's weights lie; none for a name or a bare config.json.
fn weights(shape: &Shape) -> Option<PathBuf> {
    shape
        .path
        .clone()
        .filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == "gguf"))
}

fn show(situation: &Situation, plan: &Plan, ui: &Ui) {
    ui.event(&tagged("situation", situation));
    plan.choices
        .iter()
        .for_each(|choice| ui.event(&tagged("choice", choice)));
    plan.conflicts
        .iter()
        .for_each(|conflict| ui.event(&tagged("conflict", conflict)));
    ui.event(&tagged("cost", &plan.cost));
    situation.lines().iter().for_each(|line| ui.out(line));
    ui.out("");
    let head = ["", "choice", "reason", "source"]
        .map(str::to_owned)
        .to_vec();
    let rows = plan.choices.iter().map(|c| {
        vec![
            c.what.clone(),
            c.value.clone(),
            c.reason.clone(),
            c.source.clone(),
        ]
    });
    ui.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    for conflict in &plan.conflicts {
        ui.out(&format!(
            "Conflict: {}, but {}. Won: {}.",
            conflict.one, conflict.other, conflict.won
        ));
    }
    plan.cost.lines().iter().for_each(|line| ui.out(line));
    if plan.device.is_some() {
        for command in command::commands(situation, plan) {
            ui.event(&tagged(
                "command",
                &serde_json::json!({ "command": command }),
            ));
            command
                .broken(ui.width())
                .iter()
                .for_each(|line| ui.out(line));
        }
    }
}

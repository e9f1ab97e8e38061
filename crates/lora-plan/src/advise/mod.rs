//! `lora-plan advise`: a whole configuration for this data, task and machine, each choice with its reason.
//!
//! `situation` gathers the facts, `choices` applies the rules and settles conflicts, `budget` fits the result into time
//! and memory of a `machine`, `command` and `pipeline` write it down.
mod budget;
mod choices;
mod command;
mod machine;
mod pipeline;
mod situation;

pub use choices::{Choice, Conflict, Plan, advise, advise_on};
pub use pipeline::pipeline;
pub use situation::{DataFacts, Situation, Strength, Task};

use crate::cost::{BaseType, Card, Speed, Workload, files, micro_steps, threads};
use crate::model::shape::{self, Shape};
use crate::show::tagged;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result, Status, Ui, available_memory, values};
use lora_core::LoraConfig;
use lora_kernels::peak::measure_peak;
use lora_training::Batching;
use std::path::{Path, PathBuf};

/// Choose rank, alpha, targets, dropout, learning rate, epochs, batch and base precision, with reasons.
///
/// The rules are those of practice, each printed with its source; where two disagree, both are named and which one won.
/// Nothing is trained; the base's loss on a few held-out rows is measured if its weights are here.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct AdviseArgs {
    /// Model: a Hugging Face folder, a GGUF file, hub:OWNER/NAME, or a name such as llama-3-8b (a
    /// wrong name lists them).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Dataset folder of lora-prep.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// What the model shall learn: another format, another style, a new domain, or new behaviour.
    #[arg(long, value_enum, value_name = "TASK")]
    pub task: Task,
    /// How strongly the adapter shall change the model.
    #[arg(long, value_enum, default_value_t = Strength::Normal)]
    pub strength: Strength,
    /// Time that the training may take, e.g. 20m or 2h.
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    pub time: Option<f64>,
    /// Memory that it may take, e.g. 2GB [default: what is free].
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub memory: Option<u64>,
    /// Train on a GPU: its memory, as in cuda:24GB, or its name, as in rtx-3090 or h100 (a wrong name lists them).
    #[arg(long, value_name = "CARD", conflicts_with = "memory")]
    pub device: Option<Card>,
    /// Threads [default: as many as this process may use].
    #[arg(long, value_name = "N", value_parser = values::threads)]
    pub threads: Option<usize>,
    /// Don't run the base on held-out rows.
    #[arg(long)]
    pub no_measure: bool,
    /// Write a pipeline for lora-run.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub write: Option<PathBuf>,
    /// Replace an existing pipeline.
    #[arg(long, requires = "write")]
    #[serde(skip)]
    pub force: bool,
}

const EXAMPLES: &str = "\
Examples:
  lora-plan advise --model smollm2.gguf --data dataset --task behaviour
  lora-plan advise --model smollm2.gguf --data dataset --task style --time 20m --memory 1GB
  lora-plan advise --model m --data d --task domain --device cuda:24GB
  lora-plan advise --model m --data d --task domain --write pipelines/mine.yaml && lora-run pipelines/mine.yaml";

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
    let targeted = LoraConfig::new(16, 16.0, shape.targets("all")?)
        .layout(&shape.modules())?
        .modules;
    let work = Workload::new(
        shape,
        &targeted,
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

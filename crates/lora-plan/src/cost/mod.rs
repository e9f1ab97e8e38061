//! `lora-plan memory` and `lora-plan time`: what a run takes on this machine, against PEFT and full fine-tuning.
//!
//! `workload` is what is computed, `memory` and `time` are the predictions, `machine` measures, `show` prints; on a GPU
//! (`card`) they are those of `device` and `show_device`.
mod args;
mod card;
mod carried;
mod device;
mod machine;
mod memory;
mod show;
mod show_device;
mod time;
mod tokens;
mod workload;

pub use args::{CostArgs, MemoryArgs, TimeArgs};
pub use card::Card;
pub use carried::Carried;
pub use device::{OnCard, TimeOnCard, check_decoder, on_card, time_on_card};
pub use memory::{Memory, memory};
pub use time::{Speed, Time, time};
pub use tokens::AddedTokens;
pub use workload::{BaseType, Keep, Rows, Workload};

pub(crate) use device::files;
pub(crate) use machine::micro_steps;
pub(crate) use workload::threads;

use crate::model::shape::{self, Shape};
use lora_cli::{Error, Result, Status, Ui, available_memory};
use lora_kernels::peak::measure_peak;

pub(crate) fn run_memory(args: &MemoryArgs, ui: &Ui) -> Result<Status> {
    if let Some(card) = &args.cost.device {
        return memory_on(card, args, ui);
    }
    let (shape, workloads) = args.cost.workloads()?;
    let predictions: Vec<(Workload, Memory)> = workloads
        .into_iter()
        .map(|work| (work.clone(), memory(&shape, &work)))
        .collect();
    show::memory(&shape, &predictions, available_memory(), ui);
    if let Some(path) = &args.svg {
        show::memory_chart(&predictions).write_svg(path)?;
        ui.say(&format!("wrote {}", path.display()));
    }
    Ok(Status::Done)
}

/// Memory on a GPU.
fn memory_on(card: &Card, args: &MemoryArgs, ui: &Ui) -> Result<Status> {
    if args.svg.is_some() {
        return Err(Error::new("--svg draws the CPU's memory").hint("leave out --svg or --device"));
    }
    let shape = shape::resolve(&args.cost.model)?;
    check_decoder(&shape)?;
    let (shape, workloads) = args.cost.with_all_bases(&shape).workloads()?;
    let files = files(&shape, BaseType::own(&shape))?;
    let predictions: Vec<(Workload, OnCard)> = workloads
        .into_iter()
        .map(|work| (work.clone(), on_card(&shape, &work, files.as_ref(), card)))
        .collect();
    show_device::memory(&shape, &predictions, card, ui);
    Ok(Status::Done)
}

/// Time on a GPU.
fn time_on(card: &Card, args: &TimeArgs, ui: &Ui) -> Result<Status> {
    if args.measure {
        return Err(Error::new("--measure times this machine's CPU").hint("leave it out"));
    }
    let rates = card.rates.ok_or_else(|| {
        Error::new(format!("for {card} no rate of bfloat16 products is known"))
            .hint("name a card as --device: rtx-3090, rtx-4090, l4, a100-80gb, h100 and others")
    })?;
    let (shape, workloads) = args.cost.workloads()?;
    check_decoder(&shape)?;
    let files = files(&shape, BaseType::own(&shape))?;
    let predictions: Vec<(Workload, OnCard, TimeOnCard)> = workloads
        .into_iter()
        .map(|work| {
            let memory = on_card(&shape, &work, files.as_ref(), card);
            let time = time_on_card(&shape, &work, &memory, rates);
            (work, memory, time)
        })
        .collect();
    show_device::time(&shape, &predictions, card, rates, ui);
    Ok(Status::Done)
}

pub(crate) fn run_time(args: &TimeArgs, ui: &Ui) -> Result<Status> {
    if let Some(card) = &args.cost.device {
        return time_on(card, args, ui);
    }
    let (shape, workloads) = args.cost.workloads()?;
    let threads = threads(args.cost.threads);
    let speed = speed(&shape, &workloads, args.measure, threads, ui)?;
    let predictions: Vec<(Workload, Time)> = workloads
        .into_iter()
        .map(|work| (work.clone(), time(&shape, &work, &speed)))
        .collect();
    show::time(&shape, &predictions, &speed, ui);
    Ok(Status::Done)
}

/// How fast this machine is: by a matrix product, or by two micro-steps of the first workload.
fn speed(
    shape: &Shape,
    workloads: &[Workload],
    measure: bool,
    threads: usize,
    ui: &Ui,
) -> Result<Speed> {
    let peak = measure_peak(threads);
    let (Some(work), true) = (workloads.first(), measure) else {
        return Ok(Speed::from_peak(shape, peak));
    };
    let Some(path) = &shape.path else {
        return Err(
            Error::new(format!("--measure needs the weights of {}", shape.name))
                .hint("name a model folder or a GGUF file, or leave --measure out"),
        );
    };
    ui.say("timing two micro-steps");
    micro_steps(path, work, threads, peak, ui)
}

//! `--device`: the GPU that a run takes, if it takes one.
use crate::args::Args;
use lora_cli::{DeviceChoice, Result, Ui, human_bytes};
use lora_core::Adapter;
use lora_gpu::{Gpu, Identity, Precision};
use lora_model::{Base, BatchSize, GpuMemory, OnGpu};

/// A base on a GPU, ready to train, and what is said of it.
pub(crate) struct Placed<'b> {
    pub(crate) route: OnGpu<'b>,
    pub(crate) memory: GpuMemory,
    pub(crate) identity: Identity,
    pub(crate) choice: DeviceChoice,
}

/// The GPU that the flags ask for; None if the run is the CPU's.
pub(crate) fn find(args: &Args, ui: &Ui) -> Result<Option<Gpu>> {
    args.device
        .open(ui, |ordinal| Ok(lora_gpu::cuda(ordinal, Precision::Bf16)?))
}

/// Takes the base to a GPU; None if that can't be, and the CPU will do.
pub(crate) fn place<'b>(
    args: &Args,
    gpu: Gpu,
    base: &'b Base,
    (adapter, batch): (&Adapter, BatchSize),
    ui: &Ui,
) -> Result<Option<Placed<'b>>> {
    let identity = gpu.identity().clone();
    let placed = args.device.open(ui, |ordinal| {
        let route = OnGpu::new(base, gpu, Some(adapter))?;
        let mut route = route.with_shared_prefixes(!args.no_shared_prefixes);
        if args.profile {
            route = route.with_profile();
        }
        let drops = adapter.config.lora_dropout > 0.0;
        let memory = route.fit(batch, adapter.params.len(), drops, args.memory)?;
        Ok(Placed {
            route,
            memory,
            identity,
            choice: DeviceChoice::Cuda(ordinal),
        })
    })?;
    if let Some(placed) = &placed {
        ui.say(&describe(placed));
    }
    Ok(placed)
}

fn describe(placed: &Placed<'_>) -> String {
    let GpuMemory {
        kept_layers,
        recomputed_layers,
        held_bytes,
        step_bytes,
    } = placed.memory;
    let again = if recomputed_layers == 0 {
        String::new()
    } else {
        let layers = kept_layers + recomputed_layers + 1;
        format!("; {recomputed_layers} of {layers} layers are computed again")
    };
    format!(
        "device: {} ({}, {}), {} held, {} more for a step{again}",
        placed.choice,
        placed.identity.name,
        placed.identity.driver,
        human_bytes(held_bytes),
        human_bytes(step_bytes),
    )
}

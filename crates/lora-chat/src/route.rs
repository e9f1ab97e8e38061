//! `--device`: the way through the decoder, on a GPU or on the CPU.
use crate::Args;
use crate::voices::Voice;
use lora_cli::{Result, Ui};
use lora_gpu::Precision;
use lora_model::{Base, Fused, Generate, OnGpu};

/// The way that the flags ask for.
pub(crate) fn route<'b>(
    args: &Args,
    base: &'b Base,
    voices: &[Voice],
    ui: &Ui,
) -> Result<Box<dyn Generate + 'b>> {
    let on_gpu = args.device.open(ui, |ordinal| {
        let gpu = lora_gpu::cuda(ordinal, Precision::Bf16)?;
        let adapters = voices.iter().filter_map(|voice| voice.adapter.as_ref());
        Ok(OnGpu::for_adapters(base, gpu, adapters)?)
    })?;
    if let Some(route) = on_gpu {
        let identity = route.gpu().identity();
        ui.say(&format!("device: {} ({})", identity.name, identity.driver));
        return Ok(Box::new(route));
    }
    let threads = args.threads.unwrap_or_else(lora_cli::cores);
    Ok(Box::new(Fused::new(base, threads)?))
}

//! `--device`: the way through the decoder, on a GPU or on the CPU.
use crate::args::Args;
use crate::inputs::Loaded;
use lora_cli::{Result, Ui};
use lora_gpu::Precision;
use lora_model::{Fused, Generate, OnGpu};
use serde_json::{Value, json};

/// The way that the flags ask for, and what the receipt says of it.
pub(crate) fn route<'b>(
    args: &Args,
    loaded: &'b Loaded,
    ui: &Ui,
) -> Result<(Box<dyn Generate + 'b>, Value)> {
    let on_gpu = args.device.open(ui, |ordinal| {
        let gpu = lora_gpu::cuda(ordinal, Precision::Bf16)?;
        let models = loaded.models();
        let adapters = models.iter().filter_map(|model| model.adapter);
        Ok(OnGpu::for_adapters(&loaded.base, gpu, adapters)?)
    })?;
    if let Some(route) = on_gpu {
        let identity = route.gpu().identity();
        ui.say(&format!("device: {} ({})", identity.name, identity.driver));
        let device = json!({
            "kind": "cuda",
            "card": identity.name,
            "driver": identity.driver,
        });
        return Ok((Box::new(route), device));
    }
    let threads = args.threads.unwrap_or_else(lora_cli::cores);
    let route = Fused::new(&loaded.base, threads)?;
    Ok((Box::new(route), "cpu".into()))
}

//! The passes of the check: base, base + adapter and merged model, each over the same rows.
use crate::Args;
use crate::inputs::Inputs;
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use lora_gpu::Precision;
use lora_model::{Base, ChosenExperts, Fused, OnGpu, Packed};

/// The ways through base and merged model.
pub(super) struct Routes<'b> {
    base: Way<'b>,
    merged: Way<'b>,
    pub(super) device: String,
}

/// A GPU computes in f32 here, too: bfloat16 would hide what is looked for. It has no mixtures of experts.
enum Way<'b> {
    Cpu(Box<Fused<'b>>),
    Gpu(Box<OnGpu<'b>>),
}

/// Logits of one row, (T, V) each. The tokens of a mixture go through the experts that base + adapter chose in all three.
pub(super) struct OfRow {
    pub(super) plain: Vec<f32>,
    pub(super) adapted: Vec<f32>,
    pub(super) merged: Vec<f32>,
    /// Tokens for which the merged model would have chosen other experts.
    pub(super) elsewhere: usize,
}

impl<'b> Routes<'b> {
    pub(super) fn open(args: &Args, inputs: &'b Inputs, merged: &'b Base, ui: &Ui) -> Result<Self> {
        let on_gpu = args.device.open(ui, |ordinal| {
            let gpu = lora_gpu::cuda(ordinal, Precision::F32)?;
            let adapter = std::iter::once(&inputs.adapter);
            Ok(Self {
                base: Way::Gpu(Box::new(OnGpu::for_adapters(
                    &inputs.base,
                    gpu.clone(),
                    adapter,
                )?)),
                merged: Way::Gpu(Box::new(OnGpu::new(merged, gpu.clone(), None)?)),
                device: gpu.identity().name.clone(),
            })
        })?;
        if let Some(routes) = on_gpu {
            ui.say(&format!("device of the check: {}", routes.device));
            return Ok(routes);
        }
        let threads = args.threads.unwrap_or_else(lora_cli::cores);
        Ok(Self {
            base: Way::Cpu(Box::new(Fused::new(&inputs.base, threads)?)),
            merged: Way::Cpu(Box::new(Fused::new(merged, threads)?)),
            device: "cpu".to_owned(),
        })
    }

    pub(super) fn row(&mut self, adapter: &Adapter, packed: &Packed) -> Result<OfRow> {
        let (adapted, chosen) = self.base.logits(Some(adapter), packed, None)?;
        let (plain, _) = self.base.logits(None, packed, Some(&chosen))?;
        let (merged, own) = self.merged.logits(None, packed, Some(&chosen))?;
        Ok(OfRow {
            plain,
            adapted,
            merged,
            elsewhere: own.tokens_elsewhere(&chosen),
        })
    }
}

impl Way<'_> {
    fn logits(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
        followed: Option<&ChosenExperts>,
    ) -> Result<(Vec<f32>, ChosenExperts)> {
        let (logits, chosen) = match self {
            Self::Cpu(fused) => fused.logits_by_experts(adapter, packed, followed)?,
            Self::Gpu(gpu) => gpu.logits_by_experts(adapter, packed, followed)?,
        };
        if logits.iter().all(|x| x.is_finite()) {
            return Ok((logits, chosen));
        }
        let which = if adapter.is_some() {
            "base + adapter"
        } else {
            "the model"
        };
        Err(Error::new(format!(
            "the check failed: {which} gives logits that are NaN or infinite"
        ))
        .hint("is a --weight too large? otherwise the base or an adapter holds values out of range: lora-export names the tensor"))
    }
}

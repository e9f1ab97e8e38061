//! What layers with a convolution and a rule learn beside their linear layers, on the device.
use crate::fused::states::{DeltaLayer, MambaLayer};
use crate::{Base, Error};
use lora_checkpoint::{DeltaShape as Heads, MambaNorm, MambaShape};
use lora_gpu::{DeltaShape, Dtype, GatedNorm, Gpu, SsdShape, Taps, Tensor};

/// A convolution along the sequences.
#[derive(Debug)]
pub(super) struct Convolution {
    /// f32 (taps, columns).
    taps: Tensor,
    /// f32 (columns).
    bias: Option<Tensor>,
    count: usize,
    silu: bool,
}

impl Convolution {
    pub(super) fn load(
        gpu: &Gpu,
        (taps, bias): (&[f32], Option<&[f32]>),
        columns: usize,
    ) -> Result<Self, Error> {
        let bias = bias.map(|bias| gpu.uploaded(Dtype::F32, bias));
        Ok(Self {
            taps: gpu.uploaded(Dtype::F32, taps)?,
            bias: bias.transpose()?,
            count: taps.len() / columns,
            silu: false,
        })
    }

    /// The same with SiLU behind it.
    pub(super) fn through_silu(self) -> Self {
        Self { silu: true, ..self }
    }

    pub(super) fn taps(&self) -> Taps<'_> {
        Taps {
            values: &self.taps,
            bias: self.bias.as_ref(),
            count: self.count,
            silu: self.silu,
        }
    }
}

/// What a layer of Mamba-2 learns beside its linear layers.
#[derive(Debug)]
pub(super) struct Mamba {
    pub(super) conv: Convolution,
    /// A number a head each.
    pub(super) a_log: Tensor,
    pub(super) dt_bias: Tensor,
    pub(super) skip: Tensor,
    /// γ of the norm behind the rule.
    pub(super) norm: Option<Tensor>,
    pub(super) behind_gate: bool,
    pub(super) shape: SsdShape,
    pub(super) limits: [f32; 2],
}

/// The heads as kernels have them.
pub(super) fn mamba_shape(own: MambaShape) -> SsdShape {
    SsdShape {
        heads: own.heads,
        groups: own.groups,
        width: own.width,
        state: own.state,
    }
}

/// Values that a layer learns beside its linear layers.
pub(super) fn planned_mamba(own: MambaShape) -> usize {
    let taps = own.taps + usize::from(own.conv_bias);
    let norm = match own.norm {
        MambaNorm::Without => 0,
        MambaNorm::BehindGate | MambaNorm::BeforeGate => own.values(),
    };
    taps * own.columns() + 3 * own.heads + norm
}

impl Mamba {
    /// That of a layer, if it is one of Mamba-2.
    pub(super) fn load(base: &Base, gpu: &Gpu, layer: usize) -> Result<Option<Self>, Error> {
        let read = MambaLayer::of(base, layer)?.zip(base.config().mamba);
        let Some((read, own)) = read else {
            return Ok(None);
        };
        let vector = |values: &[f32]| gpu.uploaded(Dtype::F32, values);
        let taps = (&read.taps[..], read.bias.as_deref());
        Ok(Some(Self {
            conv: Convolution::load(gpu, taps, own.columns())?.through_silu(),
            a_log: vector(&read.decay_log)?,
            dt_bias: vector(&read.step_bias)?,
            skip: vector(&read.skip)?,
            norm: read.norm.as_deref().map(vector).transpose()?,
            behind_gate: own.norm != MambaNorm::BeforeGate,
            shape: mamba_shape(own),
            limits: own.limits.map(|limit| limit as f32),
        }))
    }

    pub(super) fn gated_norm(&self) -> GatedNorm<'_> {
        GatedNorm {
            gamma: self.norm.as_ref(),
            groups: self.shape.groups,
            behind: self.behind_gate,
        }
    }
}

/// What a layer of Gated DeltaNet learns beside its linear layers.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) conv: Convolution,
    /// A number a value head each.
    pub(super) a_log: Tensor,
    pub(super) dt_bias: Tensor,
    /// γ of the gated norm, that of all heads.
    pub(super) norm: Tensor,
    pub(super) shape: DeltaShape,
}

/// The heads as kernels have them.
pub(super) fn delta_shape(own: Heads) -> DeltaShape {
    DeltaShape {
        key_heads: own.key_heads,
        value_heads: own.value_heads,
        key_dim: own.key_dim,
        value_dim: own.value_dim,
    }
}

/// Values that a layer learns beside its linear layers.
pub(super) fn planned_delta(own: Heads) -> usize {
    own.taps * own.columns() + 2 * own.value_heads + own.value_dim
}

impl Delta {
    /// That of a layer, if it is one of Gated DeltaNet.
    pub(super) fn load(base: &Base, gpu: &Gpu, layer: usize) -> Result<Option<Self>, Error> {
        let read = DeltaLayer::of(base, layer)?.zip(base.config().delta);
        let Some((read, own)) = read else {
            return Ok(None);
        };
        let vector = |values: &[f32]| gpu.uploaded(Dtype::F32, values);
        Ok(Some(Self {
            conv: Convolution::load(gpu, (&read.taps, None), own.columns())?.through_silu(),
            a_log: vector(&read.decay_log)?,
            dt_bias: vector(&read.step_bias)?,
            norm: vector(&read.norm)?,
            shape: delta_shape(own),
        }))
    }

    pub(super) fn gated_norm(&self) -> GatedNorm<'_> {
        GatedNorm {
            gamma: Some(&self.norm),
            groups: self.shape.value_heads,
            behind: false,
        }
    }
}

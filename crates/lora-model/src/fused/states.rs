//! What layers that keep a state learn beside their linear layers, as the base has it.
use crate::{Base, Error};
use lora_checkpoint::{DeltaPart, MambaNorm, MambaPart, Mixer, ShortConv};

/// What a recurrent layer learns beside its linear layers.
#[derive(Debug)]
pub(crate) struct DeltaLayer {
    /// The convolution, (taps, columns).
    pub(crate) taps: Vec<f32>,
    /// Logarithms of the rates of decay, (value heads).
    pub(crate) decay_log: Vec<f32>,
    /// (value heads).
    pub(crate) step_bias: Vec<f32>,
    /// γ of the gated norm, (value width).
    pub(crate) norm: Vec<f32>,
}

/// What a layer of Mamba-2 learns beside its linear layers.
#[derive(Debug)]
pub(crate) struct MambaLayer {
    /// The convolution, (taps, columns), and its bias, (columns), if it has one.
    pub(crate) taps: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
    /// Logarithms of the rates of decay, (heads).
    pub(crate) decay_log: Vec<f32>,
    /// (heads).
    pub(crate) step_bias: Vec<f32>,
    /// What of x goes past the state, (heads).
    pub(crate) skip: Vec<f32>,
    /// γ of the norm behind the rule, (heads · width), if there is one.
    pub(crate) norm: Option<Vec<f32>>,
}

impl DeltaLayer {
    /// That of a layer, if it is one of Gated DeltaNet.
    pub(crate) fn of(base: &Base, layer: usize) -> Result<Option<Self>, Error> {
        let config = base.config();
        let (Mixer::Delta, Some(shape)) = (config.layers[layer].mixer, config.delta) else {
            return Ok(None);
        };
        let read = |part: DeltaPart| vector(base, layer, part.path());
        Ok(Some(Self {
            taps: taps(base, layer, DeltaPart::Convolution.path(), shape.taps)?,
            decay_log: read(DeltaPart::DecayLog)?,
            step_bias: read(DeltaPart::StepBias)?,
            norm: read(DeltaPart::Norm)?,
        }))
    }
}

impl MambaLayer {
    /// That of a layer, if it is one of Mamba-2.
    pub(crate) fn of(base: &Base, layer: usize) -> Result<Option<Self>, Error> {
        let config = base.config();
        let (Mixer::Mamba, Some(shape)) = (config.layers[layer].mixer, config.mamba) else {
            return Ok(None);
        };
        let read = |part: MambaPart| vector(base, layer, part.path());
        Ok(Some(Self {
            taps: taps(base, layer, MambaPart::Convolution.path(), shape.taps)?,
            bias: match shape.conv_bias {
                true => Some(read(MambaPart::ConvolutionBias)?),
                false => None,
            },
            decay_log: read(MambaPart::DecayLog)?,
            step_bias: read(MambaPart::StepBias)?,
            skip: read(MambaPart::Skip)?,
            norm: match shape.norm {
                MambaNorm::Without => None,
                MambaNorm::BehindGate | MambaNorm::BeforeGate => Some(read(MambaPart::Norm)?),
            },
        }))
    }
}

/// The taps of a layer of a short convolution, (taps, H).
pub(crate) fn short_conv(base: &Base, layer: usize) -> Result<Option<Vec<f32>>, Error> {
    let config = base.config();
    let (Mixer::ShortConv, Some(own)) = (config.layers[layer].mixer, config.short_conv) else {
        return Ok(None);
    };
    taps(base, layer, ShortConv::PATH, own.taps).map(Some)
}

/// The taps of a layer's convolution, (columns, 1, taps) -> (taps, columns).
fn taps(base: &Base, layer: usize, path: &str, count: usize) -> Result<Vec<f32>, Error> {
    let by_column = vector(base, layer, path)?;
    let tap = |tap: usize| by_column.iter().skip(tap).step_by(count);
    Ok((0..count).flat_map(tap).copied().collect())
}

fn vector(base: &Base, layer: usize, path: &str) -> Result<Vec<f32>, Error> {
    let name = format!("model.layers.{layer}.{path}");
    Ok(base.checkpoint().tensor(&name)?.to_f32())
}

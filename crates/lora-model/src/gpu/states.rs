//! Layers that keep a state: what they learn beside their linear layers, on the device, and what generation keeps of the texts.
use super::rule_layers::{
    Convolution, Delta, Mamba, delta_shape, mamba_shape, planned_delta, planned_mamba,
};
use crate::fused::states;
use crate::{Base, Error};
use lora_checkpoint::{Mixer, ModelConfig};
use lora_gpu::{Dtype, Gpu, Tensor};

/// What such a layer learns beside its linear layers.
#[derive(Debug)]
pub(super) enum StateLayer {
    /// A convolution between two gates.
    ShortConv(Convolution),
    /// Mamba-2.
    Mamba(Mamba),
    /// Gated DeltaNet.
    Delta(Delta),
}

impl StateLayer {
    /// That of a layer, if it keeps a state.
    pub(super) fn load(base: &Base, gpu: &Gpu, layer: usize) -> Result<Option<Self>, Error> {
        if let Some(taps) = states::short_conv(base, layer)? {
            let columns = base.config().hidden_size;
            let own = Convolution::load(gpu, (&taps, None), columns)?;
            return Ok(Some(Self::ShortConv(own)));
        }
        if let Some(own) = Mamba::load(base, gpu, layer)? {
            return Ok(Some(Self::Mamba(own)));
        }
        Ok(Delta::load(base, gpu, layer)?.map(Self::Delta))
    }

    /// Values that one has, in f32; 0 in a layer with attention alone.
    pub(super) fn planned(config: &ModelConfig, layer: usize) -> usize {
        match config.layers[layer].mixer {
            Mixer::ShortConv => {
                let taps = config.short_conv.map_or(0, |own| own.taps);
                taps * config.hidden_size
            }
            Mixer::Mamba => config.mamba.map_or(0, planned_mamba),
            Mixer::Delta => config.delta.map_or(0, planned_delta),
            Mixer::Attention => 0,
        }
    }
}

/// What generation keeps of each text in a layer, f32: the last rows that its convolution has read, (texts, taps − 1, columns),
/// and the rule's states, (texts, state, values).
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) tails: Tensor,
    pub(super) states: Tensor,
}

impl Kept {
    /// Of so many texts that begin.
    pub(super) fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        layer: usize,
        texts: usize,
    ) -> Result<Self, Error> {
        let tail = |taps: usize, columns: usize| taps.saturating_sub(1) * columns;
        let [tail, state] = match config.layers[layer].mixer {
            Mixer::ShortConv => {
                let own = config.short_conv;
                [own.map_or(0, |own| tail(own.taps, config.hidden_size)), 0]
            }
            Mixer::Mamba => config.mamba.map_or([0; 2], |own| {
                [tail(own.taps, own.columns()), mamba_shape(own).states()]
            }),
            Mixer::Delta => config.delta.map_or([0; 2], |own| {
                [tail(own.taps, own.columns()), delta_shape(own).states()]
            }),
            Mixer::Attention => [0; 2],
        };
        let zeros = |len: usize| -> Result<Tensor, Error> {
            let tensor = gpu.alloc(Dtype::F32, len)?;
            gpu.zero(&tensor, len)?;
            Ok(tensor)
        };
        Ok(Self {
            tails: zeros(texts * tail)?,
            states: zeros(texts * state)?,
        })
    }
}

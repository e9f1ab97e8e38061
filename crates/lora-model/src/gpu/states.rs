//! Layers that keep a state: what they learn beside their linear layers, on the device, and what generation keeps of the texts.
use super::pass::LayerPass;
use crate::fused::{first_row, states};
use crate::{Base, Error};
use lora_checkpoint::{Mixer, ModelConfig};
use lora_gpu::{Dtype, Gpu, Segment, Spans, Taps, Tensor};
use lora_kernels::layout::Layout;
use std::collections::BTreeMap;

/// What such a layer learns beside its linear layers.
#[derive(Debug)]
pub(super) enum StateLayer {
    /// A convolution between two gates.
    ShortConv(Convolution),
}

impl StateLayer {
    /// That of a layer, if it keeps a state.
    pub(super) fn load(base: &Base, gpu: &Gpu, layer: usize) -> Result<Option<Self>, Error> {
        match states::short_conv(base, layer)? {
            Some(taps) => {
                let columns = base.config().hidden_size;
                let own = Convolution::load(gpu, (&taps, None), columns)?;
                Ok(Some(Self::ShortConv(own)))
            }
            None => Ok(None),
        }
    }

    /// Values that one has, in f32; 0 in a layer with attention alone.
    pub(super) fn planned(config: &ModelConfig, layer: usize) -> usize {
        match (config.layers[layer].mixer, config.short_conv) {
            (Mixer::ShortConv, Some(own)) => own.taps * config.hidden_size,
            _ => 0,
        }
    }
}

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
    fn load(
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

    pub(super) fn taps(&self) -> Taps<'_> {
        Taps {
            values: &self.taps,
            bias: self.bias.as_ref(),
            count: self.count,
            silu: self.silu,
        }
    }
}

/// What generation keeps of each text in a layer: the last rows that its convolution has read, f32 (texts, taps − 1, columns).
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) tails: Tensor,
}

impl Kept {
    /// Of so many texts that begin.
    pub(super) fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        layer: usize,
        texts: usize,
    ) -> Result<Self, Error> {
        let tail = match (config.layers[layer].mixer, config.short_conv) {
            (Mixer::ShortConv, Some(own)) => own.taps.saturating_sub(1) * config.hidden_size,
            _ => 0,
        };
        let tails = gpu.alloc(Dtype::F32, texts * tail)?;
        gpu.zero(&tails, texts * tail)?;
        Ok(Self { tails })
    }
}

/// The numbers of texts in generation, by the rows of the cache where they begin.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<usize, u32>);

impl Texts {
    /// Those of a batch's segments; who comes for the first time gets the next one.
    pub(super) fn of(&mut self, layout: &Layout) -> Vec<u32> {
        let segments = layout.segments().iter();
        let numbers = segments.map(|segment| {
            let next = self.0.len() as u32;
            *self.0.entry(first_row(layout, segment)).or_insert(next)
        });
        numbers.collect()
    }
}

/// The sequences of a pass, if some layer keeps a state: those of a batch are texts of their own, unless they go on.
pub(super) fn spans(
    gpu: &Gpu,
    config: &ModelConfig,
    (segments, rows): (&[Segment], usize),
    texts: Option<&[u32]>,
) -> Result<Option<Spans>, lora_gpu::Error> {
    if !config.is_recurrent() {
        return Ok(None);
    }
    let own: Vec<u32> = (0..segments.len() as u32).collect();
    gpu.spans(segments, texts.unwrap_or(&own), rows).map(Some)
}

impl<'p> LayerPass<'p> {
    /// The sequences of the pass, in a layer that keeps a state.
    pub(super) fn spans(self) -> &'p Spans {
        match &self.pass.spans {
            Some(spans) => spans,
            None => unreachable!("a decoder with such layers has them"),
        }
    }

    /// What generation keeps of the texts in this layer.
    pub(super) fn kept(self) -> Option<&'p Kept> {
        self.pass
            .cache
            .as_ref()
            .map(|cache| &cache.kept[self.index])
    }
}

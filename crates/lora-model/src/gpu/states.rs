//! Layers that keep a state: what they learn beside their linear layers, on the device, and what generation keeps of the texts.
use super::delta::{self, Delta};
use super::mamba::{self, Mamba};
use super::pass::LayerPass;
use crate::fused::{first_row, states};
use crate::{Base, Error};
use lora_checkpoint::{Mixer, ModelConfig};
use lora_gpu::{ChunkSteps, Chunks, Dtype, Gpu, Segment, Spans, Taps, Tensor};
use lora_kernels::layout::Layout;
use std::collections::BTreeMap;

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
            Mixer::Mamba => config.mamba.map_or(0, mamba::planned),
            Mixer::Delta => config.delta.map_or(0, delta::planned),
            Mixer::Attention => 0,
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
                [tail(own.taps, own.columns()), mamba::shape(own).states()]
            }),
            Mixer::Delta => config.delta.map_or([0; 2], |own| {
                [tail(own.taps, own.columns()), delta::shape(own).states()]
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

/// The sequences of a pass, and their chunks.
#[derive(Debug)]
pub(super) struct Sequences {
    spans: Spans,
    /// Where a rule goes along them.
    chunks: Option<Chunks>,
    steps: Option<ChunkSteps>,
}

impl Sequences {
    /// Chunks and sequences.
    pub(super) fn counts(&self) -> (usize, usize) {
        match (&self.chunks, &self.steps) {
            (Some(chunks), _) => (chunks.count(), self.spans.segments()),
            (None, Some(steps)) => (steps.count(), steps.sequences()),
            (None, None) => (0, 0),
        }
    }
}

/// Those of a batch, if some layer keeps a state: they are texts of their own, unless they go on.
pub(super) fn sequences(
    gpu: &Gpu,
    config: &ModelConfig,
    (segments, rows): (&[Segment], usize),
    texts: Option<&[u32]>,
) -> Result<Option<Sequences>, lora_gpu::Error> {
    if !config.is_recurrent() {
        return Ok(None);
    }
    let own: Vec<u32> = (0..segments.len() as u32).collect();
    let texts = texts.unwrap_or(&own);
    let has = |mixer| config.layers.iter().any(|layer| layer.mixer == mixer);
    let chunks = has(Mixer::Mamba).then(|| gpu.chunks(segments, texts, rows));
    let steps = has(Mixer::Delta).then(|| gpu.chunk_steps(segments, texts, rows));
    Ok(Some(Sequences {
        spans: gpu.spans(segments, texts, rows)?,
        chunks: chunks.transpose()?,
        steps: steps.transpose()?,
    }))
}

impl<'p> LayerPass<'p> {
    /// The sequences of the pass, in a layer that keeps a state.
    fn sequences(self) -> &'p Sequences {
        match &self.pass.sequences {
            Some(sequences) => sequences,
            None => unreachable!("a decoder with such layers has them"),
        }
    }

    /// Which rows belong to them.
    pub(super) fn spans(self) -> &'p Spans {
        &self.sequences().spans
    }

    /// Their chunks.
    pub(super) fn chunks(self) -> &'p Chunks {
        match &self.sequences().chunks {
            Some(chunks) => chunks,
            None => unreachable!("a decoder with Mamba-2 has them"),
        }
    }

    /// The same in steps.
    pub(super) fn steps(self) -> &'p ChunkSteps {
        match &self.sequences().steps {
            Some(steps) => steps,
            None => unreachable!("a decoder with Gated DeltaNet has them"),
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

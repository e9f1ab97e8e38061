//! The sequences of a pass, which layers that keep a state walk along, and the numbers of texts in generation.
use crate::fused::first_row;
use lora_checkpoint::{Mixer, ModelConfig};
use lora_gpu::{ChunkSteps, Chunks, Gpu, Segment, Spans};
use lora_kernels::layout::Layout;
use std::collections::BTreeMap;

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
    pub(super) spans: Spans,
    /// Where a rule goes along them.
    pub(super) chunks: Option<Chunks>,
    pub(super) steps: Option<ChunkSteps>,
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

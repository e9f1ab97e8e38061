//! What is the same for every layer of one pass: rows, rotary tables, and which keys each segment sees.
use super::factors::OnDevice;
use super::own_rows::RowsOfBatch;
use super::rotation::Rotations;
use super::scratch::Scratch;
use super::sequences::{self, Sequences};
use super::states::Kept;
use super::trained_tables::TrainedTable;
use super::weights::Layer;
use crate::Dropout;
use crate::fused::balance::Balancing;
use crate::fused::batch::{Batch, neighbours};
use crate::fused::chosen::Chooser;
use lora_checkpoint::ModelConfig;
use lora_gpu::{AttentionTiles, Dtype, Error, Gpu, Keys, Scores, Segment, Tensor};
use lora_kernels::layout::Layout;
use lora_kernels::profile::Profile;
use std::sync::Arc;

/// One pass over a batch.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) config: &'a ModelConfig,
    pub(super) on_device: &'a OnDevice,
    pub(super) dropout: Option<Dropout>,
    /// T.
    pub(super) rows: usize,
    pub(super) ids: Tensor,
    /// Rows of tokens whose own rows of the embedding train.
    pub(super) own_rows: Option<RowsOfBatch>,
    pub(super) rotations: Rotations,
    pub(super) segments: Vec<Segment>,
    /// Rows of keys, u32.
    pub(super) listed: Tensor,
    /// The sequences, where a layer keeps a state.
    pub(super) sequences: Option<Sequences>,
    /// What the device's own kernels for attention work on, if they compute it in some layer.
    pub(super) attention: Option<AttentionTiles>,
    /// Where keys and values go, and are read from, in generation.
    pub(super) cache: Option<Cache<'a>>,
    /// The loss for the balance of experts, where it counts.
    pub(super) balancing: Option<Balancing>,
    /// Who sees or gives the experts that tokens choose.
    pub(super) chooser: Chooser,
    /// Where the time goes, if that is asked for.
    pub(super) profile: Option<Arc<Profile>>,
}

/// Keys and values of the tokens seen so far, or the states that they have left.
#[derive(Debug)]
pub(super) struct Cache<'a> {
    /// Of each layer that has its own, (rows, 2·kv).
    pub(super) layers: &'a [Tensor],
    /// Of each layer what it keeps of the texts.
    pub(super) kept: &'a [Kept],
    /// The texts of the segments.
    pub(super) texts: Vec<u32>,
    pub(super) rows: usize,
    /// The row of the cache where each row of the batch goes.
    pub(super) places: Tensor,
}

impl<'a> Cache<'a> {
    /// The keys and values of each segment's queries go to the last rows that it sees.
    pub(super) fn of(
        gpu: &Gpu,
        (layers, rows): (&'a [Tensor], usize),
        (kept, texts): (&'a [Kept], Vec<u32>),
        batch: &Batch,
    ) -> Result<Self, Error> {
        let mut places = vec![0u32; batch.tokens()];
        for segment in batch.layout.segments() {
            let first = batch.layout.own_keys(segment);
            for i in 0..segment.queries {
                places[segment.query_start + i] = (first + i) as u32;
            }
        }
        Ok(Self {
            layers,
            kept,
            texts,
            rows,
            places: gpu.uploaded(Dtype::U32, &places)?,
        })
    }
}

/// A decoder layer in a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerPass<'p> {
    pub(super) pass: &'p Pass<'p>,
    pub(super) index: usize,
    pub(super) layer: &'p Layer,
    pub(super) scratch: &'p Scratch,
}

impl<'a> Pass<'a> {
    /// Over all rows of a batch, which see each other, or those of a cache.
    pub(super) fn new(
        gpu: &'a Gpu,
        config: &'a ModelConfig,
        on_device: &'a OnDevice,
        batch: &Batch,
        rotations: Rotations,
        cache: Option<Cache<'a>>,
    ) -> Result<Self, Error> {
        let (segments, listed) = segments(&batch.layout);
        let rows = batch.tokens();
        let texts = cache.as_ref().map(|cache| &cache.texts[..]);
        let sequences = sequences::sequences(gpu, config, (&segments, rows), texts)?;
        let layers = 0..config.num_hidden_layers;
        let layers = layers.filter(|layer| config.layers[*layer].has_attention());
        let mut widths = layers.map(|layer| config.heads_of(layer).width);
        let attention = match cache {
            None if widths.any(|width| gpu.attends(width)) => {
                Some(gpu.attention_tiles(&segments, &listed, rows)?)
            }
            _ => None,
        };
        Ok(Self {
            gpu,
            config,
            on_device,
            dropout: None,
            rows,
            ids: gpu.uploaded(Dtype::U32, &batch.ids)?,
            own_rows: match &on_device.bound.tables.embedding {
                TrainedTable::Rows(own) => Some(RowsOfBatch::of(gpu, own, &batch.ids)?),
                _ => None,
            },
            rotations,
            segments,
            listed: gpu.uploaded(Dtype::U32, &listed)?,
            sequences,
            attention,
            cache,
            balancing: None,
            chooser: Chooser::default(),
            profile: None,
        })
    }

    /// The same with dropout.
    pub(super) fn with_dropout(mut self, dropout: Option<Dropout>) -> Self {
        self.dropout = dropout.filter(|d| d.p > 0.0);
        self
    }

    /// The same, which counts where tokens go, for a loss of this weight.
    pub(super) fn with_balance(mut self, weight: Option<f32>, batch: &Batch) -> Self {
        let experts = self.config.experts.zip(weight);
        self.balancing = experts.map(|(own, weight)| Balancing::new(weight, batch, own.count));
        self
    }

    /// The same, whose experts are seen or given.
    pub(super) fn with_chooser(mut self, chooser: &Chooser) -> Self {
        self.chooser = chooser.clone();
        self
    }

    /// The same, with its time counted.
    pub(super) fn with_profile(mut self, profile: Option<Arc<Profile>>) -> Self {
        self.profile = profile;
        self
    }

    /// Chunks and sequences; none where no layer has a rule.
    pub(super) fn chunks(&self) -> (usize, usize) {
        let all = self.sequences.as_ref();
        all.map_or((0, 0), Sequences::counts)
    }

    /// Attention of a layer, for so many queries and keys.
    pub(super) fn scores(&self, layer: usize) -> Scores {
        let c = self.config;
        Scores {
            heads: c.num_attention_heads,
            queries: 0,
            keys: 0,
            past: 0,
            window: c.layers[layer].window,
            scale: c.attention_scale() as f32,
            softcap: c.attention_softcap.map(|cap| cap as f32),
        }
    }
}

/// The segments of a layout, and the rows of those keys that are no neighbours.
fn segments(layout: &Layout) -> (Vec<Segment>, Vec<u32>) {
    let mut listed = Vec::new();
    let segments = layout.segments().iter().map(|segment| {
        let seen = segment.past + segment.queries;
        let keys = match neighbours(layout, segment) {
            Some(first) => Keys::Rows(first),
            None => {
                let place = listed.len();
                let spans = layout.spans(segment, 0..seen);
                let rows = spans.flat_map(|(_, s)| s.start..s.start + s.len);
                listed.extend(rows.map(|row| row as u32));
                Keys::Listed(place)
            }
        };
        Segment {
            first: segment.query_start,
            queries: segment.queries,
            past: segment.past,
            keys,
        }
    });
    let segments = segments.collect();
    (segments, listed)
}

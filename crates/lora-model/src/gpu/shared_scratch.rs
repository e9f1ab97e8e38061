//! Memory for keys and values that layers read of an earlier one.
use super::buffer::Buffer;
use lora_checkpoint::ModelConfig;
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// A layer whose keys and values others read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) layer: usize,
    /// The highest of the others: its gradients come first.
    pub(super) highest: usize,
    /// Values of a row's keys and values.
    width: usize,
}

fn sources(config: &ModelConfig) -> impl Iterator<Item = Source> {
    let layers = 0..config.num_hidden_layers;
    layers.clone().filter_map(move |layer| {
        let mut others = layers.clone().rev();
        let highest = others.find(|&other| config.keys_of(other) == Some(layer))?;
        let heads = config.heads_of(layer);
        Some(Source {
            layer,
            highest,
            width: 2 * heads.kv * heads.width,
        })
    })
}

/// Values of a row of all of them.
pub(super) fn width(config: &ModelConfig) -> usize {
    sources(config).map(|source| source.width).sum()
}

/// Memory for them.
#[derive(Debug)]
pub(super) struct SharedBuffers(Vec<(Source, Buffer, Buffer)>);

impl SharedBuffers {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig) -> Self {
        let own = |source| (source, Buffer::new(gpu.dtype()), Buffer::new(Dtype::F32));
        Self(sources(config).map(own).collect())
    }

    /// For `rows` rows, of which `back` have a backward pass.
    pub(super) fn get(
        &mut self,
        gpu: &Gpu,
        (rows, back): (usize, usize),
    ) -> Result<Vec<SharedKeys>, Error> {
        let all = self.0.iter_mut().map(|(source, kv, d_kv)| {
            Ok(SharedKeys {
                source: *source,
                kv: kv.get(gpu, rows * source.width)?,
                d_kv: d_kv.get(gpu, back * source.width)?,
            })
        });
        all.collect()
    }
}

/// Keys and values of a layer that others read.
#[derive(Debug)]
pub(super) struct SharedKeys {
    pub(super) source: Source,
    /// (T, 2·kv).
    pub(super) kv: Tensor,
    /// What the others have added to their gradient so far, f32.
    pub(super) d_kv: Tensor,
}
